"""Encoders of live outputs: H.264 for nearly all, VP8 for viewers without it, Opus. Each is used by one thread.

Every key picture of H.264 carries a note (SEI, user data) that says that the picture was edited; it survives
re-packing, recording and pushing.
"""

import logging
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from engine.errors import BackendError
from engine.media import VideoFrame
from streaming.clock import NS
from streaming.live.media import BLOCK, SOUND_RATE, VIDEO_TIME_BASE, SoundBlock, media_ns
from streaming.pictures import to_av

log = logging.getLogger(__name__)

CodecName = Literal["H264", "VP8"]

EDITED_NOTE: Final = b"livedub_edited=1 http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
"""What the SEI note says; the address is IPTC's term for a recording composed with synthetic parts."""

OPUS_DELAY: Final = 312
"""Samples at 48 kHz by which decoded Opus lags what was encoded: 6.5 ms."""

_NOTE_UUID: Final = bytes.fromhex("9c9f3e0a6c1d4d0f8a55d1a3b8a76e21")
_MATRIX_CODES: Final = {"bt709": 1, "fcc": 4, "bt601": 6, "smpte240m": 7, "bt2020": 9}


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoded picture or block of sound."""

    data: bytes
    """The bits: Annex B for H.264."""
    pts: int
    """Time in ticks of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""
    media: int
    """The same in ns of media time."""
    key: bool
    """Whether decoding can begin here."""

    def packet(self) -> "av.Packet[av.stream.Stream]":
        """A packet of FFmpeg."""
        packet = av.Packet(self.data)
        packet.pts = packet.dts = self.pts
        packet.time_base = self.time_base
        packet.is_keyframe = self.key
        return packet


def sharp_bitrate(width: int, height: int) -> int:
    """Highest bits a second for a size: 6 Mb/s at 1024 x 1024, never less than 1.5 Mb/s."""
    return max(1_500_000, round(6_000_000 * width * height / 1024**2))


