"""A speaker whose pictures can be read by rule: the control loop closes without any trained network.

The generator paints a grey field with eight squares, each as bright as one number of w. The face mesh of this speaker
reads the squares' brightness and moves its points so that the eight mouth numbers follow. What is asked for, what is
painted and what is read are thereby linear in one another, with matrices that a test chooses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.editing.features import MOUTH_COUNT, FeatureModel
from engine.editing.mouth import MOVED_POINTS, mouth_shape
from engine.editing.observation import CROP, mesh_crop, observe
from engine.editing.profile import SpeakerProfile
from engine.generators.identity import generator_hash
from engine.generators.mobile import WIDTH, MobileStyleGAN
from engine.generators.protocol import Region
from engine.generators.stats import WStatistics
from engine.media import VideoFrame
from engine.tracking.alignment import transform_points, warp
from engine.tracking.landmarks import MESH_PAIRS
from engine.tracking.mesh import MESH_POINTS, MESH_SIZE, MeshNet
from engine.tracking.pose import HeadPose, from_head
from engine.tracking.tracker import TrackedFace, TrackResult
from tests.engine.editing.made_up import neutral_head

REGION = Region(608, 304, 416, 416)
"""Part of the crop that is rendered, unless an enrolment places it."""
SHADE = 0.1
"""Brightness (-1...1) of a square per mouth number."""
CELLS = tuple((x, y) for y in (708, 756) for x in (437, 489, 538, 587))
"""Middles of the eight squares in crop px: all where the mask is 1."""
CELL_PX = 44
FRAME_SIZE = (300, 320)
"""Height and width of the frames."""


@dataclass(frozen=True)
class Place:
    """Where the aligned crop lies in a frame."""

    scale: float = 0.25
    roll_deg: float = 0.0
    yaw_deg: float = 0.0
    left: float = 30.0
    top: float = 20.0

    def crop_to_frame(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [N,2] of the crop in px of the frame."""
        return np.asarray(self.scale * points @ _turn(self.roll_deg)[:2, :2].T + np.array([self.left, self.top]))


def _turn(roll_deg: float) -> NDArray[np.float64]:
    cos, sin = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def mesh_of(points: NDArray[np.float64], head_pose: HeadPose) -> NDArray[np.float64]:
    """Mesh [468,3] whose 68 landmarks are `points` [68,3]; the other points lie on a circle that is the face's rim."""
    rim = np.linspace(0, 2 * math.pi, MESH_POINTS)
    circle = np.stack([1.2 * np.cos(rim), 0.4 + 1.2 * np.sin(rim), np.zeros(MESH_POINTS)], 1)
    mesh = from_head(circle, head_pose)
    for point, pair in zip(points, MESH_PAIRS, strict=True):
        mesh[list(pair)] = point
    return mesh


def tracked(head: NDArray[np.float64], place: Place | None = None) -> TrackedFace:
    """What a tracker says of a face with this head at this place: eyes 290 px apart in the crop, as `made_up.seen`."""
    place = place or Place()
    yaw = math.radians(place.yaw_deg)
    turned = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    origin = np.append(place.crop_to_frame(np.array([[512.0, 460.0]]))[0], 0.0)
    rotation = _turn(place.roll_deg) @ turned
    pose = HeadPose(rotation, place.yaw_deg, 0.0, place.roll_deg, origin, 290.0 * place.scale)
    points = from_head(head, pose)
    corners = np.array([[0.0, 0.0], [0.0, CROP], [CROP, CROP], [CROP, 0.0]])
    mesh = mesh_of(points, pose)
    return TrackedFace(
        points.astype(np.float32), pose, place.crop_to_frame(corners), pose.iod_px, 1.0, mesh.astype(np.float32)
    )


