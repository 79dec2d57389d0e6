"""The live benchmark's own instruments: the timecode, the offset of sound and pictures, gaps."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.devices import read_stamp, stamp, swelling
from bench.live_figures import av_offset_ms, percentiles, sound_gaps
from bench.receiver import Received
from engine.media import VideoFrame
from streaming.encoder import PictureEncoder
from streaming.live.media import SOUND_RATE, VIDEO_TIME_BASE
from tests.streaming.test_encoder import decoded

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("milliseconds", "counter"), [(0, 0), (0xFFFFFFFF, 0xFFFF), (123_456_789, 4242)])
def test_a_timecode_survives_the_encoder(milliseconds: int, counter: int) -> None:
    luma = np.full((480, 640), 100, np.uint8)
    stamp(luma, milliseconds, counter)
    assert read_stamp(luma) == (milliseconds, counter)
    grey = np.full((240, 320), 128, np.uint8)
    frame = VideoFrame((luma, grey, grey), "420", 8, "bt709", False, 0, VIDEO_TIME_BASE)
    picture = decoded([PictureEncoder("H264", hardware=False).encode(frame, key=True)])[0]
    shown = np.asarray(picture.to_ndarray()[:480], np.uint8)
    assert read_stamp(shown) == (milliseconds, counter)


def test_a_damaged_or_missing_timecode_is_not_read() -> None:
    luma = np.full((480, 640), 100, np.uint8)
    assert read_stamp(luma) is None
    assert read_stamp(luma[:, :320]) is None
    stamp(luma, 77, 5)
    luma[:16, 16 * 30 : 16 * 31] = 255 - luma[:16, 16 * 30 : 16 * 31]
    assert read_stamp(luma) is None


Pictures = list[tuple[float, NDArray[np.uint8]]]
Sounds = list[tuple[float, NDArray[np.float32]]]


def viewed(offset_s: float, fps: float, lost: bool) -> tuple[Pictures, Sounds]:
    """Pictures painted by the voice's loudness, shown `offset_s` after their sound."""
    voice = swelling(12)
    pictures = []
    for at in np.arange(0.5, 11, 1 / fps):
        middle = round(at * SOUND_RATE)
        level = float(np.sqrt(np.square(voice[middle - 480 : middle + 480]).mean())) / 0.35
        pictures.append((float(at) + offset_s, np.full((64, 64), round(40 + 180 * min(1, level)), np.uint8)))
    sounds = [(i * 0.02, voice[i * 960 : (i + 1) * 960]) for i in range(600) if not (lost and 100 < i < 104)]
    return pictures, sounds


@pytest.mark.parametrize("offset_ms", [-80, 0, 33])
@pytest.mark.parametrize(("fps", "lost"), [(25.0, False), (3.0, False), (25.0, True)])
def test_the_offset_is_found_to_a_few_milliseconds(offset_ms: int, fps: float, lost: bool) -> None:
    assert av_offset_ms(*viewed(offset_ms / 1000, fps, lost)) == pytest.approx(offset_ms, abs=4)


def test_missing_sound_is_counted() -> None:
    got = Received()
    got.sounds = [(0.0, i * 0.02, np.zeros(960, np.float32)) for i in (0, 1, 2, 5, 6)]
    assert sound_gaps(got) == 2


def test_percentiles() -> None:
    assert percentiles(np.arange(101.0)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([]) is None
