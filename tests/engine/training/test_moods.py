"""Material and training of the mood network, on made voices."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import FRAME, IntonationState, listen
from engine.speech.mood import NEWEST, STATISTICS, Judgement
from engine.training.corpus import write_voice
from engine.training.emotional import Sentence, clip_path, write_wave
from engine.training.moods import (
    SNR_DB,
    Spoken,
    Voice,
    chain,
    hear,
    make_stream,
    read_voices,
    summaries,
    usual_variance,
    varied,
)
from engine.training.telling import MoodConfig, calibrate, evaluate_mood, false_share, fit, material, train_mood
from engine.training.voices import Phone, Utterance
from tests.engine.speech.test_mood import syllables

pytestmark = pytest.mark.unit

HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")
TINY = MoodConfig(streams=2, calm_streams=1, steps=300, batch=128, folds=2)


def spoken(pitch_hz: float, emotion: int = 0, level: int = 0, seconds: float = 3.0) -> Spoken:
    """A made sentence."""
    return Spoken(listen(syllables(seconds, pitch_hz), IntonationState()), emotion, level)


def made(name: str, pitch_hz: float) -> Voice:
    """A voice that is an octave higher when happy, and lower when sad."""
    calm = [spoken(pitch_hz * (1.0 + 0.01 * k)) for k in range(3)]
    moods = {
        (0, 0): [spoken(pitch_hz)],
        (HAPPY, 3): [spoken(2.0 * pitch_hz, HAPPY, 3)],
        (SAD, 3): [spoken(0.6 * pitch_hz, SAD, 3)],
    }
    return Voice(name, [calm for _ in SNR_DB], [moods for _ in SNR_DB])


@pytest.fixture(scope="module")
def voices() -> list[Voice]:
    """Four voices."""
    return [made(f"v{index}", pitch) for index, pitch in enumerate((110.0, 130.0, 170.0, 200.0))]


def test_streams_begin_neutral_change_and_are_repeatable(voices: list[Voice]) -> None:
    one, two = (make_stream(voices[0], 0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.frames, two.frames)
    assert len(one.frames) == len(one.emotion) == len(one.level)
    assert (one.emotion[: 7 * 50] == 0).all()
    assert set(one.emotion.tolist()) <= {0, HAPPY, SAD}
    assert len(set(one.emotion.tolist())) > 1
    assert set(one.level[one.emotion > 0].tolist()) == {3}
    calm = Voice("calm", voices[0].calm)
    assert (make_stream(calm, 0, np.random.default_rng(3)).emotion == 0).all()


def test_varied_frames_differ_a_little_in_pitch_and_tilt_and_keep_time() -> None:
    frames = spoken(150.0).frames
    shifts = [
        float(np.median(varied(frames, np.random.default_rng(seed))[:, FRAME.pitch] - frames[:, FRAME.pitch]))
        for seed in range(40)
    ]
    assert 0.04 < np.std(shifts) < 0.2
    np.testing.assert_array_equal(varied(frames, np.random.default_rng(0))[:, FRAME.level], frames[:, FRAME.level])


def test_windows_of_two_emotions_are_marked_and_the_reference_is_led_by_the_truth(voices: list[Voice]) -> None:
    pieces = [*voices[0].calm[0] * 5, *voices[0].moods[0][(HAPPY, 3)] * 3]
    stream = chain(pieces, np.random.default_rng(0))
    rows = list(summaries(stream))
    assert {row[2] for row in rows} == {0, HAPPY, -1}
    assert 0 < sum(row[2] == -1 for row in rows) * 10 < 4 * NEWEST
    heard = hear(stream, np.full(STATISTICS, 0.01))
    assert heard.far.shape == (len(heard.emotion), STATISTICS)
    assert heard.far[heard.emotion == HAPPY, 0].min() > 2.0
    assert np.abs(heard.far[heard.emotion == 0, 0]).mean() < 2.0


def test_a_short_stream_holds_no_judgement(voices: list[Voice]) -> None:
    heard = hear(chain(voices[0].calm[0][:1], np.random.default_rng(0)), np.ones(STATISTICS))
    assert heard.far.shape == (0, STATISTICS)
    assert len(heard.emotion) == 0


def test_training_tells_what_it_has_learnt_and_calls_the_rest_neutral(voices: list[Voice]) -> None:
    usual = usual_variance(voices[:3])
    rows = material(voices[:3], usual, TINY)
    net = fit([heard for voice in rows for heard in voice], usual, TINY, 0.5)
    figures = evaluate_mood(net, voices[1:2], streams=3)
    named, shown, false = figures.named["level_3"], figures.shown["level_3"], figures.false["v1"]
    assert named is not None and shown is not None and false is not None
    assert 0.7 < named <= shown
    assert false < 0.2
    table = {row["spoken"]: row for row in figures.rows()}
    assert table["happy"]["happy"] > 0.6
    assert np.array(figures.confusion).sum() > 100


def test_what_nobody_said_has_no_figure_and_not_a_good_one(voices: list[Voice]) -> None:
    """No angry speech, none of level 1, and a voice that says too little to be known."""
    usual = usual_variance(voices[:1])
    net = fit([heard for voice in material(voices[:2], usual, TINY) for heard in voice], usual, TINY, 0.5)
    figures = evaluate_mood(net, voices[:1], streams=1)
    assert (figures.named["level_1"], figures.shown["level_1"]) == (None, None)
    angry = next(row for row in figures.rows() if row["spoken"] == "angry")
    assert set(angry.values()) == {"angry", None}
    silent = Spoken(np.zeros((200, voices[0].calm[0][0].frames.shape[1]), np.float32), 0, 0)
    dumb = Voice("dumb", [[silent] for _ in SNR_DB])
    assert evaluate_mood(net, [dumb], streams=1).false == {"dumb": None}
    nobody = evaluate_mood(net, [])
    assert (nobody.streams, nobody.false, nobody.named["level_3"]) == (0, {}, None)


def test_the_least_chance_follows_how_often_neutral_speech_is_mistaken(voices: list[Voice]) -> None:
    usual = np.full(STATISTICS, 0.02)
    certain = calibrate(material(voices, usual, TINY), usual, TINY)
    assert 0.2 < certain <= 1.0
    unsure = Judgement(np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0], np.float32), 0.5)
    row = [(unsure, 0)] * 60
    assert false_share([row], 0.45) > 0.8
    assert false_share([row], 0.6) == 0.0
    assert false_share([[(unsure, 1)] * 60], 0.45) == 0.0


def test_what_cannot_be_trained_on_is_refused(voices: list[Voice], tmp_path: Path) -> None:
    usual = np.ones(STATISTICS)
    calm = hear(make_stream(Voice("calm", voices[0].calm), 0, np.random.default_rng(0)), usual)
    with pytest.raises(BadInputError, match="no emotional speech"):
        fit([calm], usual, TINY, 0.5)
    with pytest.raises(BadInputError, match="none of the voices"):
        read_voices(tmp_path, [], lambda _: True)
    with pytest.raises(BadInputError, match="folds is 1"):
        MoodConfig(folds=1)
    with pytest.raises(BadInputError, match="steps is 0"):
        MoodConfig(steps=0)


def _utterance(samples: NDArray[np.float32]) -> Utterance:
    return Utterance(samples, (Phone("a", 0.0, len(samples) / 16_000),))


def test_a_corpus_is_read_trained_on_and_its_held_out_voice_measured(tmp_path: Path) -> None:
    sentences = []
    for name, pitch in (("a", 110.0), ("b", 160.0), ("c", 130.0)):
        write_voice(tmp_path / f"{name}.npz", [_utterance(syllables(3.0, pitch)) for _ in range(2)])
        clips = {}
        for (emotion, level), factor in {("neutral", 1): 1.0, ("happy", 3): 1.8}.items():
            clips[emotion, level] = clip_path(tmp_path / "emotions", name, emotion, level, 1)
            write_wave(clips[emotion, level], syllables(3.0, pitch * factor))
        sentences.append(Sentence(name, (), clips))
    told: list[str] = []
    config = MoodConfig(streams=2, steps=60, batch=64, folds=2, judged=1)
    net, figures = train_mood(tmp_path, sentences, ("c",), config, lambda text, _: told.append(text))
    assert told == ["intonation of a", "intonation of b", "intonation of c"]
    assert list(figures.false) == ["c"]
    assert figures.streams == 2
    assert net.usual.shape == (STATISTICS,)