class PictureEncoder:
    """Encodes pictures with no delay; opened with the first one, and again only when size, format or limit change.

    H.264: NVENC where it opens, else x264 (superfast, zero latency, baseline). No B pictures; key pictures when asked
    for. Pictures of odd size lose their last row or column; all become 8-bit 4:2:0.

    Args:
        codec: H264 or VP8.
        hardware: whether NVENC may be tried.
    """

    def __init__(self, codec: CodecName, hardware: bool = True) -> None:
        """Open nothing yet."""
        self.codec: Final = codec
        self.builds = 0
        """How often the encoder was opened."""
        self.limit: int | None = None
        """Bits a second that may not be exceeded, from the next picture on; None: as many as make it sharp."""
        self._hardware = hardware
        self._context: VideoCodecContext | None = None
        self._format: tuple[int, int, str, bool, int | None] | None = None

    @property
    def name(self) -> str:
        """FFmpeg's name of the open encoder."""
        return "" if self._context is None else self._context.name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the encoded pictures; (0, 0) before the first."""
        return (0, 0) if self._format is None else self._format[:2]

    def encode(self, frame: VideoFrame, key: bool) -> Encoded:
        """Encode a picture; with `key` decoding can begin at it.

        Raises:
            BackendError: the encoder cannot be opened or failed.
        """
        picture = _plain(frame)
        wanted = (picture.width, picture.height, frame.matrix, frame.full_range, self.limit)
        try:
            if self._context is None or self._format != wanted:
                self._context, self._format = self._open(picture, frame), wanted
                self.builds += 1
                key = True
            picture.pict_type = PictureType.I if key else PictureType.NONE
            packets = self._context.encode(picture)
        except av.FFmpegError as error:
            raise BackendError(
                f"{self.codec}: encoding failed: {error.strerror or error}. Try `livedub doctor`."
            ) from error
        data = b"".join(bytes(packet) for packet in packets)
        if not data:
            raise BackendError(f"{self.codec}: the encoder {self.name} held a picture back; expected none to wait")
        is_key = any(packet.is_keyframe for packet in packets)
        if is_key and self.codec == "H264":
            data = with_note(data)
        return Encoded(data, frame.pts, frame.time_base, media_ns(frame), is_key)

    @property
    def full_rate(self) -> int:
        """Bits a second without a limit, for the size of the pictures."""
        return sharp_bitrate(*self.size)

    def _open(self, picture: av.VideoFrame, frame: VideoFrame) -> VideoCodecContext:
        rate = min(sharp_bitrate(picture.width, picture.height), self.limit or sys.maxsize)
        if self.codec == "VP8":
            return _opened(picture, frame, rate, "libvpx", {
                "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default",
                "crf": "10", "auto-alt-ref": "0",
            })  # fmt: skip
        if self._hardware and "h264_nvenc" in av.codecs_available:
            options = {
                "preset": "p3", "tune": "ull", "rc": "vbr", "cq": "21", "bf": "0", "delay": "0", "zerolatency": "1",
                "forced-idr": "1", "profile": "baseline", "maxrate": str(rate), "bufsize": str(rate // 2),
            }  # fmt: skip
            try:
                return _opened(picture, frame, rate, "h264_nvenc", options)
            except (av.FFmpegError, ValueError) as error:
                log.info("NVENC does not open here (%s); x264 is used", getattr(error, "strerror", None) or error)
                self._hardware = False
        kbits = rate // 1000
        x264 = f"keyint=100000:scenecut=0:threads=2:vbv-maxrate={kbits}:vbv-bufsize={kbits // 2}"
        options = {
            "preset": "superfast", "tune": "zerolatency", "profile": "baseline", "crf": "20", "x264-params": x264,
            "forced-idr": "1",
        }  # fmt: skip
        return _opened(picture, frame, rate, "libx264", options)


class SoundEncoder:
    """Opus, 20 ms a packet."""

    def __init__(self) -> None:
        """Open the encoder."""
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.bit_rate, context.sample_rate = 64_000, SOUND_RATE
        context.format, context.layout = av.AudioFormat("flt"), av.AudioLayout("mono")
        context.time_base = Fraction(1, SOUND_RATE)
        context.options = {"application": "voip", "frame_duration": "20"}
        self._context = context

    def encode(self, block: SoundBlock) -> Encoded:
        """Encode 20 ms; what comes out of a decoder for it began a little earlier, and its time says so."""
        pts = block.index * BLOCK
        frame = av.AudioFrame.from_ndarray(block.samples.reshape(1, BLOCK), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, pts, Fraction(1, SOUND_RATE)
        data = b"".join(bytes(packet) for packet in self._context.encode(frame))
        media = block.media - OPUS_DELAY * NS // SOUND_RATE
        return Encoded(data, pts - OPUS_DELAY, Fraction(1, SOUND_RATE), media, True)


def side_by_side(edited: VideoFrame, source: VideoFrame) -> VideoFrame:
    """Two pictures of one size and format as one: the edited left, the source right; of even width and height."""
    left, right = _even(edited), _even(source)
    y, u, v = (np.concatenate([a, b], axis=1) for a, b in zip(left.planes, right.planes, strict=True))
    return VideoFrame((y, u, v), edited.subsampling, edited.bit_depth, edited.matrix, edited.full_range, edited.pts,
                      edited.time_base)  # fmt: skip


def with_note(annex_b: bytes) -> bytes:
    """A key picture with the note that it was edited, put before its first slice."""
    at = 0
    while (at := annex_b.find(b"\x00\x00\x01", at)) >= 0 and at + 3 < len(annex_b):
        if annex_b[at + 3] & 0x1F in (1, 5):
            start = at - 1 if at and annex_b[at - 1] == 0 else at
            return annex_b[:start] + _note_unit() + annex_b[start:]
        at += 3
    return annex_b


def parameter_sets(annex_b: bytes) -> bytes:
    """The sequence and picture parameter sets of a key picture, each with a start code."""
    found = b""
    for unit in annex_b.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")[1:]:
        if unit and unit[0] & 0x1F in (7, 8):
            found += b"\x00\x00\x00\x01" + unit
    return found


def _note_unit() -> bytes:
    """One SEI unit: type 5, user data, unregistered. No two zeros follow each other in it: nothing to escape."""
    payload = _NOTE_UUID + EDITED_NOTE
    return b"\x00\x00\x00\x01\x06\x05" + bytes([len(payload)]) + payload + b"\x80"


def _even(frame: VideoFrame) -> VideoFrame:
    """The picture without the last row or column where there is an odd number of them."""
    height, width = frame.height // 2 * 2, frame.width // 2 * 2
    if (height, width) == (frame.height, frame.width):
        return frame
    y, u, v = frame.planes
    across = 1 if frame.subsampling == "444" else 2
    down = 2 if frame.subsampling == "420" else 1
    small = (slice(height // down), slice(width // across))
    return VideoFrame((y[:height, :width], u[small], v[small]), frame.subsampling, frame.bit_depth, frame.matrix,
                      frame.full_range, frame.pts, frame.time_base)  # fmt: skip


def _plain(frame: VideoFrame) -> av.VideoFrame:
    """An 8-bit 4:2:0 picture of FFmpeg of even size."""
    frame = _even(frame)
    pix_fmt = f"yuv{frame.subsampling}p" + ("10le" if frame.bit_depth == 10 else "")
    picture = to_av(frame.planes, pix_fmt, frame.bit_depth)
    if pix_fmt != "yuv420p":
        picture = picture.reformat(format="yuv420p")
    picture.pts, picture.time_base = frame.pts, frame.time_base
    return picture


def _opened(
    picture: av.VideoFrame, frame: VideoFrame, rate: int, name: str, options: dict[str, str]
) -> VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = picture.width, picture.height, "yuv420p"
    context.time_base, context.framerate = VIDEO_TIME_BASE, Fraction(25)
    context.colorspace, context.color_range = _MATRIX_CODES[frame.matrix], 2 if frame.full_range else 1
    if name != "libx264":
        context.bit_rate = rate
    context.options = options
    context.open()
    return context
