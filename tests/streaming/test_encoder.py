"""Encoders: sharpness, key pictures on request, no held-back pictures, the note of editing, odd formats, sound."""

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

import streaming.encoder as encoder_module
from engine.media import Subsampling, VideoFrame
from streaming.encoder import (
    EDITED_NOTE,
    Encoded,
    PictureEncoder,
    SoundEncoder,
    parameter_sets,
    sharp_bitrate,
    side_by_side,
    with_note,
)
from streaming.ingest.file import probe_video, read_video
from streaming.live.media import BLOCK, SOUND_RATE, VIDEO_TIME_BASE, SoundBlock
from streaming.live.sources import DEMO_DATA
from tests.streaming.clips import gradient

pytestmark = pytest.mark.unit


def frame(index: int, width: int = 320, height: int = 240, kind: Subsampling = "420", bits: int = 8) -> VideoFrame:
    return VideoFrame.from_rgb(gradient(index, width, height), index * 3600, VIDEO_TIME_BASE, kind, bits)


def decoded(packets: list[Encoded], codec: str = "h264") -> list[av.VideoFrame]:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.low_delay
    out = [f for p in packets for f in context.decode(p.packet())]
    return [*out, *context.decode(None)]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def test_pictures_come_back_sharp_in_order_and_none_is_held_back() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    packets = [encoder.encode(frame(i), key=False) for i in range(12)]
    pictures = decoded(packets)
    assert [p.pts for p in pictures] == [i * 3600 for i in range(12)]
    for index, picture in enumerate(pictures):
        assert psnr(picture.to_ndarray()[:240], frame(index).planes[0]) > 38
    assert encoder.builds == 1
    assert encoder.name == "libx264"


def test_key_pictures_come_first_and_when_asked_for() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    keys = [encoder.encode(frame(i), key=i == 7).key for i in range(10)]
    assert keys == [i in (0, 7) for i in range(10)]


def test_decoding_can_begin_at_a_requested_key_picture() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    packets = [encoder.encode(frame(i), key=i == 5) for i in range(9)]
    assert len(decoded(packets[5:])) == 4


def test_the_encoder_is_opened_again_only_when_the_size_changes() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    sizes = [(320, 240)] * 3 + [(160, 120)] * 3
    packets = [encoder.encode(frame(i, *size), key=False) for i, size in enumerate(sizes)]
    assert encoder.builds == 2
    assert [p.key for p in packets] == [True, False, False, True, False, False]
    assert [p.width for p in decoded(packets)] == [320] * 3 + [160] * 3


FORMATS: tuple[tuple[Subsampling, int, int, int], ...] = (
    ("444", 8, 64, 64), ("422", 8, 65, 64), ("420", 10, 64, 64), ("420", 8, 63, 65),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "bits", "width", "height"), FORMATS)
def test_other_formats_and_odd_sizes_become_even_8_bit_420(
    kind: Subsampling, bits: int, width: int, height: int
) -> None:
    encoder = PictureEncoder("H264", hardware=False)
    picture = decoded([encoder.encode(frame(0, width, height, kind, bits), key=True)])[0]
    rows, columns = height // 2 * 2, width // 2 * 2
    assert (picture.width, picture.height, picture.format.name) == (columns, rows, "yuv420p")
    luma = frame(0, width, height).planes[0][:rows, :columns]
    assert psnr(picture.to_ndarray()[:rows, :columns], luma) > 35


def test_every_key_picture_says_that_it_was_edited_and_is_still_decoded() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    packets = [encoder.encode(frame(i), key=i == 4) for i in range(6)]
    assert [EDITED_NOTE in p.data for p in packets] == [True, False, False, False, True, False]
    noted = decoded(packets)[0]
    assert len(decoded(packets)) == 6
    assert psnr(noted.to_ndarray()[:240], frame(0).planes[0]) > 38


def test_a_note_goes_only_before_a_slice() -> None:
    assert with_note(b"\x00\x00\x00\x01\x67abc") == b"\x00\x00\x00\x01\x67abc"
    noted = with_note(b"\x00\x00\x00\x01\x67abc\x00\x00\x01\x65slice")
    assert noted.index(b"\x67abc") < noted.index(EDITED_NOTE) < noted.index(b"\x65slice")


def test_parameter_sets_are_found() -> None:
    data = PictureEncoder("H264", hardware=False).encode(frame(0), key=True).data
    kinds = [unit[0] & 0x1F for unit in parameter_sets(data).split(b"\x00\x00\x00\x01")[1:]]
    assert kinds == [7, 8]


