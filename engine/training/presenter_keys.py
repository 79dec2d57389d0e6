"""Moves of a made-up face: small offsets in W+ that open its mouth, close its eyes or turn its head.

Each move is solved on the face mesh: the points that the move displaces are led to their targets, all others are held
where they are, and a perceptual and a pixel term hold the picture outside the moving part, so that the person stays
the same. Offsets are sought in whitened W (`WStatistics`), where a small norm means a likely face. Moves are then
mixed linearly, which W+ bears well for small amounts.

Letters: R rows of W+, D = 512, K whitened axes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.perceptual import PerceptualLoss
from engine.generators import MobileStyleGAN, WStatistics
from engine.speech.controls import CONTROLS, FaceBasis
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE, MeshNet
from engine.tracking.pose import HeadPose, head_pose
from engine.training.presenter_paint import paint_mouth

CROP: Final = (16, 24, 232)
"""Left, top and side of the part of the 256-px coarse picture that the mesh looks at."""

_STRESS: Final = 5.0
_PIXEL_WEIGHT, _PERCEPTUAL_WEIGHT, _PRIOR_WEIGHT = 3.0, 4.0, 0.01
_LEARNING_RATE: Final = 0.09


@dataclass(frozen=True, slots=True)
class Move:
    """What a move asks for.

    Attributes:
        name: its name.
        rows: rows of W+ that may change, first and behind last.
        displacement: [68,3] head frame, units of the IOD; where points go. Ignored when `turn_deg` is set.
        weights: [68] how much each point counts.
        stressed: ellipses (x, y, half width, half height) in parts of the picture that count more than the rest.
        turn_deg: yaw and pitch to add, for a move of the whole head.
        after: name of the move whose offset the search begins with; none when empty.
        paint: a painted picture of the mouth leads the way (the mesh alone is content with thick lips).
    """

    name: str
    rows: tuple[int, int]
    displacement: NDArray[np.float32]
    weights: NDArray[np.float32]
    stressed: tuple[tuple[float, float, float, float], ...] = ()
    turn_deg: tuple[float, float] | None = None
    paint: bool = False
    after: str = ""


_MOUTH: Final = ((0.5, 0.76, 0.19, 0.20),)


def mouth_activations() -> dict[str, NDArray[np.float32]]:
    """Face-unit activations of the mouth moves by name, in order of `CONTROLS`."""
    wanted = {
        "open": {"jaw": 0.5, "lower_down": 0.1},
        "gape": {"jaw": 0.85, "lower_down": 0.2},
        "round": {"jaw": 0.18, "funnel": 0.5, "pucker": 0.6},
    }
    return {
        name: np.array([values.get(control, 0.0) for control in CONTROLS], np.float32)
        for name, values in wanted.items()
    }


def face_moves(basis: FaceBasis) -> list[Move]:
    """All moves, three of the mouth and two turns of the head; `basis` says how face units move landmarks."""
    weights = np.full(68, 0.3, np.float32)
    weights[48:68], weights[5:12] = 1.5, 0.5
    moves = [
        Move(name, (3, 12), basis.move(active), weights, _MOUTH, paint=True, after="open" if name == "gape" else "")
        for name, active in mouth_activations().items()
    ]
    still, even = np.zeros((68, 3), np.float32), np.ones(68, np.float32)
    turns = {"right": (9.0, 0.0), "down": (0.0, 6.0)}
    moves.extend(Move(name, (0, 7), still, even, turn_deg=turn) for name, turn in turns.items())
    return moves


def look(mesh: MeshNet, picture: Tensor) -> Tensor:
    """Mesh [B,468,3] in px of the coarse picture. picture: [B,3,256,256] in -1...1."""
    left, top, side = CROP
    cut = picture[:, :, top : top + side, left : left + side] * 0.5 + 0.5
    cut = functional.interpolate(cut, (MESH_SIZE, MESH_SIZE), mode="bilinear", align_corners=False, antialias=True)
    points, _ = mesh(cut.clamp(0.0, 1.0))
    found: Tensor = points * (side / MESH_SIZE) + torch.tensor([left, top, 0.0])
    return found


def _turned(points: NDArray[np.float64], pose: HeadPose, turn_deg: tuple[float, float]) -> NDArray[np.float64]:
    """Points of the head turned about its middle, moved back so that eyes and mouth keep their place as in FFHQ."""
    yaw, pitch = np.radians(turn_deg)
    around_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    centre = points[36:68].mean(0)
    turned = (points - centre) @ (around_y @ around_x).T + centre
    back: NDArray[np.float64] = turned - (turned[36:68] - points[36:68]).mean(0)
    return back


def target_points(move: Move, mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the 68 points shall be, [68,3] px of the coarse picture. mesh: [468,3], the neutral face."""
    pose, points = head_pose(mesh), mesh_to_68(mesh)
    if move.turn_deg is not None:
        return _turned(points, pose, move.turn_deg)
    moved: NDArray[np.float64] = points + move.displacement.astype(np.float64) @ pose.rotation.T * pose.iod_px
    return moved


