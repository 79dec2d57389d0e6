"""Pictures of a clip for measurements: in order, with their times, no more than asked for, closed in the end."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bench.frames import pictures
from engine.errors import MediaError
from tests.bench.made_runs import make_speech

pytestmark = pytest.mark.unit

LEVELS = [20, 60, 100, 140, 180, 220]


def clip(path: Path, ticks: list[int], rate: int = 25) -> Path:
    """Pictures of rising brightness at the given ticks of 1 / `rate` s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level, tick in zip(LEVELS, ticks, strict=False):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_pictures_come_in_order_with_their_own_times(tmp_path: Path) -> None:
    """A gap in the times stays a gap."""
    ticks = [0, 1, 2, 7, 8, 9]
    found = list(pictures(clip(tmp_path / "a.mkv", ticks)))
    assert [seconds for seconds, _ in found] == pytest.approx([tick / 25 for tick in ticks], abs=1e-3)
    assert [round(float(rgb.mean()), -1) for _, rgb in found] == pytest.approx(LEVELS, abs=10)
    assert all(rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8 for _, rgb in found)


@pytest.mark.parametrize(("most", "count"), [(None, 6), (0, 0), (1, 1), (4, 4), (6, 6), (60, 6)])
def test_no_more_than_asked_for(tmp_path: Path, most: int | None, count: int) -> None:
    assert len(list(pictures(clip(tmp_path / "a.mp4", list(range(6))), most))) == count


def test_the_pictures_of_one_pass_do_not_share_memory(tmp_path: Path) -> None:
    first, second, *_ = (rgb for _, rgb in pictures(clip(tmp_path / "a.mp4", list(range(6)))))
    assert not np.shares_memory(first, second)


def test_files_without_pictures_are_refused_in_words(tmp_path: Path) -> None:
    sound = make_speech(tmp_path / "sound.wav")
    with pytest.raises(MediaError, match=r"sound\.wav: got a file without pictures, expected a video"):
        next(pictures(sound))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film at all")
    for name, told in (("none.mp4", "no such file"), ("empty.mp4", "is empty"), ("text.mp4", "not a readable media")):
        with pytest.raises(MediaError, match=told):
            next(pictures(tmp_path / name))
