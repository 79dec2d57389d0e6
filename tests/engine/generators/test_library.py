"""Imported generators: kept whole, found again by name and by hash, damage told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadInputError, WeightsFormatError
from engine.generators import library
from engine.generators.identity import generator_hash
from engine.generators.library import (
    DEFAULT,
    Parts,
    described,
    generator_path,
    imported_generators,
    load_generator,
    name_of,
    read_generator_file,
    save_generator,
)
from engine.generators.stats import WStatistics
from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from tests.engine.generators.made_stylegan2 import SMALL, code, randomised

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path))
    return tmp_path / "generators"


@pytest.fixture(scope="module")
def parts() -> Parts:
    model = randomised(replace(SMALL, clamp=256.0))
    return Parts(model, WStatistics.sample(model, 12, 100), torch.randn(13, 12), ("format: made up", "a note"))


def test_a_saved_generator_is_read_back_as_it_was(parts: Parts) -> None:
    identity = save_generator(generator_path("mine"), parts)
    found = read_generator_file(generator_path("mine"))
    assert found.model.config == parts.model.config and found.report == parts.report
    w = code(parts.model, 1)
    assert torch.equal(found.model.synthesis(w), parts.model.synthesis(w))
    assert torch.equal(found.statistics.basis, parts.statistics.basis)
    assert found.directions is not None and parts.directions is not None
    assert torch.equal(found.directions, parts.directions)
    assert identity == generator_hash(found.model)
    assert not found.model.training and not any(p.requires_grad for p in found.model.parameters())


def test_a_ready_generator_works_at_the_size_of_the_crop(parts: Parts) -> None:
    save_generator(generator_path("mine"), parts)
    ready = load_generator("mine")
    assert ready.name == "mine" and ready.generator.resolution == 1024 and ready.generator.rows == 8
    angles, mouth = ready.directions
    assert parts.directions is not None
    assert torch.equal(angles[:, 0], parts.directions[:2]) and torch.equal(mouth[:, 1], parts.directions[3:11])
    assert not angles[:, 5:].any() and not mouth[:, 0].any()


def test_without_directions_they_are_zero(parts: Parts) -> None:
    save_generator(generator_path("mine"), replace(parts, directions=None))
    ready = load_generator("mine")
    assert [tuple(part.shape) for part in ready.directions] == [(2, 8, 12), (8, 8, 12)]
    assert not any(part.any() for part in ready.directions)


def test_directions_of_another_number_are_refused(parts: Parts) -> None:
    save_generator(generator_path("mine"), replace(parts, directions=torch.zeros(5, 12)))
    with pytest.raises(WeightsFormatError, match="import the generator again"):
        load_generator("mine")


def test_a_generator_of_full_size_is_not_enlarged(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    save_generator(generator_path("mine"), parts)
    monkeypatch.setattr(library, "_EDITED_PX", 32)
    assert isinstance(load_generator("mine").generator, StyleGAN2)
    monkeypatch.setattr(library, "_EDITED_PX", 16)
    with pytest.raises(WeightsFormatError, match="at most 16 px"):
        load_generator("mine")


def test_generators_are_listed_and_found_by_hash(parts: Parts, cache: Path) -> None:
    assert imported_generators() == []
    identity = save_generator(generator_path("b"), parts)
    other = randomised(parts.model.config, seed=9)
    save_generator(generator_path("a"), replace(parts, model=other))
    (cache / "broken.safetensors").write_bytes(b"nothing")
    known = imported_generators()
    assert [item.name for item in known] == ["a", "b", "broken"]
    assert known[1].identity == identity and known[1].report == parts.report
    assert known[2].identity == "" and "not a readable safetensors file" in known[2].report[0]
    assert name_of(identity) == "b" and name_of(generator_hash(other)) == "a"
    assert name_of("0" * 16) == DEFAULT


def test_an_unknown_name_tells_which_there_are(parts: Parts) -> None:
    save_generator(generator_path("mine"), parts)
    with pytest.raises(BadInputError, match="there are: default, mine"):
        load_generator("yours")


@pytest.mark.parametrize("name", ["", "default", "../mine", "a/b", "Mine", ".hidden", "a" * 65, "x y", "ä"])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be the name"):
        generator_path(name)


def test_changed_weights_are_noticed(parts: Parts) -> None:
    path = generator_path("mine")
    save_generator(path, parts)
    data = path.read_bytes()
    value = parts.model.constant.numpy().tobytes()
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, bytes(4) + value[4:]))
    with pytest.raises(WeightsFormatError, match="import the generator again"):
        read_generator_file(path)


def test_damaged_files_are_told_with_the_way_to_mend_them(parts: Parts, tmp_path: Path) -> None:
    path = generator_path("mine")
    save_generator(path, parts)
    whole = path.read_bytes()
    for data in (b"", whole[:100], whole[:-10], b"{}" + whole):
        path.write_bytes(data)
        with pytest.raises(WeightsFormatError, match="import it again"):
            read_generator_file(path)
    with pytest.raises(BadInputError, match="no such file"):
        read_generator_file(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "livedub speaker profile"}, "holds livedub speaker profile"),
        ({"version": "9"}, "version 9; expected livedub generator version 1"),
        ({"config": "no json"}, "damaged"),
        ({"config": '{"channels": [4], "unknown": 1}'}, "damaged"),
        ({"config": json.dumps({"channels": [4, 4]})}, "damaged"),
        ({"report": "5"}, "damaged"),
        ({"identity": "0" * 16}, "expected 0000000000000000"),
    ],
)
def test_headers_that_do_not_fit_are_refused(parts: Parts, changes: dict[str, str], message: str) -> None:
    path = generator_path("mine")
    identity = save_generator(path, parts)
    header = {
        "kind": "livedub generator",
        "version": "1",
        "identity": identity,
        "config": json.dumps({"channels": [12, 10, 8, 6], "noise_width": 20, "width": 16, "mapping_layers": 3}),
        "report": "[]",
    }
    tensors = load_file(path)
    save_file(tensors, path, header)
    assert read_generator_file(path).report == ()
    save_file(tensors, path, header | changes)
    with pytest.raises(WeightsFormatError, match=message):
        read_generator_file(path)


def test_hash_knows_values_names_and_shapes(parts: Parts) -> None:
    model = randomised(StyleGAN2Config((4, 4), 4, 4, 1))
    before = generator_hash(model)
    assert generator_hash(randomised(StyleGAN2Config((4, 4), 4, 4, 1))) == before and len(before) == 16
    with torch.no_grad():
        model.levels()[1].rgb.bias[0] += 1e-6
    assert generator_hash(model) != before != generator_hash(parts.model)


def test_description_is_for_machines(parts: Parts) -> None:
    values = json.loads(json.dumps(described(parts)))
    assert values["resolution"] == 32 and values["channels"] == [12, 10, 8, 6] and values["clamp"] == 256
    assert values["directions"] is True and described(replace(parts, directions=None))["directions"] is False
