"""Material and training of the mood network, on made voices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import FRAME, IntonationState, listen
from engine.speech.mood import READ, STEP, Judgement, MoodTeller, length_input
from engine.speech.utterance import FEATURES, STATISTICS
from engine.training.moods import (
    WINDOWS,
    Amounts,
    Material,
    chain,
    drawn,
    make_stream,
    material_of,
    read_rows,
    varied,
)
from engine.training.performances import Speaker, Spoken
from engine.training.telling import (
    MoodConfig,
    _Batches,
    _loss,
    _Net,
    _plain,
    false_share,
    fit,
    in_folds,
    judge_streams,
    least_certain,
    material,
    usual_variance,
)
from tests.engine.speech.test_mood import syllables

pytestmark = pytest.mark.unit

HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")
TINY = MoodConfig(members=1, steps=150, groups=3, batch=16, folds=2, judged=1)
FEW = Amounts(references=2, each=6, neutral=12)


def spoken(pitch_hz: float, emotion: int = 0, level: int = 0, number: int = 0, seconds: float = 3.0) -> Spoken:
    """A made sentence."""
    return Spoken(listen(syllables(seconds, pitch_hz), IntonationState()), emotion, level, number)


def made(voice: str, pitch_hz: float) -> Speaker:
    """A speaker whose voice is an octave higher when happy, and lower when sad."""
    moods = [
        row
        for number, shift in enumerate((1.0, 1.02))
        for row in (
            spoken(pitch_hz * shift, 0, 0, number),
            spoken(2.0 * pitch_hz * shift, HAPPY, 3, number),
            spoken(0.6 * pitch_hz * shift, SAD, 3, number),
        )
    ]
    calm = tuple(spoken(pitch_hz * (1.0 + 0.01 * k), number=k) for k in range(3))
    return Speaker(voice, True, 60.0, calm, tuple(moods), tuple(moods))


@pytest.fixture(scope="module")
def speakers() -> list[Speaker]:
    """Four voices."""
    return [made(f"v{index}", pitch) for index, pitch in enumerate((110.0, 130.0, 170.0, 200.0))]


@pytest.fixture(scope="module")
def parts(speakers: list[Speaker]) -> list[Material]:
    """Their material."""
    return material(speakers, 1, FEW)


def test_streams_begin_neutral_change_and_are_repeatable(speakers: list[Speaker]) -> None:
    one, two = (make_stream(speakers[0], np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.frames, two.frames)
    assert len(one.frames) == len(one.emotion) == len(one.level)
    assert (one.emotion[: 9 * 50] == 0).all()
    assert set(one.emotion.tolist()) <= {0, HAPPY, SAD}
    assert len(set(one.emotion.tolist())) > 1
    assert set(one.level[one.emotion > 0].tolist()) == {3}
    assert (make_stream(speakers[0], np.random.default_rng(3), emotional=False).emotion == 0).all()
    dull = replace(speakers[0], known=())
    assert (make_stream(dull, np.random.default_rng(3)).emotion == 0).all()


def test_every_sentence_is_drawn_before_one_comes_again(speakers: list[Speaker]) -> None:
    rows = drawn(speakers[0].calm, 8.0, np.random.default_rng(0), vary=False)
    assert sorted(row.sentence for row in rows[:3]) == [0, 1, 2]


def test_varied_frames_differ_a_little_in_pitch_level_and_tilt_and_keep_time() -> None:
    frames = spoken(150.0).frames
    moved = np.stack([varied(frames, np.random.default_rng(seed)) - frames for seed in range(60)])
    assert 0.02 < np.std(np.median(moved[:, :, FRAME.pitch], axis=1)) < 0.08
    assert 0.5 < np.std(moved[:, 0, FRAME.level]) < 1.5
    np.testing.assert_allclose(moved[..., FRAME.level], moved[:, :1, FRAME.level].repeat(len(frames), 1), atol=1e-4)
    assert moved.shape[1] == len(frames)


def test_material_lies_against_neutral_speech_of_the_same_speaker(parts: list[Material]) -> None:
    part = parts[0]
    count = len(part.emotion)
    assert part.summed.shape == (count, STATISTICS)
    assert part.read.shape == (count, READ, FEATURES + 1)
    assert part.calm.shape == (2, WINDOWS, READ, FEATURES + 1)
    assert set(part.emotion.tolist()) == {0, HAPPY, SAD}
    flagged = part.read[:, :, FEATURES].astype(int).sum(axis=1)
    assert (flagged <= part.voiced).all()
    np.testing.assert_array_equal(flagged[part.voiced < 100], part.voiced[part.voiced < 100])
    far = part.distances(np.full(STATISTICS, 0.01))
    assert far[part.emotion == HAPPY, 0].min() > 2.0
    assert far[part.emotion == SAD, 0].max() < -2.0
    assert np.abs(far[part.emotion == 0, 0]).mean() < 2.0


def test_joined_material_keeps_every_window_with_its_reference(parts: list[Material]) -> None:
    joined = Material.joined(parts[:2])
    count = len(parts[0].emotion)
    assert len(joined.mean) == 4
    np.testing.assert_array_equal(joined.against[count:], parts[1].against + 2)
    prior = np.full(STATISTICS, 0.01)
    np.testing.assert_allclose(joined.distances(prior)[count:], parts[1].distances(prior))


def test_what_is_trained_is_what_the_product_hears(speakers: list[Speaker], parts: list[Material]) -> None:
    """Training's means over frames and answers are the product's, for an utterance longer and one shorter than read."""
    trained = _Net().eval()
    net = _plain([trained], usual_variance(parts), 0.5)
    rng = np.random.default_rng(0)
    stream = chain(speakers[0].calm, rng)
    frame = stream.frames.mean(axis=0).astype(np.float64)
    far = rng.normal(0.0, 2.0, STATISTICS).astype(np.float32)
    for count in (READ + 40, READ - 40):
        frames, voiced = stream.frames[:count], rng.random(count) < 0.7
        with torch.no_grad():
            pooled = trained.pool(torch.from_numpy(read_rows(frames, voiced, frame).astype(np.float32))[None])
            length = torch.tensor([length_input(int(voiced.sum()))])
            answer = trained(torch.from_numpy(far)[None], 0.1 * pooled, length)[0]
        heard = net.pool(frames, voiced, frame)
        np.testing.assert_allclose(heard, pooled.numpy(), atol=2e-3)
        judged = net.judge(far, (0.1 * pooled).numpy(), int(voiced.sum()))
        np.testing.assert_allclose(judged.chances, torch.softmax(answer[:-1], dim=0).numpy(), atol=1e-5)
        assert judged.level == pytest.approx(float(torch.sigmoid(answer[-1])), abs=1e-5)


def test_the_same_draw_is_the_same_step(parts: list[Material]) -> None:
    batches = _Batches(Material.joined(parts), usual_variance(parts), TINY)
    net = _Net().eval()
    draws = [batches.loss(net, torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert all(0.0 < loss < 10.0 for loss in draws)


def test_a_network_tells_what_it_has_learnt_and_voices_it_does_not_know(
    speakers: list[Speaker], parts: list[Material]
) -> None:
    certain, figures = in_folds(speakers, parts, usual_variance(parts), TINY)
    assert 0.2 < certain <= 1.0
    assert figures.voices == 4
    told = np.array(figures.confusion["level_3"])
    assert np.diag(told)[[0, HAPPY, SAD]].sum() > 0.8 * told.sum()


def test_every_judgement_of_a_stream_is_kept_with_what_was_spoken(
    speakers: list[Speaker], parts: list[Material]
) -> None:
    net = fit(parts[1:], usual_variance(parts), replace(TINY, steps=30), 0.5)
    rows = judge_streams(net, speakers[0], (True, False), np.random.default_rng(0))
    stream = make_stream(speakers[0], np.random.default_rng(0), vary=False)
    teller = MoodTeller(net)
    known = sum(teller.take(frame) is not None and teller.knows_the_voice for frame in stream.frames)
    assert known // STEP // 2 < len(rows[0]) <= known // STEP + 1
    assert {emotion for _, emotion in rows[0]} - {0}
    assert {emotion for _, emotion in rows[1]} == {0}


def test_the_least_chance_follows_how_often_neutral_speech_is_mistaken() -> None:
    unsure = Judgement(np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0], np.float32), 0.5)
    row = [(unsure, 0)] * 60
    assert false_share([row], 0.45) > 0.8
    assert false_share([row], 0.6) == 0.0
    assert false_share([[(unsure, 1)] * 60], 0.45) == 0.0
    assert least_certain([[row]]) == pytest.approx(0.5, abs=0.02)


def test_what_cannot_be_trained_on_is_refused(speakers: list[Speaker]) -> None:
    calm = material([replace(speakers[0], known=speakers[0].known[:1])], 1, FEW)
    with pytest.raises(BadInputError, match="no emotional speech"):
        fit(calm, np.ones(STATISTICS), TINY, 0.5)
    with pytest.raises(BadInputError, match="no emotional speech"):
        fit([], np.ones(STATISTICS), TINY, 0.5)
    with pytest.raises(BadInputError, match="folds is 1"):
        MoodConfig(folds=1)
    with pytest.raises(BadInputError, match="members is 0"):
        MoodConfig(members=0)


def test_a_speaker_whose_emotions_are_too_short_gives_neutral_windows_alone(speakers: list[Speaker]) -> None:
    short = [replace(row, frames=row.frames[:10]) if row.emotion else row for row in speakers[0].known]
    part = material_of(replace(speakers[0], known=tuple(short)), FEW, np.random.default_rng(0))
    assert set(part.emotion.tolist()) == {0}


def test_rows_of_a_short_window_stand_at_the_end_and_of_a_long_one_the_newest(speakers: list[Speaker]) -> None:
    frames = chain(speakers[0].calm, np.random.default_rng(0)).frames
    usual = frames.mean(axis=0).astype(np.float64)
    voiced = np.arange(len(frames)) % 3 > 0
    short = read_rows(frames[:50], voiced[:50], usual)
    assert short.shape == (READ, FEATURES + 1)
    assert not short[:-50].any()
    np.testing.assert_array_equal(short[-50:, FEATURES], voiced[:50])
    long = read_rows(frames[: READ + 30], voiced[: READ + 30], usual)
    np.testing.assert_array_equal(long[:, FEATURES], voiced[30 : READ + 30])


def test_strength_counts_where_there_is_an_emotion_only() -> None:
    answer = torch.zeros(2, len(EMOTIONS) + 1)
    answer[:, -1] = 3.0
    emotion = torch.tensor([0, HAPPY])
    losses = [_loss(answer, emotion, torch.tensor(level), 0.0).item() for level in ([0.0, 3.0], [3.0, 3.0], [0.0, 1.0])]
    assert losses[0] == losses[1] < losses[2]


def test_a_missed_emotion_costs_more_than_a_false_one_and_smoothing_forbids_to_be_sure() -> None:
    spoken_as = torch.tensor([0, HAPPY])
    missed, false = torch.zeros(2, len(EMOTIONS) + 1), torch.zeros(2, len(EMOTIONS) + 1)
    missed[:, 0], false[:, HAPPY] = 4.0, 4.0
    level = torch.zeros(2)
    assert _loss(missed, spoken_as, level, 0.0).item() > 1.2 * _loss(false, spoken_as, level, 0.0).item()
    sure = torch.full((2, len(EMOTIONS) + 1), -30.0)
    sure[:, HAPPY] = 30.0
    happy = torch.tensor([HAPPY, HAPPY])
    assert _loss(sure, happy, level, 0.0).item() == pytest.approx(0.0, abs=1e-4)
    assert _loss(sure, happy, level, 0.05).item() > 1.0


def test_the_usual_variance_is_the_mean_over_all_references(parts: list[Material]) -> None:
    mean = usual_variance(parts)
    assert mean.shape == (STATISTICS,)
    np.testing.assert_allclose(mean, np.mean([usual_variance([part]) for part in parts], axis=0))
    assert (mean >= 0.0).all() and mean.max() > 0.0


def test_pieces_are_joined_by_short_pauses_that_belong_to_what_came_before(speakers: list[Speaker]) -> None:
    pieces = (speakers[0].known[1], speakers[0].known[2])
    stream = chain(pieces, np.random.default_rng(1))
    first = int(np.flatnonzero(stream.emotion == SAD)[0])
    assert 5 <= first - len(pieces[0].frames) <= 30
    assert (stream.frames[len(pieces[0].frames) : first, FRAME.level] == -100.0).all()
    assert set(stream.emotion[:first].tolist()) == {HAPPY}
