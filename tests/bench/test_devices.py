"""The measuring camera and microphone in virtual time, and the timecode against damage."""

import asyncio
from collections.abc import Callable, Coroutine
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.devices import RecordedMicrophone, StampingCamera, read_stamp, stamp, swelling
from streaming.clock import MS, NS
from streaming.live.media import SOUND_RATE

pytest.importorskip("aiortc", reason="the live extra")
from aiortc.mediastreams import MediaStreamError  # noqa: E402 - after the check that it is there

pytestmark = pytest.mark.unit

COUNTS = st.integers(0, 0xFFFF)
MILLISECONDS = st.integers(0, 0xFFFFFFFF)


class Stepping:
    """A clock that jumps to whatever is slept for, and notes it."""

    def __init__(self, begin: int = 0) -> None:
        self.time, self.slept = begin, list[int]()

    def now(self) -> int:
        return self.time

    async def sleep_until(self, deadline: int) -> None:
        self.slept.append(deadline)
        self.time = max(self.time, deadline)


def grey(height: int = 64, width: int = 640, level: int = 128) -> NDArray[np.uint8]:
    return np.full((height, width), level, np.uint8)


@settings(deadline=None, max_examples=60)
@given(milliseconds=MILLISECONDS, counter=COUNTS, level=st.integers(0, 255))
def test_a_timecode_is_read_as_it_was_written(milliseconds: int, counter: int, level: int) -> None:
    """On any background, which it leaves alone outside its own rows and columns."""
    luma = grey(level=level)
    stamp(luma, milliseconds, counter)
    assert read_stamp(luma) == (milliseconds, counter)
    assert (luma[32:] == level).all() and (luma[:, 512:] == level).all()


@settings(deadline=None, max_examples=60)
@given(milliseconds=MILLISECONDS, counter=COUNTS, block=st.integers(0, 63))
def test_one_wrong_block_anywhere_is_noticed(milliseconds: int, counter: int, block: int) -> None:
    luma = grey()
    stamp(luma, milliseconds, counter)
    row, column = divmod(block, 32)
    part = luma[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
    part[:] = 250 - part
    assert read_stamp(luma) is None


@settings(deadline=None, max_examples=25)
@given(milliseconds=MILLISECONDS, counter=COUNTS, seed=st.integers(0, 2**31))
def test_noise_and_a_shift_of_a_few_pixels_do_no_harm(milliseconds: int, counter: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    luma = grey()
    stamp(luma, milliseconds, counter)
    luma = np.roll(luma, tuple(rng.integers(-3, 4, 2).tolist()), axis=(0, 1))
    noisy = np.clip(luma + rng.normal(0, 30, luma.shape), 0, 255).astype(np.uint8)
    assert read_stamp(noisy) == (milliseconds, counter)


def test_numbers_that_are_too_large_wrap_around() -> None:
    luma = grey()
    stamp(luma, (1 << 32) + 5, (1 << 16) + 7)
    assert read_stamp(luma) == (5, 7)


@pytest.mark.parametrize("shape", [(31, 640), (64, 511), (0, 0)])
def test_pictures_that_are_too_small_hold_no_timecode(shape: tuple[int, int]) -> None:
    assert read_stamp(np.zeros(shape, np.uint8)) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plain_picture_holds_no_timecode(level: int) -> None:
    assert read_stamp(grey(level=level)) is None


def test_the_swelling_tone_is_bounded_and_never_the_same_within_ten_seconds() -> None:
    """Its loudness in 100-ms pieces: no stretch of two seconds is like any other one."""
    voice = swelling(10.0)
    assert voice.dtype == np.float32 and len(voice) == 10 * SOUND_RATE and np.abs(voice).max() <= 0.5
    level = np.sqrt(np.square(voice.reshape(100, -1)).mean(1))
    stretches = np.stack([level[at : at + 20] for at in range(81)])
    apart = np.abs(stretches[:, None] - stretches[None]).max(axis=2)
    far = np.abs(np.subtract.outer(np.arange(81), np.arange(81))) >= 5
    assert apart[far].min() > 0.03


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_the_camera_stamps_each_picture_with_the_time_at_which_it_is_taken() -> None:
    async def film() -> None:
        clock = Stepping(7 * NS)
        camera = StampingCamera(clock, [grey(level=40), grey(level=200)], rate=25)
        frames = [await camera.recv() for _ in range(5)]
        assert clock.slept == [7 * NS + index * NS // 25 for index in range(5)]
        for index, frame in enumerate(frames):
            luma = frame.to_ndarray()[:64].astype(np.uint8)
            assert read_stamp(luma) == (7000 + 40 * index, index)
            assert luma[50, 600] == (40, 200)[index % 2]
            assert frame.pts == 3600 * index and frame.time_base == Fraction(1, 90000)
        assert clock.slept[-1] // MS == 7160

    run(film)


def test_the_camera_films_something_else_of_another_size_and_keeps_counting() -> None:
    async def film() -> None:
        camera = StampingCamera(Stepping(), [grey()])
        await camera.recv()
        camera.film([grey(96, 320, 90)])
        small = await camera.recv()
        assert (small.height, small.width, small.pts) == (96, 320, 3600)
        assert (small.to_ndarray()[:96] == 90).all()
        camera.film([grey(96, 640)])
        assert read_stamp((await camera.recv()).to_ndarray()[:96].astype(np.uint8)) == (80, 2)

    run(film)


@pytest.mark.parametrize("again", [False, True])
def test_the_microphone_hears_its_recording_then_silence_or_the_recording_again(again: bool) -> None:
    async def listen() -> None:
        clock, voice = Stepping(3 * NS), np.linspace(-1, 1, 2000).astype(np.float32)
        microphone = RecordedMicrophone(clock, voice, again)
        frames = [await microphone.recv() for _ in range(6)]
        assert [frame.pts for frame in frames] == [960 * index for index in range(6)]
        assert clock.slept == [3 * NS + index * NS // 50 for index in range(6)]
        heard = np.concatenate([frame.to_ndarray()[0] for frame in frames]) / 32767
        expected = np.zeros(6 * 960, np.float32)
        expected[:2000] = voice
        if again:
            expected[2880 : 2880 + 2000] = voice
        np.testing.assert_allclose(heard, expected, atol=1 / 32000)
        assert all(frame.sample_rate == SOUND_RATE for frame in frames)

    run(listen)


def test_devices_that_are_stopped_end() -> None:
    async def stop() -> None:
        for device in (StampingCamera(Stepping(), [grey()]), RecordedMicrophone(Stepping(), np.zeros(9, np.float32))):
            await device.recv()
            device.stop()
            with pytest.raises(MediaStreamError):
                await device.recv()

    run(stop)