def stress(move: Move, size: int) -> Tensor:
    """[1,1,size,size]: how much every place of the picture counts; soft edges."""
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    mask = torch.ones(size, size)
    for cx, cy, rx, ry in move.stressed:
        radius = (((x - cx) / rx).square() + ((y - cy) / ry).square()).sqrt()
        mask = mask + _STRESS * ((1.1 - radius) / 0.2).clamp(0.0, 1.0)
    return mask[None, None]


@dataclass(frozen=True, slots=True)
class Solver:
    """Finds offsets for moves of one face.

    Attributes:
        model: the generator, its weights frozen.
        statistics: its whitened W.
        mesh: the landmark network.
        perceptual: the perceptual distance.
        neutral: [R,D] W+ code of the face at rest.
    """

    model: MobileStyleGAN
    statistics: WStatistics
    mesh: MeshNet
    perceptual: PerceptualLoss
    neutral: Tensor

    def rest(self) -> NDArray[np.float64]:
        """Mesh [468,3] of the face at rest, px of the coarse picture."""
        with torch.no_grad():
            points = look(self.mesh, self.model.coarse(self.neutral[None]))[0]
        return points.double().numpy()

    def solve(
        self,
        move: Move,
        steps: int,
        told: Callable[[str, int, float], None] | None = None,
        share: bool = False,
        start: Tensor | None = None,
    ) -> Tensor:
        """Offset [R,D] of a move at full strength.

        Args:
            move: what to reach.
            steps: optimisation steps.
            told: hears (name, step, mean error of the weighted points in hundredths of the IOD).
            share: all rows get the same offset (surer for turns, which all rows agree on).
            start: offset [R,D] to begin the search with.
        """
        rest = self.rest()
        iod = head_pose(rest).iod_px
        target = torch.from_numpy(target_points(move, rest)).float()[:, :2]
        weight = torch.from_numpy(move.weights)[:, None]
        keep = stress(move, 128)
        with torch.no_grad():
            still = self.model.coarse(self.neutral[None])
            if move.paint:
                still = paint_mouth(still, mesh_to_68(rest)[:, :2], target.double().numpy())
            still = functional.avg_pool2d(still, 2)
            features = self.perceptual.goal(still)
        first, behind = move.rows
        count = 1 if share else behind - first
        offset = torch.zeros(count, self.statistics.basis.shape[0])
        if start is not None:
            offset = self.statistics.encode(self.statistics.mean + start[first : first + count])
        offset.requires_grad_(True)
        optimiser = torch.optim.Adam([offset], lr=_LEARNING_RATE, betas=(0.8, 0.99))
        turning = move.turn_deg is not None
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1.0 - 0.8 * step / steps)
            picture = self.model.coarse(self._moved(offset, move)[None])
            points = mesh_to_68(look(self.mesh, picture))[0, :, :2]
            apart = ((points - target) / iod * 100.0).square()
            landmark = (apart * weight).mean() / weight.mean()
            small = functional.avg_pool2d(picture, 2)
            alike = self.perceptual.distance(small, features, keep).sum()
            near = ((small - still).abs() * keep).mean()
            prior = offset.square().sum() / count
            hold = 0.15 if turning else 1.0
            loss = 0.05 * landmark + hold * (_PERCEPTUAL_WEIGHT * alike + _PIXEL_WEIGHT * near) + _PRIOR_WEIGHT * prior
            (offset.grad,) = torch.autograd.grad(loss, offset)
            optimiser.step()
            if told:
                told(move.name, step, float(landmark.detach().sqrt()))
        return (self._moved(offset.detach(), move) - self.neutral).detach()

    def _moved(self, offset: Tensor, move: Move) -> Tensor:
        """[R,D] code of the face with an offset in whitened W on the rows of the move."""
        first, behind = move.rows
        change = (offset @ self.statistics.basis).expand(behind - first, -1)
        return self.neutral + functional.pad(change, (0, 0, first, self.model.rows - behind))


def mixed(neutral: Tensor, offsets: Sequence[Tensor], amounts: Sequence[float]) -> Tensor:
    """[R,D] code of the face with every move at its amount."""
    code = neutral.clone()
    for offset, amount in zip(offsets, amounts, strict=True):
        code = code + amount * offset
    return code
