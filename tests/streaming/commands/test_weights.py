"""`livedub weights` and `livedub doctor` on caches of every state."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from engine import weights
from engine.editing.compiled import packages_dir
from engine.errors import WeightsError
from kernels.native.pixels import library_path
from streaming.commands.weights import NEEDED, with_companions
from tests.engine.generators.checkpoint_files import nvidia_object, nvidia_state, write_nvidia_pickle
from tests.engine.generators.made_stylegan2 import SMALL, randomised
from tests.streaming.fakes import livedub

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def damage(name: str) -> None:
    place = weights.location(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(bytes(weights.entry(name).size))


def test_list_names_every_file_with_its_licence() -> None:
    values = livedub("weights", "list", "--json").values
    assert {row["name"] for row in values["weights"]} == set(weights.CATALOGUE)
    assert all(row["licence"] for row in values["weights"])
    assert not any(row["here"] for row in values["weights"])
    text = livedub("weights", "list").out
    assert "Apache-2.0" in text
    assert f"0 of {len(weights.CATALOGUE)} are here" in text


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A small generator as NVIDIA's training writes it."""
    path = tmp_path / "ffhq-32.pkl"
    write_nvidia_pickle(path, nvidia_object(nvidia_state(randomised(SMALL))))
    return path


def test_import_says_what_it_found_and_list_shows_it(snapshot: Path, empty_cache: Path) -> None:
    done = livedub("weights", "import", snapshot, "--faces", "0")
    assert done.status == 0
    for words in ("NVIDIA pickle", "32 px, 8 rows", "12, 10, 8, 6", "noise: constant", "enroll --generator ffhq-32"):
        assert words in done.out
    assert (empty_cache / "generators" / "ffhq-32.safetensors").is_file()
    assert "ffhq-32" in livedub("weights", "list").out
    values = livedub("weights", "list", "--json").values
    assert [row["name"] for row in values["generators"]] == ["ffhq-32"]
    assert len(values["generators"][0]["identity"]) == 16


def test_import_for_machines(snapshot: Path) -> None:
    values = livedub(
        "weights", "import", snapshot, "--faces", "0", "--name", "mine", "--noise", "none", "--json"
    ).values
    assert (values["name"], values["resolution"], values["rows"], values["noise"]) == ("mine", 32, 8, "none")
    assert values["directions"] is False and any("taken away" in line for line in values["report"])


def test_import_of_bad_files_ends_with_their_status(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    (tmp_path / "cut.pkl").write_bytes(snapshot.read_bytes()[:500])
    for file, words, status in (
        ("none.pkl", [], 2),
        (snapshot.name, ["--name", "../up"], 2),
        (snapshot.name, ["--faces", "3"], 2),
        ("cut.pkl", [], 3),
        ("evil.pkl", [], 3),
    ):
        done = livedub("weights", "import", tmp_path / file, *words)
        assert (done.status, done.out) == (status, ""), (file, words)
        assert done.err.startswith("livedub: error: ") and done.err.count("\n") == 1
    assert livedub("weights", "list", "--json").values["generators"] == []


def test_needed_names_are_in_the_catalogue_with_their_companions() -> None:
    assert set(with_companions(NEEDED)) <= set(weights.CATALOGUE)
    assert "mobilestylegan-synthesis-bin" in with_companions(NEEDED)


def test_verify_finds_missing_and_damaged_files() -> None:
    missing = livedub("weights", "verify", "mesh")
    assert missing.status == 3
    assert "mesh (missing)" in missing.err
    damage("mesh")
    damaged = livedub("weights", "verify", "mesh", "--json")
    assert damaged.status == 3
    assert "mesh (damaged)" in damaged.values["error"]["message"]


def test_verify_passes_whole_files(weights: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEDUB_CACHE")
    assert callable(weights)
    weights("mesh")
    done = livedub("weights", "verify", "mesh", "--json")
    assert done.values["weights"] == {"mesh": "ok"}


def test_an_unknown_name_is_bad_input() -> None:
    done = livedub("weights", "fetch", "no-such-weights")
    assert done.status == 2
    assert "no-such-weights" in done.err


def test_a_failed_fetch_ends_with_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(names: Iterable[str], progress: object) -> list[Path]:
        raise WeightsError(f"cannot fetch {', '.join(names)}: no network")

    monkeypatch.setattr(weights, "fetch", offline)
    done = livedub("weights", "fetch", "mesh")
    assert done.status == 3
    assert done.err == "livedub: error: cannot fetch mesh: no network\n"


def test_fetch_without_names_gets_what_dub_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(names: Iterable[str], progress: object) -> list[Path]:
        asked.extend(names)
        return [weights.location(name) for name in asked]

    monkeypatch.setattr(weights, "fetch", fetch)
    assert livedub("weights", "fetch").status == 0
    assert asked == list(NEEDED)
    asked.clear()
    assert livedub("weights", "fetch", "--all").status == 0
    assert asked == list(weights.CATALOGUE)


def test_doctor_tries_the_encoders_and_tells_of_weights() -> None:
    values = livedub("doctor", "--json").values
    found = {finding["name"]: finding for finding in values["findings"]}
    assert found["H.264 8 bit"]["works"]
    assert found["AAC"]["works"]
    assert found["HEVC decoder"]["works"]
    assert not found["weights mesh"]["works"]
    assert "fetched at need" in found["weights mesh"]["detail"]
    assert values["machine"]["cores"] >= 1
    assert "python" in values["versions"]


def test_doctor_in_words_says_what_does_not_work_and_why() -> None:
    done = livedub("doctor")
    assert "`livedub dub` works here" in done.out
    assert done.status == 0


def test_doctor_says_what_is_compiled_and_that_tensorrt_is_untried() -> None:
    found = {each["name"]: each for each in livedub("doctor", "--json").values["findings"]}
    assert "`livedub compile` does it; picture loops not compiled yet" in found["backend aoti"]["detail"]
    assert "picture loops" in found["backend auto"]["detail"]
    assert "TensorRT" in found["backend tensorrt"]["detail"]
    for number in range(2):
        packages_dir().mkdir(parents=True, exist_ok=True)
        (packages_dir() / f"{number}.form").write_text("region render")
    (packages_dir() / "2.form").write_text("W+ step")
    library_path(packages_dir()).write_bytes(b"")
    found = {each["name"]: each for each in livedub("doctor", "--json").values["findings"]}
    assert "1 x W+ step, 2 x region render; picture loops there" in found["backend aoti"]["detail"]
