"""Makes the demo's presenter: a person who does not exist, drawn, moved and spoken by machines alone.

    pip install -e ".[train]"
    python -m engine.training.presenter presenter.mp4 --work presenter_work

A seed picks a face of the default generator; `presenter_keys` solves small offsets in W+ that open its mouth, blink
and turn its head; `presenter_motion` derives their amounts from synthesised speech with known phone times and from
fixed seeds; every frame is one full render, swayed a little as a whole. Everything is deterministic up to rounding.
Finished frames are kept in the work folder, so an interrupted run goes on where it stopped, and several runs with
`--part 0/2`, `--part 1/2` share the work; the last one to end writes the video.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from engine import weights
from engine.editing.perceptual import PerceptualLoss
from engine.errors import BadInputError
from engine.generators import MobileStyleGAN, WStatistics, load_default_generator
from engine.speech.controls import FaceBasis
from engine.speech.model import load_speech_model
from engine.tracking.alignment import warp
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MeshNet
from engine.tracking.pose import head_pose
from engine.training.audio import SAMPLE_RATE
from engine.training.presenter_keys import Solver, face_moves, look, mixed, mouth_activations
from engine.training.presenter_lids import close_lids
from engine.training.presenter_motion import (
    FPS,
    Speech,
    amounts_for,
    blinks,
    joined,
    mouth_amounts,
    mouth_displacement,
    nods,
    wander,
)
from engine.training.recordings import HibariVoice

Told = Callable[[str, float], None]
"""Called with a line of text and the share done, 0 ... 1."""

COMMENT: Final = "Synthetic: this person does not exist and the voice is a speech synthesiser's (made by livedub)."

TRIED: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Amounts at which the opening of the lips is measured."""


@dataclass(frozen=True, slots=True)
class PresenterConfig:
    """What makes this presenter and no other."""

    seed: int = 153
    """Seed of the face."""
    truncation: float = 0.65
    """How far from the average face it is drawn, 0 ... 1."""
    mouth_steps: int = 25
    """Optimisation steps of a move of the mouth."""
    turn_steps: int = 20
    """Optimisation steps of a turn of the head."""
    sentences: tuple[str, ...] = (
        "Good afternoon.",
        "The harbour is calm today, and the last ferry leaves at half past five.",
    )
    """What it says."""
    seconds: float = 7.4
    """Length of the video."""
    lead_s: float = 0.35
    """Silence before the first sentence."""
    gap_s: float = 0.35
    """Silence between two sentences."""
    blinks_s: tuple[float, ...] = (0.2, 2.3, 4.1, 6.7)
    """When blinks begin."""
    size_px: int = 720
    """Side of the video."""
    window: float = 0.92
    """Part of the generator's picture that is shown."""
    yaw_amount: float = 0.6
    """Largest turn, in parts of the move (9 degrees)."""
    pitch_amount: float = 0.45
    """Largest slow nod, in parts of the move (6 degrees)."""
    beat_amount: float = 0.3
    """Largest nod with the voice, likewise."""
    liveliness: float = 1.6
    """Gain of the mouth's movement over that of quiet speech."""
    widest: float = 0.85
    """Largest amount of the widest mouth."""
    roll_deg: float = 1.0
    """Largest lean."""
    sway: float = 0.012
    """Largest shift, in parts of the picture."""
    crf: int = 21
    """Quality of the video (x264)."""

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return round(self.seconds * FPS)


def neutral_code(config: PresenterConfig, model: MobileStyleGAN, statistics: WStatistics) -> Tensor:
    """[R,D] W+ code of the face at rest."""
    noise = torch.randn(1, model.width, generator=torch.Generator().manual_seed(config.seed))
    with torch.no_grad():
        face = statistics.mean + config.truncation * (model.mapping(noise)[0] - statistics.mean)
    return face.expand(model.rows, -1).clone()


def solved_moves(
    config: PresenterConfig, solver: Solver, basis: FaceBasis, file: Path, told: Told
) -> dict[str, Tensor]:
    """Offsets [R,D] of all moves by name: read from `file`, what is missing solved and added to it."""
    offsets: dict[str, Tensor] = load_file(file) if file.exists() else {}
    moves = face_moves(basis)
    for index, move in enumerate(moves):
        if move.name in offsets:
            continue
        turning = move.turn_deg is not None
        steps = config.turn_steps if turning else config.mouth_steps

        def hear(name: str, step: int, error: float, done: int = index, steps: int = steps) -> None:
            """Tells of one step of one move."""
            told(f"move {name}: error {error:.2f}", (done + (step + 1) / steps) / len(moves))

        offsets[move.name] = solver.solve(move, steps, hear, turning, offsets.get(move.after)).contiguous()
        save_file(offsets, file)
    return offsets


def response(solver: Solver, offset: Tensor) -> list[float]:
    """Opening of the lips in IOD at every amount of `TRIED`, as the mesh sees it."""
    rest = head_pose(solver.rest())
    with torch.no_grad():
        codes = torch.stack([solver.neutral + amount * offset for amount in TRIED])
        points = mesh_to_68(look(solver.mesh, solver.model.coarse(codes)))[..., :2]
    return [float(gap) / rest.iod_px for gap in (points[:, 62] - points[:, 66]).norm(dim=1)]


