"""Reading a video file: what it is, and its pictures with all their times."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from stat import S_ISDIR

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.orientation import Orientation
from streaming.pictures import UNSPECIFIED, Colour, PictureFormat, VideoFormat, from_av

log = logging.getLogger(__name__)

_PICTURE_FORMATS = ("image2", "gif", "webp", "apng")


@dataclass(frozen=True)
class VideoInfo(VideoFormat):
    """What a video file holds. Times are seconds from the file's own start."""

    path: Path
    """The file."""
    ticks: tuple[int, ...]
    """Time of every picture in ticks from the file's start, ascending."""

    @property
    def duration(self) -> float:
        """End of the last picture in seconds; the last one is shown as long as the median picture."""
        return float((self.ticks[-1] + self.typical_step) * self.time_base)

    @property
    def typical_step(self) -> int:
        """Median distance of two pictures in ticks."""
        steps = sorted(b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False))
        return steps[len(steps) // 2] if steps else self.step

    def ticks_between(self, start: float, duration: float | None) -> tuple[int, ...]:
        """Times of the pictures in [start, start + duration), in ticks from the file's start."""
        first = _to_ticks(start, self.time_base)
        last = None if duration is None else first + max(1, _to_ticks(duration, self.time_base))
        chosen = tuple(t for t in self.ticks if t >= first and (last is None or t < last))
        if not chosen:
            raise MediaError(
                f"{self.path}: no picture from {start:g} s on"
                f"{'' if duration is None else f' within {duration:g} s'}; the video is {self.duration:.2f} s long. "
                "Choose another --start or --duration."
            )
        return chosen


def probe_video(path: Path) -> VideoInfo:
    """Look a video file over: every packet's time, the first picture, and whether it is whole."""
    with open_media(path) as container:
        stream = _video_stream(container, path)
        origin = _origin(container, stream)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        _check_index(path, stream)
        ticks = _packet_ticks(container, stream, origin, rate)
        declared = float((container.duration or 0) / av.time_base)
        time_base = _time_base(stream)
        if len(ticks) > 1 and declared - float(ticks[-1] * time_base) > max(1.0, 0.05 * declared):
            raise _truncated(path, f"its pictures end at {float(ticks[-1] * time_base):.1f} s of {declared:.1f} s")
    with open_media(path) as container:
        stream = _video_stream(container, path)
        frame = _first_frame(container, stream, path)
        context = stream.codec_context
        colour = Colour(
            _said(context.color_primaries, frame.color_primaries),
            _said(context.color_trc, frame.color_trc),
            _said(context.colorspace, frame.colorspace),
            int(context.color_range) or int(frame.color_range),
        )
        orientation = Orientation.of(frame)
        size = (frame.height, frame.width) if orientation.transpose else (frame.width, frame.height)
        return VideoInfo(
            *size, PictureFormat.of(frame, colour), orientation, rate, _time_base(stream),
            stream.sample_aspect_ratio, path, ticks,
        )  # fmt: skip


def read_video(info: VideoInfo, start: float = 0.0, duration: float | None = None) -> Iterator[VideoFrame]:
    """Upright pictures of [start, start + duration) in order; `pts` counts from `start` in the file's time base."""
    wanted = info.ticks_between(start, duration)
    zero = _to_ticks(start, info.time_base)
    for tick, frame in _decode(info, wanted[0], wanted[-1]):
        yield info.orientation.upright_frame(from_av(frame, info.picture, tick - zero, info.time_base))


def read_video_backwards(
    info: VideoInfo, start: float = 0.0, duration: float | None = None, block: int = 48
) -> Iterator[VideoFrame]:
    """The pictures of `read_video` in reverse order, decoded in blocks so that few are in memory at once."""
    wanted = info.ticks_between(start, duration)
    zero = _to_ticks(start, info.time_base)
    for end in range(len(wanted), 0, -block):
        part = wanted[max(0, end - block) : end]
        frames = [
            info.orientation.upright_frame(from_av(frame, info.picture, tick - zero, info.time_base))
            for tick, frame in _decode(info, part[0], part[-1])
        ]
        yield from reversed(frames)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a file for reading, with one clear message for each way it can fail."""
    try:
        found = path.stat()
    except (FileNotFoundError, ValueError) as error:
        raise MediaError(f"{path}: no such file; expected a video or sound. Check the name.") from error
    except OSError as error:
        raise MediaError(
            f"{path}: cannot be opened: {error.strerror}. Expected a video or sound; check the name."
        ) from error
    if S_ISDIR(found.st_mode):
        raise MediaError(f"{path}: is a folder, expected a media file.")
    if found.st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes). Copy or record it again.")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path}: not a readable media file ({error.strerror or error}). It may be damaged, cut short or of "
            "another kind; expected video or sound that FFmpeg can read."
        ) from error
    try:
        yield container
    except av.FFmpegError as error:
        raise _truncated(path, error.strerror or str(error)) from error
    finally:
        container.close()


def _decode(info: VideoInfo, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded pictures with first <= tick <= last; ticks count from the file's start."""
    landed = False
    for seek_to in (first, None) if first > info.ticks[0] else (None,):
        for tick, frame in _decode_from(info, seek_to):
            if seek_to is not None and not landed and tick > first:
                break  # files without an index can land too late: decode from the start instead
            landed = True
            if tick > last:
                return
            if tick >= first:
                yield tick, frame
        if landed:
            return


def _decode_from(info: VideoInfo, seek_to: int | None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded pictures in order from a key picture at or before `seek_to`; none where the file cannot be searched."""
    with open_media(info.path) as container:
        stream = _video_stream(container, info.path)
        stream.thread_type = "AUTO"
        origin = _origin(container, stream)
        if seek_to is not None:
            try:
                container.seek(seek_to + origin, stream=stream, backward=True)
            except PermissionError:
                return
        coded: tuple[int, int] | None = None
        previous: int | None = None
        for frame in container.decode(stream):
            if frame.pts is None and seek_to is not None:
                return
            tick = _frame_tick(frame, origin, previous, info)
            if previous is not None and tick <= previous:
                log.warning("%s: dropped a picture that is not later than the one before it", info.path.name)
                continue
            previous = tick
            coded = coded or (frame.width, frame.height)
            if coded != (frame.width, frame.height):
                raise MediaError(
                    f"{info.path}: the picture size changes from {coded[0]}x{coded[1]} to {frame.width}x{frame.height} "
                    f"at {float(tick * info.time_base):.2f} s; expected one size. Cut it there or scale it first."
                )
            yield tick, frame


def _frame_tick(frame: av.VideoFrame, origin: int, previous: int | None, info: VideoInfo) -> int:
    """Time of a decoded picture; streams without times (raw H.264) are counted at their stated rate."""
    if frame.pts is not None:
        return frame.pts - origin
    return 0 if previous is None else previous + info.step


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture."""
    name = container.format.name
    if name in _PICTURE_FORMATS or name.endswith("_pipe"):
        raise MediaError(f"{path}: is a picture ({name}), expected a video. A single picture has no movement to edit.")
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
    raise MediaError(f"{path}: no video in it (found: {kinds}). Expected a file with a video stream.")


def _packet_ticks(container: InputContainer, stream: VideoStream, origin: int, rate: Fraction) -> tuple[int, ...]:
    """Time of every picture from the packets alone, without decoding."""
    step = max(1, round(1 / rate / _time_base(stream)))
    ticks: set[int] = set()
    count = 0
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        ticks.add(stamp - origin if stamp is not None else count * step)
        count += 1
    if not ticks:
        raise _truncated(Path(container.name), "it holds no pictures")
    return tuple(sorted(ticks))


def _check_index(path: Path, stream: VideoStream) -> None:
    """Compare the file's index of samples, where it has one, with the file's size."""
    entries = stream.index_entries
    size = path.stat().st_size
    missing = sum(1 for entry in entries if entry.pos + entry.size > size)
    if missing:
        raise _truncated(path, f"{missing} of {len(entries)} pictures lie beyond its end")


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    for frame in container.decode(stream):
        return frame
    raise _truncated(path, "no picture can be decoded")


def _truncated(path: Path, what: str) -> MediaError:
    return MediaError(f"{path}: damaged or cut short: {what}. Copy it again, or cut out the good part first.")


def _origin(container: InputContainer, stream: VideoStream) -> int:
    """The container's start in ticks of the stream."""
    return round(Fraction(container.start_time or 0, av.time_base) / _time_base(stream))


def _time_base(stream: VideoStream) -> Fraction:
    if stream.time_base is None:
        raise MediaError("video stream without a time base; expected one. Remux the file.")
    return stream.time_base


def _to_ticks(seconds: float, time_base: Fraction) -> int:
    return round(Fraction(seconds) / time_base)


def _said(first: int, second: int) -> int:
    """The first of two code points that says something."""
    return int(first) if int(first) not in (0, UNSPECIFIED) else int(second) or UNSPECIFIED
