"""The speech benchmark's own arithmetic, on series and sounds whose answers are known."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import speech
from bench.speech import CLIPS, LARGEST_LAG_MS, Clip, baseline, best_r, interval, measure_activity, measure_clip
from engine.errors import BadInputError
from engine.speech import MouthTrack, SpeechModel

pytestmark = pytest.mark.unit

AT = np.arange(200) / 50
TIMES = np.arange(20, 80) / 25


def opening(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.1 + 0.05 * np.sin(9 * seconds) + 0.03 * np.sin(17 * seconds + 1))


@pytest.mark.parametrize("offset_ms", [0, 120])
@pytest.mark.parametrize("lag_ms", [-60, 0, 40, 80])
def test_a_delayed_opening_is_found_at_its_delay_beyond_the_documented_one(offset_ms: int, lag_ms: int) -> None:
    """The lips follow the sound by both together; frames without a face count for nothing."""
    measured = opening(TIMES - (offset_ms + lag_ms) / 1000)
    measured[5:9] = np.nan
    r, lag = best_r(TIMES, measured, AT, opening(AT), offset_ms)
    assert lag == lag_ms and r > 0.99


def test_no_lag_beyond_the_largest_is_tried() -> None:
    r, lag = best_r(TIMES, opening(TIMES - 0.16), AT, opening(AT), 0)
    assert abs(lag) <= LARGEST_LAG_MS and r < 0.95


def test_scale_and_level_of_an_opening_do_not_matter_but_its_sign_does() -> None:
    plain = best_r(TIMES, opening(TIMES), AT, opening(AT), 0)
    scaled = best_r(TIMES, 3 * opening(TIMES) + 7, AT, 0.1 * opening(AT) - 2, 0)
    assert scaled[0] == pytest.approx(plain[0]) and scaled[1] == plain[1]
    assert best_r(TIMES, opening(TIMES), AT, -opening(AT), 0)[0] < 0.9


def test_a_prediction_that_never_moves_has_no_correlation() -> None:
    assert best_r(TIMES, opening(TIMES), AT, np.ones(len(AT)), 0)[0] == 0.0


@pytest.mark.parametrize("measured", [np.ones(60), np.where(np.arange(60) < 24, opening(TIMES), np.nan)])
def test_too_few_or_unmoving_lips_are_refused(measured: NDArray[np.float64]) -> None:
    with pytest.raises(BadInputError, match="at least 25 that differ"):
        best_r(TIMES, measured, AT, opening(AT), 0)


def test_the_interval_holds_the_correlation_and_narrows_with_more_to_see() -> None:
    """Noise on the measured opening: the interval lies about r, and a clip four times as long gives a narrower one."""
    widths = []
    for seconds in (8, 32):
        at = np.arange(seconds * 50) / 50
        noise = 0.04 * np.random.default_rng(1).standard_normal(seconds * 25)
        times = np.arange(seconds * 25) / 25
        measured = opening(times) + noise
        measured[7] = np.nan
        r, lag = best_r(times, measured, at, opening(at), 0)
        low, high = interval(times, measured, at, opening(at), lag)
        assert low < r < high < 1.0
        assert interval(times, measured, at, opening(at), lag) == (low, high)
        widths.append(high - low)
    assert widths[1] < 0.8 * widths[0]


def test_lips_that_never_move_have_no_interval() -> None:
    with pytest.raises(BadInputError, match="lips that move"):
        interval(TIMES, np.ones(len(TIMES)), AT, opening(AT), 0)


def bursts(seconds: float = 3.0) -> NDArray[np.float32]:
    """A voice that is loud in the second half of every second."""
    at = np.arange(round(16000 * seconds)) / 16000
    noise = np.random.default_rng(0).normal(size=len(at))
    return (noise * np.where(at % 1 >= 0.5, 0.2, 0.002)).astype(np.float32)


def test_baseline_is_higher_where_the_voice_is_louder() -> None:
    times, loud = baseline(bursts())
    assert np.allclose(np.diff(times), 0.02) and abs(times[-1] - 3.0) < 0.05
    inside = (times % 1 > 0.6) & (times % 1 < 0.9)
    outside = (times % 1 > 0.15) & (times % 1 < 0.45)
    assert loud[inside].min() > loud[outside].max()


@dataclass
class Basis:
    """A closed mouth."""

    rest: NDArray[np.float32] = field(default_factory=lambda: np.zeros((68, 3), np.float32))


class Echo:
    """A speech model that opens the mouth as wide as the sound is loud."""

    basis = Basis()

    def offline(self, samples: NDArray[np.float32]) -> MouthTrack:
        count = len(samples) // 320
        level = np.abs(samples[: count * 320]).reshape(count, 320).max(1)
        moved = np.zeros((count, 68, 3), np.float32)
        moved[:, 66, 1] = level
        return MouthTrack(np.arange(count) / 50, moved, (level > 0.01).astype(np.float32))


def test_motion_is_timed_from_the_first_sound_and_the_last() -> None:
    """The double moves exactly while there is sound: none before it, none after its last frame."""
    spoken = np.full(8000, 0.5, np.float32)
    found = measure_activity(cast(SpeechModel, Echo()), spoken)
    assert found == {"first_motion_before_sound_ms": 0.0, "last_motion_after_sound_ms": -20.0}


def clip_results(folder: Path, monkeypatch: pytest.MonkeyPatch, offset_ms: int = 0) -> dict[str, Any]:
    samples = bursts()
    track = Echo().offline(samples)
    times = np.arange(75) / 25
    measured = np.interp(times - offset_ms / 1000, track.times, track.displacement[:, 66, 1])
    measured[:3] = np.nan
    monkeypatch.setattr(speech, "read_audio", lambda path: samples)
    monkeypatch.setattr(speech, "measure_opening", lambda path: (times, measured))
    return measure_clip(cast(SpeechModel, Echo()), Clip("one", "a.mp4", "a.wav", offset_ms), folder, folder / "kept")


def test_a_clip_that_opens_as_predicted_reads_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = clip_results(tmp_path, monkeypatch, 60)
    assert found["speech_r"] > 0.99 and found["lag_ms"] == 0
    assert found["frames"] == 75 and found["frames_without_face"] == 3
    assert found["speaking_share"] == pytest.approx(0.5, abs=0.05)
    assert list(found["measured_opening"]) == ["p10", "p50", "p90", "p99"]
    assert found["measured_opening"]["p10"] <= found["measured_opening"]["p90"]


def test_measured_openings_are_kept_and_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clip_results(tmp_path, monkeypatch)

    def refuse(path: Path) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(speech, "measure_opening", refuse)
    again = measure_clip(cast(SpeechModel, Echo()), Clip("one", "a.mp4", "a.wav"), tmp_path, tmp_path / "kept")
    assert again == first
    with pytest.raises(AssertionError, match="measured again"):
        measure_clip(cast(SpeechModel, Echo()), Clip("other", "a.mp4", "a.wav"), tmp_path, tmp_path / "kept")


def test_clips_have_names_of_their_own() -> None:
    """Openings are kept by name."""
    assert len({clip.name for clip in CLIPS}) == len(CLIPS) == 6
