"""Writing an MP4: the pictures in the input's own format and times, the sound in step, marked as edited."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from engine.errors import MediaError
from engine.files import atomic_path, write_error
from engine.media import Plane, VideoFrame
from streaming.pictures import VideoFormat, to_av

EDITED_TAGS: Mapping[str, str] = {
    "comment": "Edited with livedub: mouth and expression were changed to follow another sound track.",
    "livedub_edited": "1",
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic",
}
"""Tags of every edited file; the last one is IPTC's term for a recording composed with synthetic parts."""

_AUDIO_LEAD = 0.5
"""Seconds of sound written ahead of the pictures, so that the file stays well interleaved."""


@contextmanager
def mp4_writer(
    path: Path,
    video: VideoFormat,
    sound: NDArray[np.float32] | None = None,
    sound_rate: int = 48000,
    crf: float = 16.0,
    preset: str = "veryfast",
    tags: Mapping[str, str] = EDITED_TAGS,
) -> "Iterator[Mp4Writer]":
    """Write an MP4 file inside a `with` block; it appears at `path` only when the block ends well.

    sound: [C, M] in [-1, 1], one or two channels at `sound_rate`; starts at time 0 of the pictures' `pts`.
    crf: x264's quality, lower is better; 16 is meant to be visually lossless.
    preset: x264's speed. At the same `crf` "veryfast" keeps the demo's pictures a little closer than "medium" (45.9 dB
        for 45.2), in 1.7 times the bytes and a third of the time: encoding shares the cores with the edit.
    """
    with atomic_path(path) as part, ExitStack() as stack:
        with _reporting(path):
            options = {"movflags": "use_metadata_tags+faststart"}
            container = av.open(str(part), "w", format="mp4", options=options)
            stack.callback(_close_quietly, container)
            container.metadata.update(tags)
            writer = Mp4Writer(path, container, video, {"crf": f"{crf:g}", "preset": preset}, sound, sound_rate)
            container.start_encoding()
        yield writer
        with _reporting(path):
            writer.finish()


