"""The judge's landmark network: reading its published form, its layers, and real weights on a real face."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.evaluation.landmark_net import INPUT_PX, LandmarkNet, _padded, read_manifest


def published(folder: Path) -> tuple[Path, Path]:
    """A pair of files in the published form: one weight of 8 bits, one of 32."""
    packed, plain = np.arange(6, dtype=np.uint8), np.array([1.5, -2.5], dtype="<f4")
    entries = [
        {"name": "a", "shape": [2, 3], "dtype": "float32",
         "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
        {"name": "b", "shape": [2], "dtype": "float32"},
    ]  # fmt: skip
    numbers, manifest = folder / "net.bin", folder / "net.json"
    numbers.write_bytes(packed.tobytes() + plain.tobytes())
    manifest.write_text(json.dumps([{"weights": entries, "paths": ["net.bin"]}]))
    return numbers, manifest


@pytest.mark.unit
def test_packed_and_plain_numbers_are_read(tmp_path: Path) -> None:
    found = read_manifest(*published(tmp_path))
    assert found["a"].tolist() == [[-1.0, -0.5, 0.0], [0.5, 1.0, 1.5]]
    assert found["b"].tolist() == [1.5, -2.5]


@pytest.mark.unit
def test_a_file_that_does_not_fit_its_manifest_is_refused(tmp_path: Path) -> None:
    numbers, manifest = published(tmp_path)
    whole = numbers.read_bytes()
    for damaged in (whole[:-1], whole[:3], whole + b"!"):
        numbers.write_bytes(damaged)
        with pytest.raises(WeightsFormatError, match=r"net\.bin"):
            read_manifest(numbers, manifest)
    numbers.write_bytes(whole)
    for text in ("no JSON", "[]", "[{}]", '[{"weights": [{"name": "a"}]}]'):
        manifest.write_text(text)
        with pytest.raises(WeightsFormatError):
            read_manifest(numbers, manifest)


def made_up(seed: int = 0) -> dict[str, Tensor]:
    """Weights of the right names and shapes."""
    draw = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    into = 3
    for block, channels in enumerate((32, 64, 128, 256)):
        for index in range(4):
            name = f"dense{block}/conv{index}"
            wide = into if index == 0 else channels
            if block == index == 0:
                weights[f"{name}/filters"] = torch.randn(3, 3, wide, channels, generator=draw) * 0.3
            else:
                weights[f"{name}/depthwise_filter"] = torch.randn(3, 3, wide, 1, generator=draw) * 0.3
                weights[f"{name}/pointwise_filter"] = torch.randn(1, 1, wide, channels, generator=draw) / wide**0.5
            weights[f"{name}/bias"] = torch.randn(channels, generator=draw) * 0.1
        into = channels
    weights["fc/weights"] = torch.randn(256, 136, generator=draw) * 0.05
    weights["fc/bias"] = torch.rand(136, generator=draw)
    return weights


@pytest.mark.unit
def test_faces_of_a_batch_are_read_one_by_one() -> None:
    net = LandmarkNet(made_up())
    crops = torch.rand(3, 3, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(1)) * 255
    together = net(crops)
    assert together.shape == (3, 68, 2)
    assert torch.allclose(together[1:2], net(crops[1:2]), atol=1e-4)
    assert float((together[0] - together[1]).abs().max()) > 1e-3


@pytest.mark.unit
def test_the_mean_colour_leaves_only_the_biases() -> None:
    """A crop of the training mean is zero to the network; without biases nothing but the last one is left."""
    weights = made_up()
    for name in weights:
        if name.endswith("/bias") and not name.startswith("fc"):
            weights[name] = torch.zeros_like(weights[name])
    crop = torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1).expand(1, 3, INPUT_PX, INPUT_PX)
    expected = weights["fc/bias"].view(68, 2) * INPUT_PX
    assert torch.allclose(LandmarkNet(weights)(crop)[0], expected, atol=1e-3)


@pytest.mark.unit
def test_wrong_shapes_and_missing_weights_are_told() -> None:
    with pytest.raises(ShapeError, match="112"):
        LandmarkNet(made_up())(torch.zeros(1, 3, 64, 64))
    for name in ("fc/weights", "dense0/conv0/filters", "dense3/conv2/pointwise_filter"):
        weights = made_up()
        del weights[name]
        with pytest.raises(WeightsFormatError, match="faceapi-68"):
            LandmarkNet(weights)
    with pytest.raises(WeightsFormatError):
        LandmarkNet(made_up() | {"fc/weights": torch.zeros(4, 136)})


@pytest.mark.unit
@pytest.mark.parametrize(("side", "stride"), [(112, 2), (56, 2), (7, 1), (7, 2)])
def test_padding_keeps_the_size_or_halves_it(side: int, stride: int) -> None:
    x = torch.arange(float(side * side)).view(1, 1, side, side)
    taken = functional.conv2d(_padded(x, stride), torch.ones(1, 1, 3, 3), stride=stride)
    assert taken.shape[-1] == -(-side // stride)
    corner = x[0, 0, :3, :3].sum() if side % 2 == 0 and stride == 2 else x[0, 0, :2, :2].sum()
    assert float(taken[0, 0, 0, 0]) == float(corner)


@pytest.mark.slow
def test_what_real_weights_read_moves_with_the_picture(weights: Callable[[str], Path], data_dir: Path) -> None:
    """A face 3 px further right and 2 px lower is read there; its eyes lie above its mouth, its chin below."""
    net = LandmarkNet(read_manifest(weights("faceapi-68"), weights("faceapi-68-manifest")))
    with av.open(str(data_dir / "faces" / "london_003_neutral.jpg"), "r") as container:
        [frame] = container.decode(video=0)
    whole = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float()
    small = functional.interpolate(whole, size=(180, 180), mode="area")
    here, moved = (net(small[:, :, y : y + INPUT_PX, x : x + INPUT_PX])[0] for y, x in ((40, 34), (38, 31)))
    assert torch.allclose((moved - here).mean(0), torch.tensor([3.0, 2.0]), atol=1.0)
    assert float(here[36:48, 1].max()) < float(here[48:68, 1].min()) < float(here[57, 1]) < float(here[8, 1])
    assert float(here[36, 0]) < float(here[45, 0])
