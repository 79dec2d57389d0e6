"""Every public layout gives the same pictures as the generator it was written from, and says what it found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.readers import read_generator
from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from tests.engine.generators.checkpoint_files import (
    EasyDict,
    Generator,
    Persistent,
    nvidia_object,
    nvidia_state,
    rosinality_state,
    write_nvidia_pickle,
    write_torch,
)
from tests.engine.generators.made_stylegan2 import SMALL, code, randomised, reference, weights_of

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def small() -> StyleGAN2:
    return randomised(SMALL)


def nvidia_protocol_2(path: Path, model: StyleGAN2) -> None:
    write_nvidia_pickle(path, nvidia_object(nvidia_state(model)), protocol=2)


def nvidia(path: Path, model: StyleGAN2) -> None:
    write_nvidia_pickle(path, nvidia_object(nvidia_state(model)))


def pti(path: Path, model: StyleGAN2) -> None:
    write_torch(path, nvidia_object(nvidia_state(model)))


def stit(path: Path, model: StyleGAN2) -> None:
    pivots, quads = torch.zeros(3, 8, 16), [np.zeros((4, 2)), np.ones((4, 2), np.float32)]
    write_torch(path, {"generator": nvidia_object(nvidia_state(model)), "pivots": pivots, "quads": quads})


def rosinality(path: Path, model: StyleGAN2) -> None:
    state = rosinality_state(model)
    write_torch(path, {"g": state, "d": {}, "g_ema": state, "g_optim": {"state": {}}, "latent_avg": mean(model)})


def converted_from_tensorflow(path: Path, model: StyleGAN2) -> None:
    write_torch(path, {"g_ema": rosinality_state(model), "latent_avg": mean(model)}, old=True)


def encoder(path: Path, model: StyleGAN2) -> None:
    state = {f"decoder.{name}": value for name, value in rosinality_state(model).items()}
    averages = mean(model).repeat(model.rows, 1)
    write_torch(
        path, {"state_dict": {"encoder.x": torch.zeros(1), **state}, "latent_avg": averages, "opts": EasyDict()}
    )


def whole_network(path: Path, model: StyleGAN2) -> None:
    write_torch(path, {"g_ema": Generator(rosinality_state(model)).eval(), "latent_avg": mean(model)})


def whole_network_before_1_6(path: Path, model: StyleGAN2) -> None:
    write_torch(path, {"g_ema": Generator(rosinality_state(model)), "latent_avg": mean(model)}, old=True)


def state_dict(path: Path, model: StyleGAN2) -> None:
    write_torch(path, nvidia_state(model))


def mean(model: StyleGAN2) -> Tensor:
    return model.mapping_network.get_buffer("mean").clone()


LAYOUTS: dict[str, tuple[Callable[[Path, StyleGAN2], None], str]] = {
    "a.pkl": (nvidia, "NVIDIA pickle"),
    "b.pkl": (nvidia_protocol_2, "NVIDIA pickle"),
    "model_run_person.pt": (pti, "PTI"),
    "c.pt": (stit, "STIT"),
    "d.pt": (rosinality, "rosinality"),
    "stylegan2-ffhq-config-f.pt": (converted_from_tensorflow, "rosinality"),
    "e4e_ffhq_encode.pt": (encoder, "rosinality"),
    "f.pt": (whole_network, "rosinality"),
    "g.pt": (whole_network_before_1_6, "rosinality"),
    "e.pt": (state_dict, "state dict"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_pictures_are_those_of_the_original(tmp_path: Path, small: StyleGAN2, name: str) -> None:
    write, form = LAYOUTS[name]
    write(tmp_path / name, small)
    model, findings = read_generator(tmp_path / name)
    w = code(small, 1, batch=2)
    torch.testing.assert_close(model.synthesis(w), small.synthesis(w), atol=1e-4, rtol=1e-4)
    z = torch.randn(3, small.noise_width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.mapping(z), small.mapping(z), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.truncated(w, 0.5), small.truncated(w, 0.5))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert form in findings.form
    text = "\n".join(findings.lines())
    assert "32 px, 8 rows" in text and "12, 10, 8, 6" in text and "z: 20, w: 16, mapping layers: 3" in text
    assert "constant, in 7 of 7 layers" in text and "outside 256...1024" in text


@pytest.mark.parametrize("size", [64, 256])
def test_nvidias_weights_in_nvidias_pickle_give_nvidias_pictures(data_dir: Path, tmp_path: Path, size: int) -> None:
    vectors = reference(data_dir, size)
    write_nvidia_pickle(tmp_path / "network.pkl", nvidia_object(weights_of(vectors)))
    model, _ = read_generator(tmp_path / "network.pkl")
    torch.testing.assert_close(model.synthesis(vectors["ws"]), vectors["image_noise_const"], atol=1e-4, rtol=0)
    silent, findings = read_generator(tmp_path / "network.pkl", noise="none")
    torch.testing.assert_close(silent.synthesis(vectors["ws"]), vectors["image_noise_none"], atol=1e-4, rtol=0)
    assert "taken away" in findings.noise


def test_what_layers_say_of_themselves_is_used(tmp_path: Path, small: StyleGAN2) -> None:
    write_nvidia_pickle(tmp_path / "a.pkl", nvidia_object(nvidia_state(small), conv_clamp=256, bias_gain=0.5))
    model, findings = read_generator(tmp_path / "a.pkl")
    assert model.config.clamp == 256 and model.config.mapping_rate == 0.5
    assert "limit of activations: 256" in "\n".join(findings.lines())


def test_half_precision_weights_are_read(tmp_path: Path, small: StyleGAN2) -> None:
    write_torch(tmp_path / "a.pt", {name: value.half() for name, value in nvidia_state(small).items()})
    model, _ = read_generator(tmp_path / "a.pt")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    w = code(small, 1)
    torch.testing.assert_close(model.synthesis(w), small.synthesis(w), atol=0.2, rtol=0.05)


def test_files_without_noise_or_average_say_so(tmp_path: Path, small: StyleGAN2) -> None:
    state = {name: value for name, value in rosinality_state(small).items() if not name.startswith("noises")}
    write_torch(tmp_path / "a.pt", {"g_ema": state})
    model, findings = read_generator(tmp_path / "a.pt")
    text = "\n".join(findings.lines())
    assert "no constant noise in the file" in text and "no average w" in text
    assert all(float(p) == 0 for name, p in model.named_parameters() if name.endswith("noise_strength"))
    z = torch.randn(4000, small.noise_width, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(mean(model), small.mapping(z).mean(0), atol=0.1, rtol=0)


def refused(path: Path, message: str) -> None:
    with pytest.raises(WeightsFormatError, match=message) as caught:
        read_generator(path)
    assert path.name in str(caught.value)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    "name",
    ["synthesis.b8.conv0.weight", "synthesis.b16.torgb.affine.bias", "mapping.fc1.weight", "synthesis.b32.conv1.bias"],
)
def test_missing_tensors_are_named(tmp_path: Path, small: StyleGAN2, name: str) -> None:
    write_nvidia_pickle(tmp_path / "a.pkl", nvidia_object(without(nvidia_state(small), name)))
    refused(tmp_path / "a.pkl", f"without {name}")


@pytest.mark.parametrize(
    "name", ["to_rgbs.1.conv.weight", "convs.2.activate.bias", "style.2.weight", "conv1.conv.weight"]
)
def test_missing_tensors_are_named_in_the_other_layout_too(tmp_path: Path, small: StyleGAN2, name: str) -> None:
    write_torch(tmp_path / "a.pt", {"g_ema": without(rosinality_state(small), name)})
    refused(tmp_path / "a.pt", f"without {name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synthesis.b8.skip.weight", torch.zeros(10, 12, 1, 1)),
        ("mapping.embed.weight", torch.zeros(16, 5)),
        ("synthesis.b64.extra", torch.zeros(1)),
    ],
)
def test_parts_that_are_not_understood_are_named(tmp_path: Path, small: StyleGAN2, name: str, value: Tensor) -> None:
    write_torch(tmp_path / "a.pt", nvidia_state(small) | {name: value})
    refused(tmp_path / "a.pt", "synthesis.b64|embed|skip")


def test_what_lies_beside_the_generator_is_noted(tmp_path: Path, small: StyleGAN2) -> None:
    write_torch(tmp_path / "a.pt", nvidia_state(small) | {"discriminator.weight": torch.zeros(1)})
    _, findings = read_generator(tmp_path / "a.pt")
    assert "note: not used: discriminator.weight" in findings.lines()


def test_wrong_shapes_are_named(tmp_path: Path, small: StyleGAN2) -> None:
    state = nvidia_state(small)
    state["synthesis.b8.torgb.weight"] = torch.zeros(3, 11, 1, 1)
    write_torch(tmp_path / "a.pt", state)
    refused(tmp_path / "a.pt", r"synthesis.b8.torgb.weight is \[3, 11, 1, 1\]; expected \[3, 10, 1, 1\]")
    state["synthesis.b8.torgb.weight"] = nvidia_state(small)["synthesis.b8.torgb.weight"]
    state["synthesis.b8.conv1.weight"] = torch.zeros(5)
    write_torch(tmp_path / "a.pt", state)
    refused(tmp_path / "a.pt", r"a weight is \[5\]; expected 4 dimensions")


def test_numbers_that_are_none_are_refused(tmp_path: Path, small: StyleGAN2) -> None:
    state = nvidia_state(small)
    state["synthesis.b8.conv1.bias"][2] = float("nan")
    write_torch(tmp_path / "a.pt", state)
    refused(tmp_path / "a.pt", "synthesis.b8.conv1.bias holds numbers that are not finite")


def test_another_filter_is_refused(tmp_path: Path, small: StyleGAN2) -> None:
    state = nvidia_state(small) | {"synthesis.b8.conv0.resample_filter": torch.ones(4, 4) / 16}
    write_torch(tmp_path / "a.pt", state)
    refused(tmp_path / "a.pt", "only the filter 1 3 3 1")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"c_dim": 10}, "c_dim is 10"),
        ({"img_channels": 1}, "img_channels is 1"),
        ({"conv_clamp": -1}, "expected them pos"),
    ],
)
def test_generators_of_other_kinds_are_refused(
    tmp_path: Path, small: StyleGAN2, attributes: dict[str, Any], message: str
) -> None:
    write_nvidia_pickle(tmp_path / "a.pkl", nvidia_object(nvidia_state(small), **attributes))
    refused(tmp_path / "a.pkl", message)


def test_stylegan3_is_told_apart(tmp_path: Path) -> None:
    state = {"synthesis.input.weight": torch.zeros(4, 4), "synthesis.L0_36_512.weight": torch.zeros(1)}
    write_nvidia_pickle(tmp_path / "a.pkl", nvidia_object(state))
    refused(tmp_path / "a.pkl", "a StyleGAN3 generator")


def test_original_tensorflow_pickles_are_told_apart(tmp_path: Path) -> None:
    class Network:
        """As `dnnlib.tflib` pickles networks."""

    Network.__qualname__ = "Network"
    globals()["Network"] = Network
    write_torch(tmp_path / "a.pkl", (Network(), Network(), Network()))
    refused(tmp_path / "a.pkl", "original TensorFlow repository: convert it first")


@pytest.mark.parametrize("root", [{"epoch": 3, "optimizer": {}}, [1, 2], "text", None])
def test_files_without_a_generator_say_what_they_hold(tmp_path: Path, root: object) -> None:
    write_torch(tmp_path / "a.pt", root)
    refused(tmp_path / "a.pt", "no StyleGAN2 generator in it; it holds")


def test_networks_inside_themselves_are_refused(tmp_path: Path) -> None:
    loop = Persistent("Generator", {"_parameters": {}, "_buffers": {}, "_modules": {}})
    loop.state["_modules"] = {"a": Persistent("x", {"_parameters": {}, "_buffers": {}, "_modules": {}})}
    inner = loop.state["_modules"]["a"]
    for _ in range(12):  # every network twice in the next one: 4096 in all, 13 in the file
        inner.state["_modules"] = {
            "a": (part := Persistent("x", {"_parameters": {}, "_buffers": {}, "_modules": {}})),
            "b": part,
        }
        inner = part
    write_nvidia_pickle(tmp_path / "a.pkl", loop)
    refused(tmp_path / "a.pkl", "more than 400 networks")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A very small generator in every layout."""
    folder, model = tmp_path_factory.mktemp("whole"), randomised(StyleGAN2Config((3, 2), 3, 3, 1))
    for name, (write, _) in LAYOUTS.items():
        write(folder / name, model)
    return {name: (folder / name).read_bytes() for name in LAYOUTS}


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_read_but_never_break(
    whole_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(whole_files[data.draw(st.sampled_from(sorted(LAYOUTS)))])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(content)
    try:
        model, _ = read_generator(path)
    except WeightsFormatError:
        return
    assert model.resolution == 8


def test_names_in_an_archive_that_are_no_text_are_reported(tmp_path: Path, whole_files: dict[str, bytes]) -> None:
    content = whole_files["e.pt"]
    path = tmp_path / "a.pt"
    path.write_bytes(content.replace(b"/data/3", b"/data/\xbb", 1))  # in the member's own header, not in the list
    with pytest.raises(WeightsFormatError, match="is damaged"):
        read_generator(path)
