"""An import from a public file to a generator that enrolment can use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from engine.errors import BadInputError, NoFaceError, WeightsFormatError
from engine.generators import importing, stylegan2
from engine.generators.importing import ImportConfig, default_name, import_generator
from engine.generators.library import generator_path, load_generator
from engine.generators.protocol import Generator
from engine.tracking.tracker import FaceTracker
from tests.engine.generators.checkpoint_files import nvidia_object, nvidia_state, write_nvidia_pickle
from tests.engine.generators.made_stylegan2 import SMALL, code, randomised
from tests.engine.generators.readers.test_pickles import touch

pytestmark = pytest.mark.unit
QUICK = ImportConfig(faces=0, coarse_faces=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A generator as its training wrote it."""
    path = tmp_path / "network-snapshot-025000.pkl"
    write_nvidia_pickle(path, nvidia_object(nvidia_state(randomised(SMALL))))
    return path


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def test_an_imported_generator_gives_the_files_pictures(snapshot: Path) -> None:
    done = import_generator(snapshot, None, QUICK, silent)
    assert done.name == "network-snapshot-025000" and done.path == generator_path(done.name)
    original = randomised(SMALL)
    w = code(original, 1)
    ready = load_generator(done.name)
    small = torch.nn.functional.interpolate(original.synthesis(w), size=1024, mode="bicubic")
    torch.testing.assert_close(ready.generator.synthesis(w), small, atol=1e-3, rtol=1e-4)
    report = "\n".join(done.parts.report)
    assert "NVIDIA pickle" in report and "directions: none, as asked" in report


def test_the_small_picture_of_large_generators_is_fitted(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylegan2, "COARSE_SIZE", 16)
    told: list[str] = []
    done = import_generator(snapshot, "a", QUICK, lambda what, i, n: told.append(f"{what} {i}/{n}"))
    assert told == [f"fitting the small picture {n}/6" for n in range(1, 7)]
    assert done.parts.model.coarse_weight is not None and done.parts.model.coarse_weight.abs().sum() > 0
    assert any(line.startswith("small picture: read at 16 px, explains") for line in done.parts.report)


def test_directions_are_regressed_on_the_faces_that_are_found(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)

    def sample(
        generator: Generator, tracker: object, count: int, seed: int = 7, progress: object = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        numbers = noise.normal(size=(count, 13))
        codes = np.zeros((count, generator.width), np.float32)
        codes[:, 0] = 3 * numbers[:, 10]
        return codes, numbers

    monkeypatch.setattr(importing, "sample_faces", sample)
    monkeypatch.setattr(FaceTracker, "from_cache", staticmethod(lambda: None))
    done = import_generator(snapshot, "a", ImportConfig(faces=400), silent)
    found = done.parts.directions
    assert found is not None and found.shape == (13, 16)
    moved = done.parts.statistics.decode(found) - done.parts.statistics.mean
    assert moved[10, 0] == pytest.approx(3.0, rel=0.1)
    assert moved[:10].abs().max() < 0.5 and moved[10, 1:].abs().max() < 0.5
    assert "directions: regressed on 400 of its faces" in done.parts.report
    rough = import_generator(snapshot, "b", ImportConfig(faces=50), silent)
    assert "directions: regressed on 50 of its faces (few: rough)" in rough.parts.report


def test_a_generator_without_faces_is_imported_and_says_so(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(*args: object, **options: object) -> None:
        raise NoFaceError("0 of the first 30 pictures of this generator show a face")

    monkeypatch.setattr(importing, "sample_faces", sample)
    monkeypatch.setattr(FaceTracker, "from_cache", staticmethod(lambda: None))
    done = import_generator(snapshot, "a", ImportConfig(), silent)
    assert done.parts.directions is None
    assert "0 of the first 30 pictures" in done.parts.report[-1] and "start from zero" in done.parts.report[-1]


def test_our_own_file_can_be_imported_on_another_machine(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_generator(snapshot, "a", QUICK, silent)
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "another"))
    second = import_generator(first.path, None, QUICK, silent)
    assert (second.name, second.identity) == ("a", first.identity) and second.path != first.path
    one, two = load_file(first.path), load_file(second.path)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_name_is_given_once(snapshot: Path) -> None:
    import_generator(snapshot, "mine", QUICK, silent)
    with pytest.raises(BadInputError, match="there is a generator 'mine' already"):
        import_generator(snapshot, "mine", QUICK, silent)


def test_noise_can_be_taken_away_and_makes_another_generator(snapshot: Path) -> None:
    kept = import_generator(snapshot, "a", QUICK, silent)
    without = import_generator(snapshot, "b", replace(QUICK, noise="none"), silent)
    assert kept.identity != without.identity and load_generator("b").generator.module() is not None
    assert "noise: taken away, as asked; limit of activations: none" in without.parts.report


def test_nothing_is_left_behind_when_the_file_is_no_generator(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(b"no pickle")
    with pytest.raises(WeightsFormatError):
        import_generator(tmp_path / "bad.pkl", None, QUICK, silent)
    assert not list(cache.rglob("*"))


def test_an_attack_ends_the_import(tmp_path: Path, cache: Path) -> None:
    torch.save({"g_ema": touch(tmp_path / "canary")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsFormatError, match="system, which no generator needs"):
        import_generator(tmp_path / "evil.pt", None, QUICK, silent)
    assert not (tmp_path / "canary").exists() and not list(cache.rglob("*"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ffhq.pkl", "ffhq"),
        ("My Generator (final).PKL", "my-generator-final"),
        ("..pt", "generator"),
        ("default_2.pt", "default_2"),
        ("x" * 100 + ".pt", "x" * 64),
    ],
)
def test_names_are_made_of_file_names(file: str, name: str) -> None:
    assert default_name(Path(file)) == name
    assert generator_path(name)


@pytest.mark.parametrize("settings", [{"faces": 5}, {"faces": -1}, {"faces": 10**9}, {"coarse_faces": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(BadInputError, match="expected 0 or 20 to 100000"):
        ImportConfig(**settings)  # type: ignore[arg-type]