@lru_cache
def squares(region: Region) -> Tensor:
    """The eight squares in a region: [8,h,w] of 0 and 1."""
    ys = region.top + torch.arange(region.height) + 0.5
    xs = region.left + torch.arange(region.width) + 0.5
    half = CELL_PX / 2
    return torch.stack([((ys - y).abs() < half)[:, None] & ((xs - x).abs() < half)[None, :] for x, y in CELLS]).float()


class PaintedGenerator(MobileStyleGAN):
    """Paints the region from the first eight numbers of w's first row; `out_bias` 0 lights it, 1 gives it texture."""

    def __init__(self) -> None:
        channels = (8, 8, 8, 8)
        super().__init__(channels, (1.0,) * (2 + 3 * len(channels)))
        self.resolution = CROP
        noise = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                fan_in = math.prod(parameter.shape[1:]) if parameter.ndim > 1 else 16
                parameter.copy_(torch.randn(parameter.shape, generator=noise) / math.sqrt(fan_in))
                if name.endswith(("style.bias", "up.bias")):
                    parameter.add_(1.0)
            self.out_bias.zero_()
        self.eval().requires_grad_(False)

    def region(self, w: Tensor, region: Region) -> Tensor:
        self._check(w)
        light = torch.einsum("bk,khw->bhw", w[:, 0, :MOUTH_COUNT], squares(region)) * SHADE
        across = torch.arange(region.left, region.left + region.width) * (2 * math.pi / 16)
        texture = 0.1 * torch.sin(across)[None, None, :]
        return (light + self.out_bias[0] + self.out_bias[1] * texture)[:, None].expand(-1, 3, -1, -1)


@lru_cache
def painted_generator() -> PaintedGenerator:
    """The one that all tests share; none may change it."""
    return PaintedGenerator()


def plain_statistics(axes: int = 24) -> WStatistics:
    """Whitened W whose coordinates are the first numbers of w."""
    return WStatistics(torch.zeros(WIDTH), torch.eye(axes, WIDTH))


@lru_cache
def mouth_moves() -> NDArray[np.float64]:
    """Displacements [8,68,3] of landmarks in the head frame, each of which raises one mouth number by one."""
    numbers = []
    for index in range(68 * 3):
        step = np.zeros(68 * 3)
        step[index] = 1.0
        numbers.append(mouth_shape(step.reshape(68, 3)))
    reads = np.stack(numbers, 1)
    free = [3 * point + axis for point in MOVED_POINTS for axis in (0, 1)]
    moves = np.zeros((68 * 3, MOUTH_COUNT))
    moves[free] = np.linalg.pinv(reads[:, free])
    return np.ascontiguousarray(moves.T.reshape(MOUTH_COUNT, 68, 3))


