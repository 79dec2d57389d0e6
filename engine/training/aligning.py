"""Training and figures of the alignment network: faces of the human mesh in known poses, seen by a noisy tracker.

The truth is exact: a rest face of a random adult, moved by face units, in a pose, in perspective. What the network is
given is what a session knows: landmarks with noise, a pose found from them, and the speaker's rest face as enrolment
finds it, from frames that were seen in the same way. Letters: S speakers, B faces.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from engine.editing.mouth import MOVED_POINTS, rest_face
from engine.files import atomic_path
from engine.speech.alignment import AlignmentNet
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis, activations
from engine.training.faces import build_identities
from engine.training.running import Progress, require_at_least

RIGID: Final = np.array([0, 1, 15, 16, *range(27, 37), 39, 42, 45])
"""Landmarks that speech and expressions hardly move: they give the pose, as rigid mesh points do in the tracker."""
_MOUTH: Final = slice(len(MOVED_POINTS) - 20, len(MOVED_POINTS))
_RIGID_NOISE: Final = 0.65
"""The tracker finds a pose from 50 points of its mesh, not 17: their noise averages out more."""
_ENROLLED: Final = 60


@dataclass(frozen=True)
class AlignConfig:
    """One training run of the alignment network; lengths in inter-ocular distances."""

    steps: int = 600
    """Optimiser steps."""
    batch: int = 96
    """Faces per step."""
    speakers: int = 400
    """Speakers that are trained on: identities of the mesh, each with a shape error of its own."""
    held_out: int = 80
    """Speakers of other identities that the figures come from."""
    learning_rate: float = 2.0e-3
    """Peak learning rate of AdamW; falls to zero as a cosine."""
    yaw_deg: float = 35.0
    """Largest angles of the poses trained on."""
    pitch_deg: float = 18.0
    roll_deg: float = 25.0
    noise: tuple[float, float] = (0.001, 0.006)
    """Least and largest standard deviation of a frame's landmark noise, across the picture; in depth three times it."""
    depth: float = 0.08
    """Largest relative error of the depth that the tracker sees in a frame."""
    stranger: float = 0.015
    """Standard deviation of a speaker's landmarks from the mesh's shapes: trackers mark faces in their own way."""
    ways: float = 0.02
    """Largest standard deviation of asked motion that is none of the units': what is asked is kept, not explained."""
    warp: float = 0.012
    """Standard deviation of a frame's linear distortion of the whole face: a tracked shape changes with the view."""
    seed: int = 1
    """Seed of weights, speakers and poses."""
    threads: int = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        require_at_least(1, self, "steps", "batch", "speakers", "held_out", "threads")


@dataclass(frozen=True)
class Speakers:
    """People of the mesh as a session knows them."""

    rest: NDArray[np.float64]
    """[S,68,3] true rest faces in the head frame."""
    reach: NDArray[np.float64]
    """[S] displacement of this face over that of the mean face: the mean inter-ocular distance over its own."""
    enrolled: NDArray[np.float64]
    """[S,68,3] rest faces as enrolment finds them."""


@dataclass(frozen=True)
class Frames:
    """Faces as a tracker sees them, and the truth."""

    own: NDArray[np.float64]
    """[B,68,3] landmarks in the head frame of the pose that was found."""
    rest: NDArray[np.float64]
    """[B,68,3] the speaker's enrolled rest face."""
    angles: NDArray[np.float64]
    """[B,3] yaw, pitch, roll found, degrees."""
    turned: NDArray[np.float64]
    """[B,3,3] rotation found, times the scale found: head frame to picture."""
    displacement: NDArray[np.float64]
    """[B,68,3] what speech asks of the mean face."""
    target: NDArray[np.float64]
    """[B,P,2] true places of the moved landmarks in the picture."""
    origin: NDArray[np.float64]
    """[B,2] origin of the head frame in the picture."""


def rotations(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """[B,3] yaw, pitch, roll -> [B,3,3] head frame to picture axes: pitched first, then yawed, then rolled."""
    yaw, pitch, roll = np.radians(degrees).T
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)

    def matrix(*rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Nine numbers of [B] to [B,3,3], row by row."""
        return np.stack(rows, axis=1).reshape(-1, 3, 3)

    cos, sin = np.cos(pitch), np.sin(pitch)
    nod = matrix(one, zero, zero, zero, cos, -sin, zero, sin, cos)
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = matrix(cos, zero, -sin, zero, one, zero, sin, zero, cos)
    cos, sin = np.cos(roll), np.sin(roll)
    lean = matrix(cos, -sin, zero, sin, cos, zero, zero, zero, one)
    return np.asarray(lean @ turn @ nod)


def angles_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `rotations`, as `engine.tracking.pose` measures angles: [B,3,3] -> [B,3] degrees."""
    yaw = np.arctan2(rotation[:, 2, 0], np.hypot(rotation[:, 0, 0], rotation[:, 1, 0]))
    pitch = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)))


