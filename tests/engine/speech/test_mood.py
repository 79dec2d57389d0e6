"""What is told of a voice: relative to its own neutral speech, not every moment something else, bounded."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engine.errors import ShapeError, WeightsError, WeightsFormatError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import FRAME, IntonationState, listen
from engine.speech.mood import (
    FRAME_UNITS,
    NEUTRAL,
    POOLED,
    SHIPPED,
    STEP,
    UNITS,
    Decision,
    Judgement,
    Mood,
    MoodNet,
    MoodTeller,
    Reference,
    read_mood_net,
)
from engine.speech.utterance import FEATURES, STATISTICS
from engine.training.audio import read_audio
from tests.engine.speech.test_intonation import made_voice

pytestmark = pytest.mark.unit


def high_pitch_is_happy(certain: float = 0.6) -> MoodNet:
    """A network that takes a pitch two spreads above the reference for happy, three for strong."""
    inner = np.zeros((1, STATISTICS + POOLED + 1, UNITS), np.float32)
    inner[0, 0, 0] = 0.5
    outer = np.zeros((1, UNITS, len(EMOTIONS) + 1), np.float32)
    outer[0, 0, EMOTIONS.index("happy")] = 30.0
    outer[0, 0, -1] = 5.0
    bias = np.zeros((1, len(EMOTIONS) + 1), np.float32)
    bias[0, 0] = 12.0
    return MoodNet(
        np.zeros((1, FEATURES, FRAME_UNITS[0]), np.float32),
        np.zeros((1, FRAME_UNITS[0]), np.float32),
        np.zeros((1, *FRAME_UNITS), np.float32),
        np.zeros((1, FRAME_UNITS[1]), np.float32),
        inner,
        np.zeros((1, UNITS), np.float32),
        outer,
        bias,
        np.full(STATISTICS, 0.01),
        certain,
    )


def syllables(seconds: float, pitch_hz: float) -> NDArray[np.float32]:
    """A made voice four times a second, with gaps as between syllables."""
    sound = made_voice(seconds, pitch_hz, swing=0.05)
    gate = np.sin(2 * np.pi * 4 * np.arange(len(sound)) / 16_000) > -0.6
    return (sound * gate).astype(np.float32)


def rows_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """All frames of a sound."""
    return listen(samples, IntonationState())


def test_a_reference_averages_then_follows_slowly_and_what_is_not_neutral_hardly() -> None:
    usual = np.ones(STATISTICS)
    reference = Reference(usual)
    for value in (1.0, 3.0):
        reference.learn(np.full(STATISTICS, value), 1.0)
    np.testing.assert_allclose(reference.mean, 2.0)
    for _ in range(300):
        reference.learn(np.full(STATISTICS, 2.0), 1.0)
    before = reference.mean.copy()
    reference.learn(np.full(STATISTICS, 8.0), 0.0)
    np.testing.assert_array_equal(reference.mean, before)
    for _ in range(50):
        reference.learn(np.full(STATISTICS, 8.0), 0.02)
    moved_by_emotion = float((reference.mean - before)[0])
    for _ in range(50):
        reference.learn(np.full(STATISTICS, 8.0), 1.0)
    moved_by_neutral = float((reference.mean - before)[0]) - moved_by_emotion
    assert 0.0 < moved_by_emotion < 0.03
    assert moved_by_neutral > 20.0 * moved_by_emotion
    assert np.abs(reference.distance(np.full(STATISTICS, 1e9))).max() == 6.0


def test_a_decision_waits_until_it_is_likely_holds_and_lets_go() -> None:
    decision = Decision(certain=0.6)
    happy = np.zeros(len(EMOTIONS), np.float32)
    happy[EMOTIONS.index("happy")] = 1.0
    calm = np.eye(len(EMOTIONS), dtype=np.float32)[0]
    shown = [decision.follow(Judgement(happy, 0.8)).emotion for _ in range(8)]
    assert shown[:2] == ["neutral", "neutral"]
    assert shown[-1] == "happy"
    assert decision.mood.level > 0.5
    shown = [decision.follow(Judgement(calm, 0.1)).emotion for _ in range(12)]
    assert shown[0] == "happy"
    assert shown[-1] == "neutral"
    one = decision.follow(Judgement(happy, 0.9))
    assert one == NEUTRAL


def test_the_strength_moves_in_steps_only() -> None:
    decision = Decision(certain=0.5)
    happy = np.zeros(len(EMOTIONS), np.float32)
    happy[EMOTIONS.index("happy")] = 1.0
    rng = np.random.default_rng(0)
    levels = [decision.follow(Judgement(happy, 0.6 + 0.05 * rng.standard_normal())).level for _ in range(60)]
    shown = levels[5:]
    steps = [abs(b - a) for a, b in zip(shown[:-1], shown[1:], strict=True) if a != b]
    assert len(steps) <= 2
    assert all(step >= 0.15 for step in steps)
    for _ in range(20):
        decision.follow(Judgement(happy, 1.0))
    assert decision.mood.level > levels[-1] + 0.1


def test_a_voice_is_neutral_until_it_is_known_and_told_by_its_own_measure() -> None:
    """180 Hz is high for one voice and usual for another."""
    low_then_high = np.concatenate([syllables(9.0, 120.0), syllables(6.0, 180.0)])
    always_high = syllables(15.0, 180.0)
    net = high_pitch_is_happy()
    teller = MoodTeller(net)
    first = teller.push(low_then_high[: 16_000 * 2])
    assert not teller.knows_the_voice
    moods = first + teller.push(low_then_high[16_000 * 2 :])
    assert teller.knows_the_voice
    assert {mood.emotion for mood in moods[:440]} == {"neutral"}
    assert moods[-1].emotion == "happy"
    assert moods[-1].level > 0.5
    assert {mood.emotion for mood in MoodTeller(net).push(always_high)} == {"neutral"}


def test_a_pause_of_two_seconds_brings_it_back_to_neutral() -> None:
    sound = np.concatenate([syllables(9.0, 120.0), syllables(5.0, 190.0), np.zeros(16_000 * 3, np.float32)])
    moods = MoodTeller(high_pitch_is_happy()).push(sound)
    assert moods[len(moods) - 150 + 20].emotion == "happy"
    assert moods[-1] == NEUTRAL


@settings(deadline=None, max_examples=5)
@given(cuts=st.lists(st.integers(0, 16_000 * 12), max_size=10))
def test_moods_do_not_depend_on_how_the_sound_is_cut(cuts: list[int]) -> None:
    sound = np.concatenate([syllables(8.0, 120.0), syllables(4.0, 185.0)])
    whole = MoodTeller(high_pitch_is_happy()).push(sound)
    teller = MoodTeller(high_pitch_is_happy())
    edges = [0, *sorted(cuts), len(sound)]
    parts = [mood for a, b in zip(edges[:-1], edges[1:], strict=True) for mood in teller.push(sound[a:b])]
    assert parts == whole
    assert len({mood.emotion for mood in whole}) == 2


def test_nothing_but_noise_silence_or_dc_stays_neutral() -> None:
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(16_000 * 6)).astype(np.float32)
    for sound in (noise, np.zeros(16_000 * 6, np.float32), np.full(16_000 * 6, 0.4, np.float32)):
        assert set(MoodTeller(read_mood_net()).push(sound)) == {NEUTRAL}


def test_the_shipped_network_is_small_and_calls_an_even_voice_neutral() -> None:
    assert SHIPPED.stat().st_size < 64 * 1024
    net = read_mood_net()
    assert 0.2 < net.certain < 1.0
    judged = net.judge(np.zeros(STATISTICS, np.float32), np.zeros((len(net.first), POOLED), np.float32), 120)
    assert judged.chances.sum() == pytest.approx(1.0, abs=1e-5)
    assert int(judged.chances.argmax()) == 0
    assert {mood.emotion for mood in MoodTeller(net).push(syllables(15.0, 140.0))} == {"neutral"}


def test_the_shipped_network_hears_anger_where_a_real_voice_gets_higher_wider_louder_and_brighter(
    data_dir: Path,
) -> None:
    frames = listen(read_audio(data_dir / "speech" / "ditto_audio.wav"), IntonationState())
    first, then = frames[:600], frames[600:]
    raised = then.copy()
    pitch = raised[:, FRAME.pitch]
    middle = pitch[raised[:, FRAME.voicing] > 0.5].mean()
    raised[:, FRAME.pitch] = middle + 2 / 12 + 1.5 * (pitch - middle)
    raised[:, FRAME.level] += 6.0
    raised[:, FRAME.bands :] += 6.0 + np.linspace(-9.0, 9.0, raised.shape[1] - FRAME.bands)
    told = []
    for rows in (then, raised):
        teller = MoodTeller(read_mood_net())
        for frame in np.concatenate([first, rows]):
            teller.take(frame)
        assert teller.judged is not None
        told.append(teller.judged.chances)
    angry = EMOTIONS.index("angry")
    assert told[0][angry] < 0.1
    assert int(told[1].argmax()) == angry and told[1][angry] > 0.5


def test_weights_survive_the_file_and_damaged_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    net = high_pitch_is_happy(0.72)
    net.save(path, {"voices": "made"})
    again = read_mood_net(path)
    assert again.certain == pytest.approx(0.72)
    far = np.linspace(-2, 2, STATISTICS).astype(np.float32)
    apart = np.zeros((1, POOLED), np.float32)
    np.testing.assert_allclose(again.judge(far, apart, 99).chances, net.judge(far, apart, 99).chances, atol=1e-3)
    with pytest.raises(WeightsError, match="not there"):
        read_mood_net(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(WeightsFormatError, match="train it again"):
        read_mood_net(path)
    save_file({"inner": np.zeros(3, np.float32)}, path, {"format": "livedub-mood-2"})
    with pytest.raises(WeightsFormatError, match="mood network"):
        read_mood_net(path)


def test_a_network_of_other_shapes_is_refused() -> None:
    net = high_pitch_is_happy()
    with pytest.raises(ShapeError, match="shapes"):
        replace(net, inner=net.inner[:, :-1])
    with pytest.raises(ShapeError, match="shapes"):
        replace(net, outer=np.repeat(net.outer, 2, axis=0))


def test_a_mood_is_judged_five_times_a_second_at_most() -> None:
    frames = rows_of(syllables(9.0, 130.0))
    teller = MoodTeller(high_pitch_is_happy())
    moods = [teller.take(frame) for frame in frames]
    changes = [index for index in range(1, len(moods)) if moods[index] != moods[index - 1]]
    assert all((index + 1) % STEP == 0 for index in changes)
    assert all(isinstance(mood, Mood) for mood in moods)


def test_members_are_averaged() -> None:
    """Two networks, one of which says the opposite, are unsure."""
    net = high_pitch_is_happy()
    parts: dict[str, Any] = {item.name: getattr(net, item.name) for item in fields(net)}
    doubled: dict[str, Any] = {k: np.repeat(v, 2, axis=0) if np.ndim(v) > 1 else v for k, v in parts.items()}
    both = MoodNet(**doubled)
    far = np.full(STATISTICS, 6.0, np.float32)
    apart = np.zeros((2, POOLED), np.float32)
    np.testing.assert_allclose(both.judge(far, apart, 99).chances, net.judge(far, apart[:1], 99).chances, atol=1e-6)
    both.outer[1] *= -1.0
    assert both.judge(far, apart, 99).chances[EMOTIONS.index("happy")] == pytest.approx(0.5, abs=0.01)


def test_an_opinion_is_there_once_voice_and_utterance_are_known() -> None:
    teller = MoodTeller(high_pitch_is_happy())
    teller.push(syllables(4.0, 120.0))
    assert teller.opinion() is None
    teller.push(np.concatenate([syllables(6.0, 120.0), np.zeros(16_000 * 3, np.float32)]))
    assert teller.opinion() is None, "what was said before a long pause is another utterance"
    teller.push(syllables(2.0, 190.0))
    opinion = teller.opinion()
    assert opinion is not None
    assert EMOTIONS[int(opinion.chances.argmax())] == "happy"
    assert teller.judged is not None


def test_means_over_frames_are_of_voiced_ones_and_the_last_half_second_apart() -> None:
    rng = np.random.default_rng(0)
    net = read_mood_net()
    frames = rows_of(syllables(4.0, 150.0))
    voiced = rng.random(len(frames)) < 0.7
    frame = frames.mean(axis=0).astype(np.float64)
    pooled = net.pool(frames, voiced, frame)
    assert pooled.shape == (len(net.first), POOLED)
    other = frames.copy()
    other[:100] += rng.normal(0.0, 1.0, other[:100].shape).astype(np.float32)
    moved = np.abs(net.pool(other, voiced, frame) - pooled)
    assert moved[:, : POOLED // 2].max() > 0.01
    np.testing.assert_allclose(moved[:, POOLED // 2 :], 0.0, atol=1e-6)
