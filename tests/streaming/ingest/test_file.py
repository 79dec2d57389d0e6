"""Reading videos: every time, every format, every turn, and one clear message for what cannot be read."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import MediaError
from streaming.ingest.file import probe_video, read_video, read_video_backwards
from streaming.pictures import Colour
from tests.streaming.clips import gradient, make_video, make_wav, tone

pytestmark = pytest.mark.unit

IRREGULAR = [0, 3000, 7300, 9100, 15000, 15900, 22000, 30000]


def pictures(count: int, width: int = 64, height: int = 48) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [gradient(index, width, height) for index in range(count)]


def test_variable_frame_rate_keeps_every_time(tmp_path: Path) -> None:
    path = make_video(tmp_path / "vfr.mp4", pictures(8), pts=IRREGULAR, time_base=Fraction(1, 90000))
    info = probe_video(path)
    assert [tick * info.time_base for tick in info.ticks] == [Fraction(t, 90000) for t in IRREGULAR]
    assert [frame.pts for frame in read_video(info)] == list(info.ticks)


def test_odd_frame_rate_is_read_as_it_is(tmp_path: Path) -> None:
    path = make_video(tmp_path / "odd.mp4", pictures(9), rate=Fraction(2213, 100), time_base=Fraction(100, 2213))
    info = probe_video(path)
    assert float(info.rate) == pytest.approx(22.13, abs=0.01)
    times = [frame.seconds for frame in read_video(info)]
    assert times == pytest.approx([index / 22.13 for index in range(9)], abs=1e-3)


@pytest.mark.parametrize(
    ("pix_fmt", "subsampling", "bits"),
    [("yuv420p", "420", 8), ("yuv422p", "422", 8), ("yuv444p", "444", 8), ("yuv420p10le", "420", 10),
     ("yuv422p10le", "422", 10), ("yuv444p10le", "444", 10)],
)  # fmt: skip
def test_planar_formats_are_taken_as_they_are(tmp_path: Path, pix_fmt: str, subsampling: str, bits: int) -> None:
    path = make_video(tmp_path / "clip.mp4", pictures(3), pix_fmt=pix_fmt, tags=(1, 1, 1, 1))
    info = probe_video(path)
    assert (info.picture.subsampling, info.picture.bit_depth) == (subsampling, bits)
    assert info.picture.converted_from is None
    for index, frame in enumerate(read_video(info)):
        assert np.abs(frame.rgb().astype(int) - gradient(index, 64, 48)).mean() < 3


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "ending", "expected"),
    [("ffv1", "gray", "mkv", "yuv420p"), ("ffv1", "bgr0", "mkv", "yuv444p"), ("ffv1", "yuv410p", "mkv", "yuv420p"),
     ("ffv1", "yuv440p", "mkv", "yuv444p"), ("ffv1", "yuv422p12le", "mkv", "yuv422p10le"),
     ("ffv1", "gbrp14le", "mkv", "yuv444p10le")],
)  # fmt: skip
def test_other_formats_follow_the_stated_rule(
    tmp_path: Path, codec: str, pix_fmt: str, ending: str, expected: str
) -> None:
    info = probe_video(make_video(tmp_path / f"clip.{ending}", pictures(2), codec=codec, pix_fmt=pix_fmt))
    assert info.picture.converted_from == pix_fmt
    assert info.picture.pix_fmt == expected
    picture = next(read_video(info)).rgb().astype(int)
    wanted = gradient(0, 64, 48).astype(int)
    if pix_fmt == "gray":
        picture, wanted = picture.mean(axis=2), wanted @ np.array([0.299, 0.587, 0.114])
    assert np.abs(picture - wanted).mean() < 6


def test_planes_are_copies_that_outlive_the_decoder(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "clip.mp4", pictures(12, 84, 50)))
    frames = list(read_video(info))
    again = [plane.copy() for frame in frames for plane in frame.planes]
    fresh = [plane for frame in read_video(info) for plane in frame.planes]
    assert all(np.array_equal(a, b) for a, b in zip(again, fresh, strict=True))
    assert all(plane.flags.owndata for plane in frames[0].planes)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_clips_come_upright_without_loss(tmp_path: Path, codec: str, rotation: int, turns: int) -> None:
    plain = probe_video(make_video(tmp_path / "plain.mp4", pictures(2), codec=codec))
    info = probe_video(make_video(tmp_path / "turned.mp4", pictures(2), codec=codec, rotation=rotation))
    assert (info.width, info.height) == ((48, 64) if turns % 2 else (64, 48))
    for turned, flat in zip(read_video(info), read_video(plain), strict=True):
        assert all(np.array_equal(a, np.rot90(b, turns)) for a, b in zip(turned.planes, flat.planes, strict=True))


def test_mirrored_clips_come_unmirrored(tmp_path: Path) -> None:
    plain = probe_video(make_video(tmp_path / "plain.mp4", pictures(1)))
    info = probe_video(make_video(tmp_path / "mirrored.mp4", pictures(1), rotation=0, flipped=True))
    mirrored, flat = next(read_video(info)), next(read_video(plain))
    assert all(np.array_equal(a, b[:, ::-1]) for a, b in zip(mirrored.planes, flat.planes, strict=True))


def test_a_422_clip_on_its_side_becomes_444_with_the_same_colours(tmp_path: Path) -> None:
    info = probe_video(
        make_video(tmp_path / "turned.mp4", pictures(1), pix_fmt="yuv422p", rotation=90, tags=(1, 1, 1, 1))
    )
    frame = next(read_video(info))
    assert (frame.subsampling, frame.width, frame.height) == ("444", 48, 64)
    assert np.abs(np.rot90(frame.rgb(), -1).astype(int) - gradient(0, 64, 48)).mean() < 3


def test_hevc_portrait_is_read(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "tall.mp4", pictures(3, 54, 96), codec="libx265"))
    assert (info.width, info.height, len(info.ticks)) == (54, 96, 3)
    assert np.abs(next(read_video(info)).rgb().astype(int) - gradient(0, 54, 96)).mean() < 6


def test_odd_sizes_are_read_whole(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "odd.mkv", pictures(2, 65, 47), codec="ffv1"))
    frame = next(read_video(info))
    assert (frame.width, frame.height, frame.planes[1].shape) == (65, 47, (24, 33))


def test_colour_tags_decide_the_matrix_and_untagged_sizes_follow_players(tmp_path: Path) -> None:
    tagged = probe_video(make_video(tmp_path / "a.mp4", pictures(1), tags=(9, 16, 9, 2)))
    assert tagged.picture.colour == Colour(9, 16, 9, 2)
    frame = next(read_video(tagged))
    assert (frame.matrix, frame.full_range) == ("bt2020", True)
    small = next(read_video(probe_video(make_video(tmp_path / "b.mp4", pictures(1)))))
    large = next(read_video(probe_video(make_video(tmp_path / "c.mp4", pictures(1, 1280, 720)))))
    assert (small.matrix, large.matrix) == ("bt601", "bt709")


def test_start_and_duration_choose_pictures_and_count_from_the_start(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "clip.mp4", pictures(50)))
    part = list(read_video(info, 0.4, 0.52))
    assert [round(frame.seconds * 25) for frame in part] == list(range(13))
    whole = list(read_video(info))
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(part, whole[10:23], strict=True))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.ts", "libx264"), ("a.mov", "libx264"), ("a.avi", "mpeg4"),
                        ("a.flv", "libx264"), ("raw.h264", "libx264")],
)  # fmt: skip
def test_other_containers_and_streams_without_times_are_read(tmp_path: Path, name: str, codec: str) -> None:
    info = probe_video(make_video(tmp_path / name, pictures(20), codec=codec))
    assert len(info.ticks) == 20
    times = [frame.seconds for frame in read_video(info)]
    assert np.diff(times) == pytest.approx(np.full(19, 0.04), abs=2e-3)
    assert times[0] == pytest.approx(0.0, abs=0.1)
    part = list(read_video(info, times[5] - 0.001, 0.2))
    whole = list(read_video(info))
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(part, whole[5:10], strict=True))


@pytest.mark.parametrize("block", [1, 7, 100])
def test_backwards_is_forwards_reversed(tmp_path: Path, block: int) -> None:
    path = make_video(tmp_path / "vfr.mp4", pictures(8), pts=IRREGULAR, time_base=Fraction(1, 90000))
    info = probe_video(path)
    forwards, backwards = list(read_video(info, 0.05)), list(read_video_backwards(info, 0.05, block=block))
    for a, b in zip(forwards, reversed(backwards), strict=True):
        assert a.pts == b.pts
        assert np.array_equal(a.planes[0], b.planes[0])


def test_a_start_beyond_the_end_says_how_long_the_video_is(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "clip.mp4", pictures(10)))
    with pytest.raises(MediaError, match=r"no picture from 3 s on.*0\.40 s long"):
        next(read_video(info, 3.0))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        probe_video(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        probe_video(tmp_path)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match="empty"):
        probe_video(tmp_path / "empty.mp4")


def test_a_file_of_another_kind_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    with pytest.raises(MediaError, match="not a readable media file"):
        probe_video(tmp_path / "text.mp4")


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.gif"])
def test_a_picture_instead_of_a_video_says_so(tmp_path: Path, name: str) -> None:
    codec, pix_fmt = {"png": ("png", "rgb24"), "jpg": ("mjpeg", "yuvj420p"), "gif": ("gif", "rgb8")}[name[-3:]]
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, pix_fmt, Fraction(1, 25)
    if name.endswith("gif"):
        make_video(tmp_path / name, pictures(1), codec=codec, pix_fmt=pix_fmt)
    else:
        frame = av.VideoFrame.from_ndarray(gradient(0, 64, 48), "rgb24").reformat(format=pix_fmt)
        data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
        (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match="is a picture"):
        probe_video(tmp_path / name)


def test_sound_without_video_says_what_was_found(tmp_path: Path) -> None:
    path = make_wav(tmp_path / "speech.wav", tone(0.2, 16000), 16000)
    with pytest.raises(MediaError, match=r"no video in it \(found: audio\)"):
        probe_video(path)


def test_a_file_cut_at_its_end_is_found_before_any_work(tmp_path: Path) -> None:
    path = make_video(tmp_path / "whole.mkv", pictures(80), codec="ffv1")
    short = tmp_path / "short.mkv"
    short.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(MediaError, match="cut short"):
        probe_video(short)


def test_an_mp4_whose_index_points_beyond_its_end_is_found(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = 64, 48
        for index in range(60):
            frame = av.VideoFrame.from_ndarray(gradient(index, 64, 48), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    assert len(probe_video(tmp_path / "whole.mp4").ticks) == 60
    with pytest.raises(MediaError, match=r"cut short: \d+ of 60 pictures"):
        probe_video(tmp_path / "short.mp4")


def test_an_mp4_without_its_index_says_so(tmp_path: Path) -> None:
    path = make_video(tmp_path / "whole.mp4", pictures(20))
    (tmp_path / "short.mp4").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MediaError, match="damaged|cut short"):
        probe_video(tmp_path / "short.mp4")


def test_real_clips_keep_their_times(data_dir: Path) -> None:
    for name in ("vrt_face1.mp4", "syncnet_example.avi", "latentsync_demo2.mp4"):
        info = probe_video(data_dir / "clips" / name)
        frames = [frame.pts for frame in read_video(info, 0.0, 1.0)]
        assert tuple(frames) == info.ticks[: len(frames)]
        assert all(a < b for a, b in pairwise(frames))