def test_vp8_works_the_same() -> None:
    encoder = PictureEncoder("VP8")
    packets = [encoder.encode(frame(i), key=i == 5) for i in range(8)]
    assert [p.key for p in packets] == [i in (0, 5) for i in range(8)]
    pictures = decoded(packets, "vp8")
    assert len(pictures) == 8
    assert psnr(pictures[-1].to_ndarray()[:240], frame(7).planes[0]) > 32


def test_a_1024_px_face_gets_six_megabits() -> None:
    assert sharp_bitrate(1024, 1024) == 6_000_000
    assert sharp_bitrate(320, 240) == 1_500_000


def test_two_pictures_side_by_side() -> None:
    both = side_by_side(frame(0, 63, 49), frame(5, 63, 49))
    assert (both.width, both.height) == (124, 48)
    assert np.array_equal(both.planes[0][:, :62], frame(0, 63, 49).planes[0][:48, :62])
    assert np.array_equal(both.planes[0][:, 62:], frame(5, 63, 49).planes[0][:48, :62])


def test_sound_comes_back_at_its_times() -> None:
    encoder = SoundEncoder()
    samples = (0.2 * np.random.default_rng(0).standard_normal(2 * SOUND_RATE)).astype(np.float32)
    packets = [encoder.encode(SoundBlock(samples[i * BLOCK : (i + 1) * BLOCK], i)) for i in range(100)]
    assert {b.pts - a.pts for a, b in zip(packets, packets[1:], strict=False)} == {BLOCK}
    assert packets[3].media == 53_500_000
    context = av.CodecContext.create("libopus", "r")
    assert isinstance(context, av.AudioCodecContext)
    parts = [f.to_ndarray().reshape(-1, 2)[:, 0] for p in packets for f in context.decode(p.packet())]
    sound = np.concatenate(parts).astype(np.float64)
    matches = [float(np.dot(sound[9600 + lag : 80_000 + lag], samples[9600:80_000])) for lag in range(500)]
    assert packets[0].pts + int(np.argmax(matches)) == pytest.approx(0, abs=2)


class Nvenc:
    """Stands for the opening of encoders on a machine with or without NVIDIA's."""

    def __init__(self, opens: bool) -> None:
        """Whether NVENC opens."""
        self.opens, self.asked = opens, list[str]()
        self.options: dict[str, str] = {}
        self._real = encoder_module._opened

    def __call__(
        self, picture: av.VideoFrame, shown: VideoFrame, rate: int, name: str, options: dict[str, str]
    ) -> VideoCodecContext:
        """Open x264 in NVENC's place."""
        self.asked.append(name)
        if name != "h264_nvenc":
            return self._real(picture, shown, rate, name, options)
        if not self.opens:
            raise av.ExternalError(542398533, "no device")
        self.options = options
        x264 = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1"}
        return self._real(picture, shown, rate, "libx264", x264)


@pytest.mark.parametrize("opens", [True, False])
def test_nvenc_is_used_where_it_opens_and_tried_once_where_it_does_not(
    opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvenc = Nvenc(opens)
    monkeypatch.setattr(encoder_module, "_opened", nvenc)
    monkeypatch.setattr(av, "codecs_available", {"h264_nvenc"})
    encoder = PictureEncoder("H264")
    packets = [encoder.encode(frame(i), key=False) for i in range(3)]
    encoder.limit = 500_000
    packets += [encoder.encode(frame(i), key=False) for i in range(3, 6)]
    assert len(decoded(packets)) == 6
    assert nvenc.asked == (["h264_nvenc"] * 2 if opens else ["h264_nvenc", "libx264", "libx264"])
    if opens:
        assert (nvenc.options["maxrate"], nvenc.options["bf"]) == ("500000", "0")


def test_a_face_that_moves_stays_sharp_within_the_bits_of_its_size() -> None:
    encoder, packets, sources = PictureEncoder("H264", hardware=False), list[Encoded](), list[VideoFrame]()
    for index, shown in enumerate(read_video(probe_video(DEMO_DATA / "presenter.mp4"))):
        if index == 50:
            break
        packets.append(encoder.encode(shown, key=index == 0))
        if index in (0, 24, 49):
            sources.append(shown)
    assert (sources[0].width, sources[0].height) == encoder.size
    assert encoder.full_rate == sharp_bitrate(*encoder.size)
    pictures = decoded(packets)
    for picture, source in zip((pictures[0], pictures[24], pictures[49]), sources, strict=True):
        assert psnr(picture.to_ndarray()[: source.height, : source.width], source.planes[0]) > 38
    assert 8 * sum(len(each.data) for each in packets[25:]) < encoder.full_rate
