"""Clips and speeches by name or path, and a clip's own sound."""

import argparse
from pathlib import Path

import av
import numpy as np
import pytest

from bench.ablation import pairs_of
from bench.others import OWN
from bench.pairs import add_arguments, find, found, name_of, own_sound
from engine.errors import BadInputError
from streaming.ingest.sound import ENGINE_RATE

pytestmark = pytest.mark.unit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of empty files."""
    for name in ("clips/a.mp4", "clips/a.b.mp4", "clips/two.mp4", "clips/two.avi", "speech/bus.wav", "speech/own.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "clips" / "folder.mp4").mkdir()
    return tmp_path


def parsed(data: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--data", str(data), "--profiles", "p", "--out", "o", *words])


def test_a_name_finds_its_one_file_whatever_its_ending(data: Path) -> None:
    assert find(data / "speech", "bus") == data / "speech" / "bus.wav"
    assert find(data / "clips", "a.b") == data / "clips" / "a.b.mp4"


def test_a_path_is_taken_as_it_is(data: Path) -> None:
    path = data / "clips" / "two.avi"
    assert find(data / "speech", str(path)) == path


@pytest.mark.parametrize(("name", "count"), [("none", 0), ("two", 2), ("folder", 0), ("", 0)])
def test_no_file_or_several_are_refused(data: Path, name: str, count: int) -> None:
    folder = data / "clips"
    with pytest.raises(
        BadInputError, match=rf"^{name}: got {count} files of that name in {folder}, expected one, or a"
    ):
        find(folder, name)


def test_a_name_with_a_dot_is_no_ending_of_a_shorter_one(data: Path) -> None:
    """`a` must not find `a.b.mp4` beside its own file, as any glob of `a.*` would."""
    assert find(data / "clips", "a") == data / "clips" / "a.mp4"


def test_brackets_in_a_name_are_no_pattern(data: Path) -> None:
    (data / "clips" / "take[2].mp4").touch()
    (data / "clips" / "take2.mp4").touch()
    assert find(data / "clips", "take[2]") == data / "clips" / "take[2].mp4"
    with pytest.raises(BadInputError, match="got 0 files"):
        find(data / "clips", "tak?2")


def test_clips_and_speeches_are_found_in_their_own_folders(data: Path) -> None:
    args = parsed(data, "--clips", "a", "a.b", "--speech", "bus", OWN)
    clips, speeches = found(args)
    assert clips == [data / "clips" / "a.mp4", data / "clips" / "a.b.mp4"]
    assert speeches == [data / "speech" / "bus.wav", None]
    assert [name_of(speech) for speech in speeches] == ["bus", OWN]


@pytest.mark.parametrize("missing", ["--clips", "--speech"])
def test_clips_and_speech_have_to_be_named(data: Path, missing: str) -> None:
    words = {"--clips": ["--clips", "a"], "--speech": ["--speech", "bus"]}
    del words[missing]
    with pytest.raises(SystemExit):
        parsed(data, *[word for part in words.values() for word in part])


def test_the_folder_of_data_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEDUB_TEST_DATA", "/somewhere/else")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--clips", "a", "--speech", "b", "--profiles", "p", "--out", "o"]
    assert parser.parse_args(words).data == Path("/somewhere/else")


def test_own_sound_begins_where_the_part_begins(tmp_path: Path) -> None:
    """At the engine's rate and at the track's own: what sounds half a second in is there at once."""
    path, rate = tmp_path / "clip.wav", 48_000
    samples = np.zeros((1, rate), np.int16)
    samples[0, rate // 2 :] = 9000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole, late = own_sound(path, 0.0), own_sound(path, 0.5)
    assert len(whole.speech) == pytest.approx(ENGINE_RATE, abs=200)
    assert len(whole.speech) - len(late.speech) == ENGINE_RATE // 2
    assert whole.track.shape[1] - late.track.shape[1] == whole.rate // 2
    np.testing.assert_array_equal(late.speech, whole.speech[ENGINE_RATE // 2 :])
    assert np.abs(late.speech[200:-200]).min() > 0.2 > np.abs(whole.speech[: ENGINE_RATE // 2 - 200]).max()


def test_first_goes_with_first_and_one_speech_with_all() -> None:
    a, b, x, y = (Path(name) for name in "abxy")
    assert pairs_of([a, b], [x, y]) == [(a, x), (b, y)]
    assert pairs_of([a, b], [x]) == [(a, x), (b, x)]
    assert pairs_of([a], [None]) == [(a, None)]
    for clips, speeches in (([a], [x, y]), ([a, b], []), ([a, b, a], [x, y])):
        with pytest.raises(
            BadInputError, match=f"got {len(clips)} clips and {len(speeches)} speeches, expected as many"
        ):
            pairs_of(clips, speeches)
