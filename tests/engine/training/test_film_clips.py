"""Filmed corpora on small made-up trees: landmarks become controls at rest as in their emotion, in the usual style."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS, activations
from engine.speech.emotions import EMOTIONS
from engine.tracking.tracker import TrackResult
from engine.training.arrays import write_arrays
from engine.training.film_clips import FilmedClip, load_clips, read_films
from engine.training.lips import usual_opening
from tests.engine.training.test_filmed import touch
from tests.engine.training.test_lips import mouth, talk

pytestmark = pytest.mark.unit

SECONDS = 3
USUAL = usual_opening(talk(50 * SECONDS), mouth())


class Idle:
    """A tracker that is not needed: every clip is preprocessed."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        raise AssertionError("tracked again")

    def reset(self) -> None:
        """Nothing to forget."""


def filmed(tree: Path, speaker: str, emotion: str, level: int, number: str, head: NDArray[np.float32]) -> Path:
    """A clip in MEAD's layout whose landmarks are in the cache; returns the cache."""
    place = Path(emotion) / f"level_{level}" / number
    touch(tree / speaker / "video" / "front" / place.with_suffix(".mp4"))
    touch(tree / speaker / "audio" / place.with_suffix(".m4a"))
    samples = np.random.default_rng(0).integers(-999, 999, 16_000 * SECONDS).astype(np.int16)
    path = tree.parent / "films" / f"{speaker}-front-{emotion}-{level}-{number}.npz"
    path.parent.mkdir(exist_ok=True)
    write_arrays(path, {"samples": samples, "head": head, "emotion": emotion, "level": level})
    return path.parent


def spoken(factor: float = 1.0, seed: int = 1) -> NDArray[np.float32]:
    """Landmarks of `talk` at 25 fps, with a mouth at rest in a fifth of the frames."""
    basis, wanted = mouth(), talk(50 * SECONDS, seed)
    wanted[::10] = wanted[2::10] = 0.0
    return np.asarray(basis.rest + np.float32(factor) * basis.move(activations(wanted))[::2], np.float32)


def loaded(tree: Path) -> list[FilmedClip]:
    return load_clips(tree, tree.parent / "films", Idle(), mouth(), USUAL)


def test_clips_carry_who_speaks_how_and_what(tmp_path: Path) -> None:
    tree = tmp_path / "mead"
    filmed(tree, "M003", "neutral", 1, "012", spoken())
    filmed(tree, "W009", "angry", 3, "002", spoken())
    first, second = loaded(tree)
    assert (first.style, first.sentence) == (("M003", "neutral", 1), "012")
    assert (second.style, second.sentence) == (("W009", "angry", 3), "002")
    assert first.shares.tolist() == [1.0] + [0.0] * 7
    assert second.shares[EMOTIONS.index("angry")] == 1.0
    for clip in (first, second):
        assert clip.controls.shape == (50 * SECONDS, len(CONTROLS)) and clip.known.shape == (50 * SECONDS,)
        assert clip.samples.shape == (16_000 * SECONDS,)
        assert clip.known[:-1].all() and not clip.known[-1], "the last frame of 50 lies beyond the last of 25"


def test_strong_and_weak_speakers_become_alike(tmp_path: Path) -> None:
    """One opens half as far as the other: their controls are the same after all."""
    tree = tmp_path / "mead"
    for speaker, factor in (("M003", 1.0), ("M005", 0.6)):
        for number, seed in (("001", 1), ("002", 2)):
            filmed(tree, speaker, "neutral", 1, number, spoken(factor, seed))
    by_name = {(clip.speaker, clip.sentence): clip for clip in loaded(tree)}
    for number in ("001", "002"):
        strong, weak = (by_name[speaker, number].controls for speaker in ("M003", "M005"))
        np.testing.assert_allclose(weak, strong, atol=0.03)
    assert by_name["M003", "001"].controls.std() > 0.1


def test_what_an_emotion_does_to_a_silent_face_is_not_in_the_controls(tmp_path: Path) -> None:
    """Corners of the mouth are up all the time: the controls are as without."""
    tree = tmp_path / "mead"
    smiling = spoken()
    smiling[:, [48, 54, 60, 64], 1] -= 0.1
    filmed(tree, "M003", "neutral", 1, "001", spoken())
    filmed(tree, "M003", "happy", 2, "001", smiling)
    happy, neutral = sorted(loaded(tree), key=lambda clip: clip.emotion)
    np.testing.assert_allclose(happy.controls, neutral.controls, atol=1e-3)


def test_clips_with_hardly_a_face_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = tmp_path / "mead"
    gone = spoken()
    gone[20:] = np.nan
    filmed(tree, "M003", "neutral", 1, "001", gone)
    filmed(tree, "M003", "neutral", 1, "002", spoken())
    filmed(tree, "W009", "neutral", 1, "001", gone)
    touch(tree / "W011" / "video" / "front" / "bored" / "level_1" / "001.mp4")
    with caplog.at_level(logging.WARNING):
        clips = loaded(tree)
    assert [(clip.speaker, clip.sentence) for clip in clips] == [("M003", "002")]
    for text in ("M003-front-neutral-1-001 left out: lips are known for 0.8 s", "W009-front-neutral-1-001", "'bored'"):
        assert text in caplog.text


def test_gaps_of_the_track_stay_gaps(tmp_path: Path) -> None:
    tree = tmp_path / "mead"
    head = spoken()
    head[30:40] = np.nan
    filmed(tree, "M003", "neutral", 1, "001", head)
    (clip,) = loaded(tree)
    assert np.flatnonzero(~clip.known[:-1]).tolist() == list(range(59, 80))
    assert not clip.controls[~clip.known].any()


def test_sound_longer_than_its_film_is_heard_with_lips_unknown(tmp_path: Path) -> None:
    tree = tmp_path / "mead"
    filmed(tree, "M003", "neutral", 1, "001", spoken()[:50])
    (clip,) = loaded(tree)
    assert len(clip.controls) == 50 * SECONDS
    assert clip.known[:99].all() and not clip.known[99:].any()


def test_hdtf_is_known_by_its_lists(tmp_path: Path) -> None:
    """Its clips do not tell what is said."""
    (tmp_path / "RD_annotion_time.txt").write_text("A.mp4 00:00-00:03\n")
    (tmp_path / "RD_crop_wh.txt").write_text("A_0.mp4 0 64 0 64\n")
    touch(tmp_path / "videos" / "A.mp4")
    (film,) = read_films(tmp_path).films
    assert film.name == "RD-A_0"
    samples = np.zeros(16_000 * SECONDS, np.int16)
    (tmp_path / "films").mkdir()
    kept = tmp_path / "films" / "RD-A_0.npz"
    write_arrays(kept, {"samples": samples, "head": spoken(), "emotion": "neutral", "level": 1})
    (clip,) = load_clips(tmp_path, tmp_path / "films", Idle(), mouth(), USUAL)
    assert (clip.speaker, clip.sentence) == ("RD-A", "")


def test_folders_that_hold_no_films_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder, expected MEAD's speakers"):
        read_films(tmp_path / "none")
    with pytest.raises(BadInputError, match=r"no folder SPEAKER/video .* no list"):
        read_films(tmp_path)
    (tmp_path / "mead" / "M003" / "video").mkdir(parents=True)
    with pytest.raises(BadInputError, match="gave no clip to train on, of 0 listed"):
        loaded(tmp_path / "mead")