def random_controls(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """[B,CONTROLS] mouths: a third rest or nearly so, some are closed on an open jaw, the others are anything."""
    controls = rng.random((count, len(CONTROLS))) ** 2 * (rng.random((count, len(CONTROLS))) < 0.5)
    controls[:, CONTROLS.index("jaw")] = 0.5 * rng.random(count)
    controls[:, CONTROLS.index("close")] = np.where(rng.random(count) < 0.15, rng.random(count), 0.0)
    controls *= np.where(rng.random(count) < 0.33, 0.1 * rng.random(count), 1.0)[:, None]
    return controls.astype(np.float32)


def seen(
    face: NDArray[np.float64], rotation: NDArray[np.float64], distance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[B,68,3] faces in a pose, in perspective from `distance` [B]: x, y in the picture, z beside them."""
    turned = face @ rotation.transpose(0, 2, 1)
    shrink = distance[:, None] / (distance[:, None] + turned[:, :, 2])
    return np.concatenate([turned[:, :, :2] * shrink[:, :, None], turned[:, :, 2:]], axis=2)


def find_pose(points: NDArray[np.float64], template: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Rotation [B,3,3], origin [B,3] and scale [B] of landmarks [B,68,3], as the tracker finds them from its mesh."""
    rigid = points[:, RIGID] - points[:, RIGID].mean(axis=1, keepdims=True)
    centred = template[RIGID] - template[RIGID].mean(axis=0)
    u, _, vt = np.linalg.svd(rigid.transpose(0, 2, 1) @ centred)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation = u @ vt
    scale = np.einsum("bi,bi->b", points[:, 45] - points[:, 36], rotation[:, :, 0])
    return rotation, (points[:, 36] + points[:, 45]) / 2, scale


@dataclass
class FaceStudio:
    """Draws speakers and frames."""

    basis: FaceBasis
    """The mean face and its units."""
    config: AlignConfig
    """How faces are drawn."""
    rng: np.random.Generator
    """Of everything drawn."""
    widest: tuple[float, float] = field(default=(0.0, 1.0))
    """Range of the yaw as shares of `yaw_deg`."""

    def speakers(self, faces: NDArray[np.float64], scales: NDArray[np.float64]) -> Speakers:
        """Identities of the mesh ([S,68,3] rest faces, [S] inter-ocular distances) as people, enrolled."""
        faces = faces + self.config.stranger * self.rng.standard_normal(faces.shape)
        faces -= (faces[:, 36:37] + faces[:, 45:46]) / 2
        rest = faces / np.linalg.norm(faces[:, 45] - faces[:, 36], axis=1)[:, None, None]
        reach = 1.0 / scales / np.mean(1.0 / scales)
        known = Speakers(rest, reach, rest)
        enrolled = [rest_face(self._observed(known, np.full(_ENROLLED, who), 0.4)[0]) for who in range(len(faces))]
        return Speakers(rest, reach, np.stack(enrolled))

    def frames(self, speakers: Speakers, count: int) -> Frames:
        """`count` frames of random speakers in random poses, with the mouth that speech asks for."""
        who = self.rng.integers(0, len(speakers.rest), count)
        own, pose, distance, found = self._observed(speakers, who, 1.0)
        asked = self.basis.move(activations(random_controls(self.rng, count))).astype(np.float64)
        asked[:, MOVED_POINTS] += self._ways((count, len(MOVED_POINTS), 3))
        wanted = speakers.rest[who] + asked * speakers.reach[who, None, None]
        target = seen(wanted, pose, distance)[:, MOVED_POINTS, :2]
        rotation, origin, scale = found
        turned = rotation * scale[:, None, None]
        return Frames(own, speakers.enrolled[who], angles_of(rotation), turned, asked, target, origin[:, :2])

    def _observed(
        self, speakers: Speakers, who: NDArray[np.int64], spread: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
        """Landmarks in the head frame found, true rotation, distance, and the pose found."""
        rng, config, count = self.rng, self.config, len(who)
        moved = self.basis.move(activations(random_controls(rng, count)), self._expressions(count))
        moved[:, MOVED_POINTS] += self._ways((count, len(MOVED_POINTS), 3))
        face = speakers.rest[who] + moved * speakers.reach[who, None, None]
        face = face + spread * face @ (config.warp * rng.standard_normal((count, 3, 3)))
        largest = np.array([config.yaw_deg, config.pitch_deg, config.roll_deg]) * spread
        degrees = rng.uniform(-1.0, 1.0, (count, 3)) * largest
        if self.widest[0] > 0.0:
            share = rng.uniform(*self.widest, count) * rng.choice((-1.0, 1.0), count)
            degrees[:, 0] = share * largest[0]
        pose = rotations(degrees)
        distance = rng.uniform(6.0, 20.0, count)
        points = seen(face, pose, distance)
        noise = rng.uniform(*config.noise, count)[:, None, None] * rng.standard_normal(points.shape)
        noise[:, :, 2] *= 3.0
        noise[:, RIGID] *= _RIGID_NOISE
        points = points + noise
        points[:, :, 2] *= rng.uniform(1.0 - config.depth, 1.0 + config.depth, count)[:, None]
        found = find_pose(points, self.basis.rest.astype(np.float64))
        rotation, origin, scale = found
        own = (points - origin[:, None]) @ rotation / scale[:, None, None]
        return own, pose, distance, found

    def _expressions(self, count: int) -> NDArray[np.float32]:
        some = 0.4 * self.rng.random((count, len(EXPRESSIONS))) * (self.rng.random((count, len(EXPRESSIONS))) < 0.15)
        return some.astype(np.float32)

    def _ways(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Motion [B,68,3] that no unit makes: people's own ways, some faces more than others."""
        strength = self.config.ways * self.rng.random((shape[0], 1, 1))
        return np.asarray(strength * (self.rng.standard_normal(shape) + self.rng.standard_normal((shape[0], 1, 3))))


def placed(frames: Frames, correction: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """[B,P,2] places in the picture: geometry, and the correction [B,P,3] if there is one."""
    head = (frames.rest + frames.displacement)[:, MOVED_POINTS]
    if correction is not None:
        head = head + correction
    return np.asarray((head @ frames.turned.transpose(0, 2, 1))[:, :, :2] + frames.origin[:, None])


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def correct(network: AlignmentNet, frames: Frames) -> Tensor:
    """The network's corrections [B,P,3] of frames."""
    parts = (_tensor(part) for part in (frames.own, frames.rest, frames.angles, frames.displacement))
    answer: Tensor = network(*parts)
    return answer


def step_loss(network: AlignmentNet, frames: Frames) -> Tensor:
    """Mean distance of the placed landmarks from the truth in percent; the mouth counts twice as much as the jaw."""
    geometric = _tensor(frames.target - placed(frames))
    turned = _tensor(frames.turned)
    corrected = (correct(network, frames) @ turned.transpose(1, 2))[:, :, :2]
    distance = torch.linalg.vector_norm(corrected - geometric, dim=2)
    weight = torch.ones(distance.shape[1])
    weight[_MOUTH] = 2.0
    loss: Tensor = 100.0 * (distance * weight).sum(dim=1).mean() / weight.sum()
    return loss


@dataclass(frozen=True)
class AlignFigures:
    """Errors of the 20 mouth points on frames of held-out speakers, % of the inter-ocular distance."""

    frames: int
    geometric: float
    network: float
    geometric_p95: float
    network_p95: float


def figures(network: AlignmentNet, studio: FaceStudio, speakers: Speakers, count: int = 2000) -> AlignFigures:
    """Mean error of geometry and network on `count` new frames, and the 95th percentile over frames."""
    frames = studio.frames(speakers, count)
    with torch.inference_mode():
        correction = correct(network, frames).double().numpy()
    errors = [
        100.0 * np.linalg.norm(places - frames.target, axis=2)[:, _MOUTH].mean(axis=1)
        for places in (placed(frames), placed(frames, correction))
    ]
    mean, high = ([float(measure(error)) for error in errors] for measure in (np.mean, _p95))
    return AlignFigures(count, mean[0], mean[1], high[0], high[1])


def _p95(values: NDArray[np.float64]) -> float:
    return float(np.percentile(values, 95))


def train_alignment(
    wheel: Path, basis: FaceBasis, out: Path, config: AlignConfig, progress: Progress | None = None
) -> dict[str, AlignFigures]:
    """Trains on speakers of the mesh, writes the weights, measures on other identities, in known and wider poses."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    studio = FaceStudio(basis, config, np.random.default_rng(config.seed))
    speakers = studio.speakers(*build_identities(wheel, 2 * config.seed, config.speakers))
    network = AlignmentNet()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, config.steps + 1, pct_start=0.05)
    for step in range(config.steps):
        loss = step_loss(network, studio.frames(speakers, config.batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks the annotation
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None and (step + 1) % 50 == 0:
            progress(f"step {step + 1} error {loss.item():.3f} %", (step + 1) / config.steps)
    network.eval()
    save_alignment_net(out, network, {"steps": str(config.steps), "seed": str(config.seed)})
    return {
        "known_poses": _held_out(network, basis, wheel, config, (0.0, 1.0)),
        "wider_yaw": _held_out(network, basis, wheel, config, (1.0, 1.25)),
    }


def _held_out(
    network: AlignmentNet, basis: FaceBasis, wheel: Path, config: AlignConfig, widest: tuple[float, float]
) -> AlignFigures:
    studio = FaceStudio(basis, config, np.random.default_rng(config.seed + 1000))
    speakers = studio.speakers(*build_identities(wheel, 2 * config.seed + 1, config.held_out))
    studio.widest = widest
    return figures(network, studio, speakers)


def save_alignment_net(path: Path, network: AlignmentNet, notes: dict[str, str]) -> None:
    """Writes the weights (half precision) and sizes of a network; `notes` join the header."""
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    sizes = {name: str(size) for name, size in network.sizes.items()}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={**notes, **sizes})
