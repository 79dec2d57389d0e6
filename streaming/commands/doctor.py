"""`livedub doctor`: what works on this machine, what does not, and why."""

import argparse
import importlib
import io
import platform
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from typing import Any

import av
import numpy as np
import torch

from engine import weights
from engine.editing.compiled import forms_made, packages_dir
from engine.editing.perceptual import has_bfloat16
from engine.evaluation import describe_machine, versions
from kernels.backends.aoti import compiler
from kernels.backends.tensorrt import GENERATIONS, builder_for, own_generation
from kernels.errors import BackendUnavailable
from kernels.native.pixels import library_path
from streaming.commands.common import Context, Subparsers, add_json
from streaming.commands.weights import NEEDED, with_companions


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    name: str
    """What."""
    works: bool
    """Whether it works here."""
    needed: bool
    """Whether `livedub dub` needs it."""
    detail: str
    """What was found, or why it does not work and what helps."""


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "what works on this machine, what does not, and why"
    parser = commands.add_parser("doctor", help=about, description=f"Shows {about}.")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Try everything and show it; the exit status is 1 when something that is needed does not work."""
    findings = [_device(), *_backends(), *_codecs(), *_weights(), *_extras()]
    broken = [finding for finding in findings if finding.needed and not finding.works]
    machine, used = describe_machine(), versions()
    lines = [[f"{key}", _text(value)] for key, value in machine.items()] + [[key, value] for key, value in used.items()]
    context.screen.table("Machine and versions", ["what", "value"], lines)
    context.screen.table(
        "What works here",
        ["what", "works", "needed", "found"],
        [[f.name, "yes" if f.works else "no", "yes" if f.needed else "", f.detail] for f in findings],
    )
    verdict = (
        "`livedub dub` works here" if not broken else f"missing for `livedub dub`: {', '.join(f.name for f in broken)}"
    )
    context.screen.result(
        {"machine": machine, "versions": used, "findings": [vars(f) for f in findings], "works": not broken}, verdict
    )
    return 1 if broken else 0


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _device() -> Finding:
    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("device", True, True, f"{names}; and the processor, {threads} threads")
    why = "this build of torch has no CUDA" if torch.version.cuda is None else "no CUDA device answers"
    return Finding("device", True, True, f"processor, {threads} threads ({why})")


def _backends() -> list[Finding]:
    """What renders here: whether each backend of `dub --backend` can be used, and what `auto` goes by."""
    forms = forms_made()
    half = "bfloat16" if has_bfloat16() else "float32: no bfloat16 here"
    pieces = ", ".join(f"{count} x {name}" for name, count in sorted(forms.items()))
    made = f"compiled in {packages_dir()}: {pieces}" if forms else "nothing compiled yet: `livedub compile` does it"
    made += "; picture loops there" if library_path(packages_dir()).exists() else "; picture loops not compiled yet"
    try:
        aoti = Finding("backend aoti", True, False, f"{half}, compiler {compiler()}; {made}")
    except BackendUnavailable as error:
        aoti = Finding("backend aoti", bool(forms), False, f"{error}; {made}")
    gpu = torch.cuda.is_available()
    why = "a CUDA device answers" if gpu else "no CUDA device answers here"
    auto = "of render, picture loops, the tracker's networks, measurement and W+ steps takes the fastest of what is "
    auto += "compiled whose results are right, by measuring when a dub begins"
    return [
        Finding("backend auto", True, False, f"{auto}; `dub --report` says which"),
        aoti,
        Finding("backend cudagraph", gpu, False, why),
        _tensorrt(gpu, why),
    ]


def _tensorrt(gpu: bool, why: str) -> Finding:
    """Whether TensorRT engines can be built and run; that a GPU has run one yet is not claimed."""
    try:
        builder = builder_for(own_generation() or GENERATIONS[0])
    except BackendUnavailable as error:
        return Finding("backend tensorrt", False, False, f"{error}; {why}")
    untried = "running engines has not been tried on a GPU yet"
    says = f"{builder.name} {builder.module.__version__} builds engines; {why}; {untried}"
    return Finding("backend tensorrt", gpu, False, says)


def _codecs() -> list[Finding]:
    """Every encoder and decoder is really opened and used on a small picture or sound."""
    tried: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        ("H.264 8 bit", True, lambda: _encode("libx264", "yuv420p")),
        ("H.264 10 bit", False, lambda: _encode("libx264", "yuv420p10le")),
        ("H.264 4:4:4 (odd sizes)", False, lambda: _encode("libx264", "yuv444p")),
        ("AAC", True, lambda: _encode("aac", None)),
        ("HEVC decoder", False, lambda: _decoder("hevc")),
        ("HEVC encoder", False, lambda: _encode("libx265", "yuv420p")),
        ("H.264 on NVIDIA", False, lambda: _encode("h264_nvenc", "yuv420p")),
    )
    findings = []
    for name, needed, attempt in tried:
        try:
            findings.append(Finding(name, True, needed, attempt()))
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            findings.append(Finding(name, False, needed, f"the encoder or decoder cannot be opened here: {reason}"))
    return findings


def _encode(codec: str, pix_fmt: str | None) -> str:
    """Encode one picture (or a moment of silence) in memory and give the encoder's name."""
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        if pix_fmt is None:
            sound = container.add_stream(codec, rate=48000, layout="mono")
            assert isinstance(sound, av.AudioStream)
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 48000, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
            return f"encoder {sound.codec_context.name}"
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        video = container.add_stream(codec, rate=Fraction(25), options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 256, 256, pix_fmt
        picture = av.VideoFrame(256, 256, pix_fmt)
        picture.pts = 0
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
        return f"encoder {video.codec_context.name}"


def _decoder(codec: str) -> str:
    return f"decoder {av.codec.CodecContext.create(codec, 'r').name}"


def _weights() -> list[Finding]:
    """Every file that `dub` needs, its companions counted with it."""
    findings = []
    for name in NEEDED:
        files = with_companions((name,))
        here = all(weights.location(each).exists() for each in files)
        size = sum(weights.entry(each).size for each in files) / 1e6
        fetched = f"not here; fetched at need from {weights.entry(name).archive} ({size:.1f} MB)"
        findings.append(Finding(f"weights {name}", here, False, "in the cache" if here else fetched))
    return findings


def _extras() -> list[Finding]:
    """Optional packages: imported for real."""
    findings = []
    for package, module, purpose, extra in (
        ("dlib-bin", "dlib", "judge of landmarks and identity in reports", "eval"),
        ("face-alignment", "face_alignment", "--tracker fan", "fan"),
    ):
        try:
            importlib.import_module(module)
            findings.append(Finding(package, True, False, f"{metadata.version(package)}: {purpose}"))
        except ImportError as error:
            findings.append(Finding(package, False, False, f"{purpose}: {error}; install livedub[{extra}]"))
    findings.append(Finding("python", True, True, f"{platform.python_version()}, {platform.python_implementation()}"))
    return findings
