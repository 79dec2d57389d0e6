"""The picture of a speech: its rows show what they should, whatever the sound."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.speech.drawing import FACES, Drawn, Picture, draw, face_times
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.track import MouthTrack

pytestmark = pytest.mark.unit

_ROWS = {"sound": slice(40, 170), "speech": slice(196, 246), "mouth": slice(272, 462), "emotion": slice(488, 538)}


def _rest() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    rest = rng.uniform(-0.7, 1.2, (68, 3)).astype(np.float32)
    rest[62], rest[66] = (0.0, 0.80, 0.0), (0.0, 0.82, 0.0)
    return rest


def _drawn(seconds: float = 4.0, opening: float = 0.1, emotion: str = "neutral") -> Drawn:
    """Speech in the second half only."""
    frames = int(seconds * 50) + 20
    times = np.arange(frames) / 50
    speaking = ((times >= seconds / 2) & (times < seconds)).astype(np.float32)
    displacement = np.zeros((frames, 68, 3), np.float32)
    displacement[:, 66, 1] = opening * speaking
    samples = (np.sin(np.arange(int(seconds * 16_000)) / 9) * np.repeat([0.0, 0.5], int(seconds * 8_000))).astype("f4")
    track = MouthTrack(times, displacement, speaking)
    return Drawn(samples, track, _rest(), np.tile(emotion_shares(emotion, 0.75), (frames, 1)))


def _coloured(picture: Picture, row: str) -> tuple[int, int]:
    """Pixels of a row that are not grey, in its left and right half."""
    part = picture[_ROWS[row], 130:1570].astype(int)
    strong = np.ptp(part, axis=2) > 60
    return int(strong[:, :720].sum()), int(strong[:, 720:].sum())


def test_sound_and_mouth_are_drawn_where_they_are() -> None:
    picture = draw(_drawn())
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1600, 3)
    left, right = _coloured(picture, "sound")
    assert right > 20 * left > 0
    blue_high = np.ptp(picture[_ROWS["mouth"]][:100, 130:1570].astype(int), axis=2) > 60
    assert blue_high[:, 730:].sum() > 10 * max(1, blue_high[:, :700].sum())


def test_the_emotion_fills_its_share_of_the_row() -> None:
    assert sum(_coloured(draw(_drawn()), "emotion")) == 0
    happy = sum(_coloured(draw(_drawn(emotion="happy")), "emotion"))
    assert happy == pytest.approx(0.75 * 50 * 1440, rel=0.1)


def test_faces_are_taken_from_speech() -> None:
    times = face_times(_drawn())
    assert len(times) == FACES
    assert times[0] >= 2.0
    assert times[-1] <= 4.0
    silent = _drawn()
    silent.track.speaking[:] = 0.0
    assert face_times(silent)[0] == 0.0


@pytest.mark.parametrize("seconds", [0.1, 0.9, 33.0, 400.0])
def test_any_length_can_be_drawn(seconds: float) -> None:
    picture = draw(_drawn(seconds))
    assert sum(_coloured(picture, "sound")) > 1000


def test_wide_open_and_broken_sound_stay_in_the_picture() -> None:
    drawn = _drawn(opening=2.0)
    drawn.samples[100:200] = np.nan
    drawn.samples[300] = 1e6
    assert np.isfinite(draw(drawn)).all()


def test_shapes_are_checked() -> None:
    drawn = _drawn()
    with pytest.raises(ShapeError, match="expected"):
        Drawn(drawn.samples, drawn.track, drawn.rest, drawn.shares[:-1])
    with pytest.raises(BadInputError, match="one frame"):
        Drawn(drawn.samples[:10], drawn.track, drawn.rest, drawn.shares)
    assert drawn.shares.shape[1] == len(EMOTIONS)
