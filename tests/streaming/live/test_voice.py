"""Voices: recordings, a play-out buffer, a live microphone with a clock of its own, changing between them."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streaming.live.media import BLOCK, SOUND_RATE
from streaming.live.voice import (
    LiveVoice,
    NoVoice,
    PlayOut,
    RecordedVoice,
    Voice,
    VoiceSwitch,
    fade_to_silence,
)
from tests.streaming.live.fakes import block

pytestmark = pytest.mark.unit


def pulled(voice: Voice | VoiceSwitch, blocks: int) -> NDArray[np.float32]:
    return np.concatenate([voice.pull() for _ in range(blocks)])


def sine(seconds: float, rate: float = SOUND_RATE, hertz: float = 440.0) -> NDArray[np.float32]:
    at = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def largest_step(samples: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(samples)).max())


SMOOTH = 2 * np.pi * 440 / SOUND_RATE * 0.5 * 1.3
"""Largest step between samples of the tone, and a third more for fades; a click is ten times that."""


def test_a_recording_is_played_once_sample_by_sample() -> None:
    samples = sine(0.05)
    voice = RecordedVoice(samples, None)
    assert voice.held_ms == pytest.approx(50)
    got = pulled(voice, 5)
    assert np.array_equal(got[: len(samples)], samples)
    assert not got[len(samples) :].any()
    assert voice.ended
    assert voice.held_ms == 0


def test_a_recording_begins_anew_after_its_pause() -> None:
    samples = sine(0.05)
    voice = RecordedVoice(samples, pause_s=0.01)
    period = len(samples) + 480
    got = pulled(voice, 10)
    assert np.array_equal(got[period : period + len(samples)], samples)
    assert not got[len(samples) : period].any()
    assert not voice.ended


def test_an_empty_recording_is_silence_for_ever() -> None:
    assert not pulled(RecordedVoice(np.zeros(0, np.float32), 0.0), 3).any()


def test_no_voice_is_silence() -> None:
    voice = NoVoice()
    voice.interrupt()
    assert not pulled(voice, 2).any()


def test_play_out_takes_more_than_real_time_and_refuses_what_does_not_fit() -> None:
    voice = PlayOut(capacity_s=1.0)
    assert voice.push(sine(0.7))
    assert not voice.push(sine(0.4))
    assert voice.held_ms == pytest.approx(700)
    assert voice.room_ms == pytest.approx(300)
    got = pulled(voice, 40)
    assert voice.played == round(0.7 * SOUND_RATE)
    assert np.allclose(got[300 : voice.played - 300], sine(0.7)[300:-300], atol=1e-6)
    assert largest_step(got) < SMOOTH


def test_play_out_is_cleared_by_an_interruption_which_is_counted() -> None:
    voice = PlayOut()
    voice.push(sine(1.0))
    pulled(voice, 10)
    voice.interrupt()
    assert (voice.held_ms, voice.played + voice.cleared) == (0, SOUND_RATE)
    assert not voice.pull().any()


def test_play_out_survives_values_that_are_no_numbers() -> None:
    voice = PlayOut()
    voice.push(np.array([np.nan, np.inf, -np.inf, 3.0] * BLOCK, np.float32))
    assert np.abs(pulled(voice, 4)).max() <= 1.0


def play_live(
    ppm: float, seconds: float, jitter: Callable[[int], int] = lambda _: 0
) -> tuple[LiveVoice, NDArray[np.float32]]:
    """A microphone whose clock is off, sending 20 ms at a time, later than its time by whole blocks of jitter."""
    voice = LiveVoice("test")
    tone = sine(seconds + 1, SOUND_RATE)
    sent, out = 0, []
    for index in range(round(seconds * 50)):
        due = int(index * BLOCK * (1 + ppm * 1e-6)) + BLOCK - jitter(index) * BLOCK
        while sent + BLOCK <= due:
            voice.push(tone[sent : sent + BLOCK])
            sent += BLOCK
        out.append(voice.pull())
    return voice, np.concatenate(out)


@pytest.mark.parametrize("ppm", [-200.0, 0.0, 200.0])
def test_drift_is_absorbed_without_clicks_and_without_growing_delay(ppm: float) -> None:
    voice, got = play_live(ppm, 120.0)
    assert (voice.underruns, voice.overruns) == (0, 0)
    assert largest_step(got) < SMOOTH
    assert 20 < voice.held_ms < 100
    assert voice.ratio == pytest.approx(1 + ppm * 1e-6, abs=150e-6)
    silent = np.flatnonzero(np.abs(got[: 4 * SOUND_RATE]) > 0.1)[0]
    assert silent < 0.1 * SOUND_RATE
    assert np.abs(got[silent:]).reshape(-1)[: 100 * BLOCK].max() > 0.45


def test_uneven_arrival_within_the_target_is_not_heard() -> None:
    voice, got = play_live(0.0, 20.0, jitter=lambda i: i % 3)
    assert voice.underruns == 0
    assert largest_step(got) < SMOOTH


def test_a_microphone_that_stops_fades_and_comes_back() -> None:
    voice, got = play_live(0.0, 6.0, jitter=lambda i: min(100, i - 100) if 100 < i < 200 else 0)
    assert voice.underruns == 1
    assert largest_step(got) < SMOOTH
    assert not got[3 * SOUND_RATE : 3 * SOUND_RATE + BLOCK].any()
    assert np.abs(got[-5 * BLOCK :]).max() > 0.4


def test_a_flood_of_sound_is_shortened() -> None:
    voice = LiveVoice("test")
    for _ in range(20):
        voice.push(sine(0.1))
    assert voice.overruns > 0
    assert voice.held_ms < 400


def test_changing_the_voice_fades_out_and_in() -> None:
    switch = VoiceSwitch()
    switch.use(RecordedVoice(sine(5.0), None))
    first = pulled(switch, 10)
    switch.use(RecordedVoice(sine(5.0, hertz=300.0), None))
    both = np.concatenate([first, pulled(switch, 10)])
    assert largest_step(both) < SMOOTH
    assert switch.source.held_ms < 5000


def test_sound_on_its_way_is_faded() -> None:
    quiet = fade_to_silence([block(0.5), block(0.5)])
    assert quiet[0][0] == pytest.approx(0.5)
    assert not quiet[0][240:].any()
    assert not quiet[1].any()
    assert fade_to_silence([]) == []