def with_mouth(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """The neutral head with its mouth numbers raised by `change` [8]."""
    return np.asarray(neutral_head() + np.tensordot(change, mouth_moves(), 1))


class ScriptedMesh(MeshNet):
    """Reads the squares of an upright face: mouth numbers = the neutral ones + brightness / SHADE + bias."""

    def __init__(self, bias: NDArray[np.float64] | None = None, scale: float = 1.0) -> None:
        nn.Module.__init__(self)
        face = tracked(neutral_head(), Place(1.0, left=0.0, top=0.0))
        crop = mesh_crop(face)
        inverse = np.asarray(np.linalg.inv(crop), np.float64)
        px = face.iod_px / crop[0, 0]
        start = transform_points(face.mesh, inverse)
        offset = np.zeros(MOUTH_COUNT) if bias is None else bias
        moves = np.zeros((MOUTH_COUNT, MESH_POINTS, 3))
        for point, pair in enumerate(MESH_PAIRS):
            for index in set(pair):
                moves[:, index] = mouth_moves()[:, point] * px
        start = start + np.tensordot(offset, moves, 1)
        self.start = torch.from_numpy(start).to(torch.float32)
        self.moves = torch.from_numpy(moves * scale).to(torch.float32)
        middles = transform_points(np.array(CELLS, np.float64), inverse)
        self.cells = [(int(x), int(y)) for x, y in middles]
        self.calls = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.shape[1:] == (3, MESH_SIZE, MESH_SIZE)
        self.calls += 1
        patches = [x[:, :, row - 1 : row + 2, column - 1 : column + 2] for column, row in self.cells]
        numbers = torch.stack([(patch.mean((1, 2, 3)) * 2 - 1) / SHADE for patch in patches], 1)
        return self.start + torch.einsum("bk,kpd->bpd", numbers, self.moves), torch.full((len(x),), 40.0)


def film(
    change: NDArray[np.float64], place: Place | None = None, size: tuple[int, int] = FRAME_SIZE, light: float = 0.0
) -> NDArray[np.uint8]:
    """A frame [H,W,3] that shows this speaker with mouth numbers `change` from neutral; a dark band is the hair."""
    place = place or Place()
    picture, half = torch.full((CROP, CROP), light), CELL_PX // 2
    for (x, y), number in zip(CELLS, change, strict=True):
        picture[y - half : y + half, x - half : x + half] += SHADE * float(number)
    picture[:300] = torch.linspace(-0.8, -0.2, CROP)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    moved = place.crop_to_frame(corners)
    matrix = np.eye(3)
    matrix[:2] = np.stack([moved[1] - moved[0], moved[2] - moved[0], moved[0]], 1)
    frame = warp(picture[None, None], np.asarray(np.linalg.inv(matrix), np.float64), size)[0, 0]
    grey = ((frame.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.repeat(grey.numpy()[:, :, None], 3, axis=2)


def painted_profile(gain: NDArray[np.float64] | None = None) -> SpeakerProfile:
    """A profile of the painted speaker whose picture answers with `gain` [8,8] (shown per asked); rest is neutral.

    The profile takes the answer to be perfect, so that any other `gain` is an error for the control loop to find.
    """
    gain = np.eye(MOUTH_COUNT) if gain is None else gain
    generator = painted_generator()
    neutral = neutral_head()
    clip = [observe(film(np.zeros(8)), tracked(neutral, Place(yaw_deg=yaw))) for yaw in (-4.0, 0.0, 4.0)]
    model = FeatureModel.fit(clip, components=1)
    slopes = torch.zeros(model.count + MOUTH_COUNT, generator.rows, WIDTH)
    slopes[model.count :, 0, :MOUTH_COUNT] = torch.from_numpy(gain.T.astype(np.float32))
    mean = mouth_shape(neutral)
    return SpeakerProfile(
        generator=generator_hash(generator), quality="painted", region=REGION,
        base=torch.zeros(generator.rows, WIDTH), slopes=slopes, features=model, rest_head=neutral,
        mouth_low=mean - 1.0, mouth_high=mean + 6.0, response=np.eye(MOUTH_COUNT), response_at_zero=mean,
        mouth_mean=mean.copy(), mouth_covariance=9.0 * np.eye(MOUTH_COUNT), grain=0.0, sharpening=0.0, weights={},
        preview=np.zeros((1, 1, 3), np.uint8), notes={},
    )  # fmt: skip


class ScriptedTracker:
    """Says of the n-th frame what it was told; None is a frame without a face."""

    def __init__(self, faces: Sequence[TrackedFace | None]) -> None:
        self.faces = list(faces)
        self.seen: list[float] = []

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        face = self.faces[len(self.seen)]
        self.seen.append(seconds)
        return TrackResult(face, "no_face" if face is None else "ok", len(self.seen) == 1)

    def reset(self) -> None:
        self.seen = []


def video_frame(rgb: NDArray[np.uint8], index: int = 0) -> VideoFrame:
    """The picture as the n-th frame of a video of 25 frames a second, with full chroma."""
    return VideoFrame.from_rgb(rgb, index, Fraction(1, 25), subsampling="444", full_range=True)