def amounts(
    config: PresenterConfig, speech: Speech, basis: FaceBasis, measured: list[float]
) -> dict[str, NDArray[np.float64]]:
    """Amount of every move in every frame, [T] each, by the move's name; `measured` is the `response` of "gape"."""
    activation = mouth_activations()
    moves = np.stack([basis.move(activation[name]) for name in ("gape", "round")]).astype(np.float64)
    wanted = config.liveliness * mouth_displacement(speech, basis, config.frames)
    mouth = mouth_amounts(wanted, moves)
    openings = mouth[:, 0] * (moves[0, 66, 1] - moves[0, 62, 1])
    return {
        "gape": amounts_for(openings, TRIED, measured, config.widest),
        "round": mouth[:, 1],
        "right": config.yaw_amount * wander(config.frames, config.seed),
        "down": config.pitch_amount * wander(config.frames, config.seed + 1)
        + config.beat_amount * nods(speech, config.frames),
    }


def view(config: PresenterConfig, frame: int, resolution: int) -> NDArray[np.float64]:
    """[3,3]: px of the video to px of the render, with the frame's sway; the head leans about the neck."""
    roll = np.radians(config.roll_deg) * wander(config.frames, config.seed + 2)[frame]
    shift = (
        config.sway
        * resolution
        * np.array([wander(config.frames, config.seed + 3)[frame], 0.6 * wander(config.frames, config.seed + 4)[frame]])
    )
    scale = config.window * resolution / config.size_px
    neck = np.array([0.5, 0.8]) * resolution
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    corner = np.full(2, (1.0 - config.window) / 2 * resolution)
    matrix = np.eye(3)
    matrix[:2, :2] = turn * scale
    matrix[:2, 2] = turn @ (corner - neck) + neck + shift
    return matrix


def draw(config: PresenterConfig, solver: Solver, code: Tensor, frame: int) -> NDArray[np.uint8]:
    """One frame, [size,size,3] RGB. code: [R,D]."""
    model = solver.model
    lids = float(blinks(config.frames, config.blinks_s)[frame])
    with torch.no_grad():
        picture = model.synthesis(code[None])
        if lids > 0:
            factor = model.resolution // model.coarse_resolution
            points = mesh_to_68(look(solver.mesh, functional.avg_pool2d(picture, factor)))[0, :, :2] * factor
            picture = close_lids(picture, points.double().numpy(), lids)
        picture = warp(picture, view(config, frame, model.resolution), config.size_px)[0]
    pixels: NDArray[np.uint8] = ((picture.clamp(-1, 1) * 0.5 + 0.5) * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels


def write_video(path: Path, config: PresenterConfig, frames: list[Path], samples: NDArray[np.float32]) -> None:
    """Writes MP4 (H.264, AAC) whose metadata say that it is synthetic. samples: [N] at 16 kHz."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}) as container:
        container.metadata.update({"title": "livedub presenter", "comment": COMMENT, "synthetic": "yes"})
        video = container.add_stream("libx264", rate=FPS, options={"crf": str(config.crf), "preset": "slow"})
        video.width = video.height = config.size_px
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, FPS)
        context = video.codec_context
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000
        for index, file in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.load(file), format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def make_presenter(
    path: Path, work: Path, told: Told, config: PresenterConfig | None = None, part: tuple[int, int] = (0, 1)
) -> bool:
    """Makes the video, or this run's part of its frames.

    Args:
        path: MP4 to write.
        work: folder of what is finished; made at need. Keep one folder per config.
        told: hears how far it is.
        config: what to make.
        part: this run draws every n-th frame from the k-th on, as (k, n).

    Returns:
        Whether all frames were there, so that the video was written.
    """
    config = config or PresenterConfig()
    (work / "frames").mkdir(parents=True, exist_ok=True)
    model = load_default_generator()
    statistics = WStatistics.sample(model)
    basis = load_speech_model().basis
    neutral = neutral_code(config, model, statistics)
    perceptual = PerceptualLoss(weights.path("stlpips-vgg"), 4)
    solver = Solver(model, statistics, MeshNet(weights.path("mesh")), perceptual, neutral)
    offsets = solved_moves(config, solver, basis, work / "moves.safetensors", told)
    speech = joined(list(HibariVoice(config.sentences).utterances()), config.lead_s, config.gap_s, config.seconds)
    curves = amounts(config, speech, basis, response(solver, offsets["gape"]))
    files = [work / "frames" / f"{index:04d}.npy" for index in range(config.frames)]
    for index in range(part[0], config.frames, part[1]):
        if not files[index].exists():
            strengths = [float(curve[index]) for curve in curves.values()]
            code = mixed(neutral, [offsets[name] for name in curves], strengths)
            beside = files[index].with_suffix(".part.npy")
            np.save(beside, draw(config, solver, code, index))
            beside.replace(files[index])
        told(f"frame {index + 1} of {config.frames}", (index + 1) / config.frames)
    if not all(file.exists() for file in files):
        return False
    write_video(path, config, files, speech.samples)
    return True


def make_part(text: str) -> tuple[int, int]:
    """The part that a text `k/n` names, as (k, n)."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise BadInputError(f"part {text!r}; expected K/N with K from 0 to N - 1, such as 0/2")
    return int(number), int(count)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine.training.presenter", description="Make the demo's presenter.")
    parser.add_argument("out", type=Path, help="MP4 to write")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is finished")
    parser.add_argument("--part", default="0/1", help="draw every N-th frame from the K-th on: K/N")
    args = parser.parse_args(arguments)

    def told(line: str, share: float) -> None:
        """Writes one line over and over: what is done, and how far all is."""
        sys.stderr.write(f"\r{share:4.0%} {line:60}")

    written = make_presenter(args.out, args.work, told, part=make_part(args.part))
    sys.stdout.write(f"\n{args.out}\n" if written else "\nthe other parts are not finished yet\n")


if __name__ == "__main__":
    main()