class Mp4Writer:
    """One MP4 file: H.264 pictures, AAC sound. Made by `mp4_writer`.

    Size, times, colour tags, pixel shape and display rotation are the format's own. Pictures are coded as they were
    in the source (turned back), with its chroma layout and bit depth; 4:2:0 and 4:2:2 of odd size, which H.264 cannot
    hold, are written as 4:4:4.
    """

    def __init__(
        self,
        path: Path,
        container: OutputContainer,
        video: VideoFormat,
        options: dict[str, str],
        sound: NDArray[np.float32] | None,
        sound_rate: int,
    ) -> None:
        """Add the streams to an open container; the arguments are those of `mp4_writer`."""
        self._path, self._container, self._video = path, container, video
        self._sound, self._sound_rate, self._sent = sound, sound_rate, 0
        self._last_pts: int | None = None
        self._video_stream = self._open_video(options)
        self._audio_stream = None if sound is None else self._open_audio(sound.shape[0])

    @property
    def subsampling(self) -> str:
        """Chroma layout of the file: the source's, or 4:4:4 where its size is odd."""
        width, height = self._coded_size()
        wanted = self._video.picture.subsampling
        odd = (wanted != "444" and width % 2) or (wanted == "420" and height % 2)
        return "444" if odd else wanted

    def write(self, frame: VideoFrame) -> None:
        """Add the next picture; its `pts` must be later than the one before."""
        video = self._video
        if (frame.width, frame.height) != (video.width, video.height) or frame.bit_depth != video.picture.bit_depth:
            raise MediaError(
                f"{self._path}: got a picture of {frame.width}x{frame.height}, {frame.bit_depth} bits; expected "
                f"{video.width}x{video.height}, {video.picture.bit_depth} bits like the others."
            )
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise MediaError(f"{self._path}: picture at tick {frame.pts} is not later than the last, {self._last_pts}.")
        self._last_pts = frame.pts
        picture = to_av(self._coded_planes(frame), self._pix_fmt(), frame.bit_depth)
        picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, video.step
        with _reporting(self._path):
            self._container.mux(self._video_stream.encode(picture))
            self._send_sound(frame.seconds + _AUDIO_LEAD)

    def finish(self) -> None:
        """Flush the encoders and complete the file."""
        if self._last_pts is None:
            raise MediaError(f"{self._path}: no picture was written.")
        self._send_sound(None)
        self._container.mux(self._video_stream.encode(None))
        if self._audio_stream is not None:
            self._container.mux(self._audio_stream.encode(None))
        self._container.close()

    def _coded_size(self) -> tuple[int, int]:
        video = self._video
        return (video.height, video.width) if video.orientation.transpose else (video.width, video.height)

    def _pix_fmt(self) -> str:
        return f"yuv{self.subsampling}p" + ("10le" if self._video.picture.bit_depth == 10 else "")

    def _open_video(self, options: dict[str, str]) -> VideoStream:
        video, colour = self._video, self._video.picture.colour
        stream = self._container.add_stream("libx264", rate=video.rate, options=options)
        stream.width, stream.height = self._coded_size()
        stream.pix_fmt = self._pix_fmt()
        stream.time_base = video.time_base
        context = stream.codec_context
        context.time_base = video.time_base
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        context.colorspace, context.color_range = colour.matrix, colour.range
        if video.pixel_aspect:
            context.sample_aspect_ratio = video.pixel_aspect
        if video.orientation.matrix is not None:
            stream.set_display_matrix(video.orientation.matrix)
        return stream

    def _open_audio(self, channels: int) -> AudioStream:
        stream = self._container.add_stream("aac", rate=self._sound_rate, layout="mono" if channels == 1 else "stereo")
        stream.bit_rate = channels * min(128_000, 4 * self._sound_rate)
        stream.time_base = Fraction(1, self._sound_rate)
        return stream

    def _coded_planes(self, frame: VideoFrame) -> tuple[Plane, Plane, Plane]:
        """The frame's planes turned back, in the file's chroma layout."""
        height, width = frame.height, frame.width
        coded = self._video.orientation.coded
        if frame.subsampling == self.subsampling:
            y, u, v = (coded(plane) for plane in frame.planes)
            return y, u, v
        if self.subsampling == "444":
            rows = 2 if frame.subsampling == "420" else 1
            wide = [p.repeat(rows, axis=0)[:height].repeat(2, axis=1)[:, :width] for p in frame.planes[1:]]
            return coded(frame.planes[0]), coded(wide[0]), coded(wide[1])
        if self.subsampling == "422" and frame.subsampling == "444" and self._video.orientation.transpose:
            u, v = (_halved(coded(plane)) for plane in frame.planes[1:])
            return coded(frame.planes[0]), u, v
        raise MediaError(
            f"{self._path}: got a {frame.subsampling} picture, expected {self.subsampling} like the source."
        )

    def _send_sound(self, until: float | None) -> None:
        """Encode the sound up to `until` seconds; None: all of it."""
        if self._sound is None or self._audio_stream is None:
            return
        total = self._sound.shape[1]
        end = total if until is None else min(total, round(until * self._sound_rate))
        if end > self._sent:
            block = np.ascontiguousarray(self._sound[:, self._sent : end])
            frame = av.AudioFrame.from_ndarray(block, "fltp", "mono" if block.shape[0] == 1 else "stereo")
            frame.sample_rate, frame.pts, frame.time_base = self._sound_rate, self._sent, Fraction(1, self._sound_rate)
            self._container.mux(self._audio_stream.encode(frame))
            self._sent = end


def _halved(plane: Plane) -> Plane:
    """Mean of each pair of columns; exact where a pair is equal."""
    pairs = plane.astype(np.uint32)
    right = np.concatenate((pairs[:, 1::2], pairs[:, -1:]), axis=1)[:, : pairs[:, ::2].shape[1]]
    mean: Plane = ((pairs[:, ::2] + right) // 2).astype(plane.dtype)
    return mean


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system say about a failed write into one line."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error
    except av.FFmpegError as error:
        reason = error.strerror or str(error)
        raise MediaError(f"{path}: cannot be encoded: {reason}. `livedub doctor` tests the encoders.") from error


def _close_quietly(container: OutputContainer) -> None:
    """Close after an error; that error is the one to report. After a good end there is nothing left to do."""
    with suppress(av.FFmpegError, OSError):
        container.close()
