"""A scripted run: moving synthetic pictures, a judge that knows where it drew the mouth."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.evaluation.figures import NotMeasured, Series
from engine.evaluation.frames import MeasuredFrame
from engine.media import VideoFrame

SIZE = 96
MASK_ORIGIN = (50, 24)
MASK_SHAPE = (32, 48)


def edited(frame: VideoFrame, source: VideoFrame, **fixed: Any) -> MeasuredFrame:
    """An edited frame as the engine would give it."""
    usual: dict[str, Any] = {"effort": 3, "mask_origin": MASK_ORIGIN, "stages_ms": {"track": 5.0}}
    return MeasuredFrame(frame, source, **usual | fixed)


def face(opening: float, shift: float = 0.0, spread: float = 0.0) -> NDArray[np.float32]:
    """68 points with eye corners 40 px apart, nose in place, and an inner-lip opening in inter-ocular distances."""
    points = np.full((68, 2), 48.0, dtype=np.float32)
    points[17:48, 0] = np.linspace(30, 66, 31)
    points[17:48, 1] = 40
    points[33] = (48, 58)
    points[36], points[45] = (28, 40), (68, 40)
    points[48:68, 0] = np.linspace(34, 62, 20)
    points[48:68, 1] = 66 + spread
    points[62], points[66] = (48, 66 - 20 * opening), (48, 66 + 20 * opening)
    points[:, 0] += shift
    return points


def texture(phase: float) -> NDArray[np.uint8]:
    """A grey picture [SIZE,SIZE,3] with soft texture that moves by `phase` pixels."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    x = x - phase
    values = 128 + 40 * np.sin(x / 2.1) * np.cos(y / 2.6) + 20 * np.sin((x + 2 * y) / 7.7)
    return np.repeat(values[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def soft_mask() -> NDArray[np.float32]:
    """A mask that falls from 1 to 0 over six pixels at its rim."""
    h, w = MASK_SHAPE
    y, x = np.mgrid[0:h, 0:w]
    rim = np.minimum(np.minimum(y + 1, h - y), np.minimum(x + 1, w - x))
    return np.asarray(np.clip(rim / 6, 0, 1), dtype=np.float32)


def picture(rgb: NDArray[np.uint8], index: int) -> VideoFrame:
    """One 4:2:0 frame at 25 frames a second."""
    return VideoFrame.from_rgb(rgb, pts=index, time_base=Fraction(1, 25))


class ScriptedJudge:
    """Reads what the test wrote down: per picture (by identity of its luma) the points and the descriptor."""

    name = "scripted"

    def __init__(self) -> None:
        """An empty script."""
        self.script: dict[bytes, tuple[Series, Series]] = {}

    def knows(self, frame: VideoFrame, points: NDArray[np.floating], descriptor: Series) -> None:
        """Writes down what is to be read on a picture."""
        self.script[frame.rgb().tobytes()] = (points.astype(np.float64), descriptor)

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> Series:
        """The points written down for this picture."""
        if rgb.tobytes() not in self.script:
            raise NotMeasured("not in the script")
        return self.script[rgb.tobytes()][0]

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: Series) -> Series:
        """The descriptor written down for this picture."""
        return self.script[rgb.tobytes()][1]


Change = Callable[[int, NDArray[np.uint8]], NDArray[np.uint8]]


def run_of(count: int, change: Change | None = None, **fixed: Any) -> list[MeasuredFrame]:
    """A run of `count` frames whose pictures are changed by `change(index, rgb)`; without it nothing is changed."""
    frames = []
    for index in range(count):
        rgb = texture(0.7 * index)
        source = picture(rgb, index)
        frame = source if change is None else picture(change(index, rgb.copy()), index)
        frames.append(replace(edited(frame, source, mask=soft_mask()), **fixed))
    return frames


@dataclass(frozen=True)
class Stage:
    """What the tests of this folder share."""

    face: Callable[..., NDArray[np.float32]] = face
    texture: Callable[[float], NDArray[np.uint8]] = texture
    soft_mask: Callable[[], NDArray[np.float32]] = soft_mask
    picture: Callable[[NDArray[np.uint8], int], VideoFrame] = picture
    run_of: Callable[..., list[Any]] = run_of
    judge: Callable[[], Any] = ScriptedJudge
    edited: Callable[..., MeasuredFrame] = edited
    origin: tuple[int, int] = MASK_ORIGIN


@pytest.fixture(scope="session")
def stage() -> Stage:
    """The scripted run's parts."""
    return Stage()
