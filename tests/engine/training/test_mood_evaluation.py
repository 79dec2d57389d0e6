"""Figures of whole sentences and of streams: counted as they say, with intervals, and none where there was nothing."""

from dataclasses import replace

import numpy as np
import pytest

from engine.speech.emotions import EMOTIONS
from engine.speech.mood import MoodNet
from engine.speech.utterance import STATISTICS
from engine.training.mood_evaluation import (
    CHANCE,
    Named,
    accuracies,
    confusions,
    evaluate_mood,
    name_sentences,
    sentence_figures,
)
from engine.training.performances import Speaker
from tests.engine.speech.test_mood import high_pitch_is_happy
from tests.engine.training.test_moods import HAPPY, SAD, made

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    """A voice that is an octave higher when happy."""
    return made("v", 120.0)


def row(emotion: int, level: int, answer: int, voice: str = "v", sentence: int = 0) -> Named:
    """One sentence."""
    return Named(voice, "clean", sentence, emotion, level, answer)


def guess(net: MoodNet, emotion: int) -> MoodNet:
    """A network that always names one emotion."""
    bias = np.zeros_like(net.outer_bias)
    bias[:, emotion] = 50.0
    return replace(net, outer=np.zeros_like(net.outer), outer_bias=bias)


def test_neutral_stands_in_every_level_and_every_emotion_counts_alike() -> None:
    rows = [row(0, 0, 0)] * 9 + [row(0, 0, HAPPY)] + [row(HAPPY, 1, HAPPY), row(HAPPY, 1, 0), row(SAD, 3, SAD)]
    counts = confusions(rows)
    assert counts[:, 0, 0].tolist() == [9, 9, 9]
    assert counts[:, HAPPY].sum(axis=1).tolist() == [2, 0, 0]
    np.testing.assert_allclose(accuracies(counts), np.array([0.9 + 0.5, 0.9, 0.9 + 1.0]) / len(EMOTIONS))


def test_guessing_is_chance_and_knowing_everything_is_one() -> None:
    spoken = [(0, 0), *((emotion, level) for emotion in range(1, 8) for level in (1, 2, 3))]
    guessed = sentence_figures([row(emotion, level, 3) for emotion, level in spoken])
    known = sentence_figures([row(emotion, level, emotion) for emotion, level in spoken])
    assert guessed.accuracy == {"level_1": CHANCE, "level_2": CHANCE, "level_3": CHANCE, "all": CHANCE}
    assert set(known.accuracy.values()) == {1.0}
    assert known.interval["all"] == (1.0, 1.0)
    assert known.clips == 22


def test_an_interval_widens_with_how_unlike_voices_are() -> None:
    spoken = [(0, 0), *((emotion, level) for emotion in range(1, 8) for level in (1, 2, 3))]

    def width(share: list[float]) -> float:
        """Of the interval over voices that are named right to these shares of their sentences."""
        rows = [
            row(emotion, level, emotion if number < 10 * right else (emotion + 1) % 8, f"v{voice}", number)
            for voice, right in enumerate(share)
            for number in range(10)
            for emotion, level in spoken
        ]
        figures = sentence_figures(rows)
        low, high = figures.interval["all"]
        assert low <= figures.accuracy["all"] <= high
        return high - low

    assert width([0.2, 0.5, 0.8]) > 1.5 * width([0.5, 0.5, 0.5])


def test_a_sentence_is_named_against_the_speakers_own_neutral_speech(speaker: Speaker) -> None:
    """One pitch is happy for a low voice only: the same network, two voices."""
    net = high_pitch_is_happy()
    for each in (speaker, made("high", 200.0)):
        rows = name_sentences(net, each, np.random.default_rng(0))
        assert len(rows) == len(each.unseen)
        answers = {(named.emotion, named.answer) for named in rows}
        assert (0, 0) in answers and (HAPPY, HAPPY) in answers and (0, HAPPY) not in answers


def test_what_holds_too_little_voice_is_taken_for_neutral(speaker: Speaker) -> None:
    short = tuple(replace(each, frames=each.frames[:20]) for each in speaker.unseen)
    net = guess(high_pitch_is_happy(), SAD)
    assert {named.answer for named in name_sentences(net, speaker, np.random.default_rng(0))} == {SAD}
    cut = name_sentences(net, replace(speaker, unseen=short), np.random.default_rng(0))
    assert {named.answer for named in cut} == {0}
    assert name_sentences(net, replace(speaker, unseen=()), np.random.default_rng(0)) == []


def test_sounds_are_kept_apart(speaker: Speaker) -> None:
    net = high_pitch_is_happy()
    kinds = [speaker, replace(speaker, snr_db=16.0), replace(speaker, own=False)]
    rows = [named for each in kinds for named in name_sentences(net, each, np.random.default_rng(0))]
    figures = sentence_figures(rows)
    assert set(figures.by_sound) == {"clean", "noisy", "changed"}
    assert set(figures.by_voice) == {"v"}
    assert np.array(figures.confusion["level_3"]).sum() == len(rows)


def test_streams_are_shown_as_spoken_and_what_nobody_said_has_no_figure(speaker: Speaker) -> None:
    figures = evaluate_mood(high_pitch_is_happy(), [speaker], streams=3)
    table = {entry["spoken"]: entry for entry in figures.rows()}
    assert figures.streams == 6
    assert table["happy"]["happy"] > 0.6
    assert figures.false == {"v": 0.0}
    assert (figures.named["level_1"], figures.shown["level_1"]) == (None, None)
    assert set(table["angry"].values()) == {"angry", None}


def test_a_network_that_is_always_sure_gives_false_emotions(speaker: Speaker) -> None:
    figures = evaluate_mood(guess(high_pitch_is_happy(), SAD), [speaker], streams=1)
    false = figures.false["v"]
    assert false is not None and false > 0.9


def test_nobody_has_no_figures(speaker: Speaker) -> None:
    silent = tuple(replace(each, frames=np.zeros_like(each.frames)) for each in speaker.calm)
    dumb = replace(speaker, voice="dumb", calm=silent, known=(), unseen=())
    net = high_pitch_is_happy()
    assert evaluate_mood(net, [dumb], streams=1).false == {"dumb": None}
    nobody = evaluate_mood(net, [], streams=1)
    assert (nobody.streams, nobody.false, nobody.named["level_3"]) == (0, {}, None)
    assert len(net.usual) == STATISTICS
