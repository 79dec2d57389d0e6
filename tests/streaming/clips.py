"""Small clips and sounds for tests, made with PyAV alone."""

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.media import VideoFrame
from streaming.pictures import to_av


def gradient(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """A colourful picture [H, W, 3] that changes with `index`; its corners differ, so that turns show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    red = 40 + 160 * x / width
    green = 30 + 170 * y / height
    blue = 60 + 10 * (index % 12) + 60 * ((x < width / 4) & (y < height / 4))
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def flash(index: int, width: int, height: int, bright: int) -> NDArray[np.uint8]:
    """Black, but white at one index."""
    return np.full((height, width, 3), 235 if index == bright else 16, np.uint8)


def make_video(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    flipped: bool = False,
    tags: tuple[int, int, int, int] | None = None,
    pixel_aspect: Fraction | None = None,
    sound: NDArray[np.float32] | None = None,
    sound_rate: int = 48000,
) -> Path:
    """Write pictures (as coded, not yet turned) and sound [C, N]; the ending of `path` decides the kind of file."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        options = {"crf": "8"} if codec == "libx264" else {"x265-params": "log-level=none:crf=10"}
        stream = container.add_stream(codec, rate=rate, options=options if codec.startswith("libx26") else {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        if codec == "mpeg4":
            stream.codec_context.qmin = stream.codec_context.qmax = 2
        if tags is not None:
            context = stream.codec_context
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=flipped)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=sound_rate, layout="mono" if len(sound) == 1 else "stereo")
        for index, picture in enumerate(pictures):
            frame = coded_frame(picture, pix_fmt, full_range=tags is not None and tags[3] == 2)
            frame.pts, frame.time_base = (index if pts is None else pts[index]), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None and sound is not None:
            assert isinstance(voice, av.AudioStream)
            samples = av.AudioFrame.from_ndarray(sound, "fltp", "mono" if len(sound) == 1 else "stereo")
            samples.sample_rate, samples.pts = sound_rate, 0
            container.mux(voice.encode(samples))
            container.mux(voice.encode(None))
    return path


def coded_frame(picture: NDArray[np.uint8], pix_fmt: str, full_range: bool = False) -> av.VideoFrame:
    """One picture as a frame of a pixel format."""
    for layout in ("420", "422", "444"):
        for suffix, bits in (("p", 8), ("p10le", 10)):
            if pix_fmt == f"yuv{layout}{suffix}":
                made = VideoFrame.from_rgb(picture, 0, Fraction(1), layout, bits, "bt709", full_range)
                return to_av(made.planes, pix_fmt, bits)
    return av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)


def make_wav(path: Path, samples: NDArray[np.float64], rate: int, codec: str = "pcm_s16le") -> Path:
    """Write sound [N] or [N, C] in [-1, 1]: pcm_s16le, pcm_s24le, pcm_u8, pcm_f32le or pcm_f64le."""
    table = samples[:, None] if samples.ndim == 1 else samples
    if codec == "pcm_s24le":
        whole = np.round(table * 8388607).astype("<i4")
        packed = whole.view(np.uint8).reshape(*table.shape, 4)[..., :3]
        with wave.open(str(path), "wb") as file:
            file.setnchannels(table.shape[1])
            file.setsampwidth(3)
            file.setframerate(rate)
            file.writeframes(packed.tobytes())
        return path
    kinds = {"pcm_s16le": ("s16", 32767), "pcm_u8": ("u8", 127), "pcm_f32le": ("flt", 1), "pcm_f64le": ("dbl", 1)}
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[table.shape[1]]
    kind, scale = kinds[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, format=kind)
        assert isinstance(stream, av.AudioStream)
        dtypes = {"s16": np.int16, "u8": np.uint8, "flt": np.float32, "dbl": np.float64}
        values = table * scale + (128 if kind == "u8" else 0)
        if kind in ("s16", "u8"):
            values = np.round(values)
        frame = av.AudioFrame.from_ndarray(values.astype(dtypes[kind]).reshape(1, -1), kind, layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int, hertz: float = 220.0, level: float = 0.5) -> NDArray[np.float64]:
    """A steady tone [N]."""
    out: NDArray[np.float64] = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return out
