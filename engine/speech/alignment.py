"""From the mean face that speech moves to the speaker in the frame: where the landmarks should be.

Two ways behind one interface. `GeometricAlignment` adds the displacement to the speaker's rest face: head pose and
scale do the rest. `NetworkAlignment` corrects that with cross-attention: the query is a predicted landmark, key and
value are the frame's own landmarks, the answer is how far that landmark lies from where geometry puts it. All of it in
the head frame, inter-ocular distances; letters: B faces, P aligned landmarks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from engine.editing.mouth import MOVED_POINTS
from engine.errors import BadInputError, ShapeError, WeightsError, WeightsFormatError
from engine.tracking.pose import HeadPose
from kernels.tracing import is_tracing

ALIGNMENTS: Final = ("geometric", "network")
"""Names of the ways that there are."""
SHIPPED: Final = Path(__file__).with_name("alignment.safetensors")
"""The network's weights that come with the package."""

_ANGLE_UNIT_DEG: Final = 20.0
_MOTION_UNIT: Final = 10.0
"""Differences are a tenth of a face: they are scaled to about one."""
_OUT_UNIT: Final = 0.02
_FURTHEST: Final = 0.08
"""Largest correction of a coordinate: what a tracker's noise, a pose's error and a stranger's shape can explain."""


class Alignment(Protocol):
    """Places what speech asks on the speaker in the frame."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Wanted landmarks in the head frame.

        Args:
            own: [68,3] the frame's own landmarks.
            rest: [68,3] the speaker's rest face.
            pose: the head's pose in the frame.
            displacement: [68,3] what speech asks of the mean face.

        Returns:
            [68,3]: the frame's own, with jaw and mouth (`MOVED_POINTS`) where they should be.
        """


def _check(own: NDArray[np.float64], rest: NDArray[np.float64], displacement: NDArray[Any]) -> None:
    if not own.shape == rest.shape == displacement.shape == (68, 3):
        raise ShapeError(f"landmarks {own.shape}, rest {rest.shape}, displacement {displacement.shape}; all [68, 3]")


class GeometricAlignment:
    """The displacement on the speaker's rest face."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[Any]
    ) -> NDArray[np.float64]:
        """As `Alignment.place`; the pose acts when the head frame is left."""
        _check(own, rest, displacement)
        head = own.astype(np.float64)
        head[MOVED_POINTS] = rest[MOVED_POINTS] + displacement[MOVED_POINTS]
        return head


class _CrossAttention(nn.Module):
    """One pre-norm layer: queries [B, P, D] look at keys and values [B, N, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, own: Tensor) -> Tensor:
        """x: [B, P, D], own: [B, N, D] -> [B, P, D]."""
        batch, points, width = x.shape
        depth = width // self.heads
        query = self.query(self.query_norm(x)).view(batch, points, self.heads, depth).transpose(1, 2)
        both = self.key_value(own).view(batch, own.shape[1], 2, self.heads, depth).permute(2, 0, 3, 1, 4)
        seen = _attended(query, both[0], both[1])
        x = x + cast(Tensor, self.project(seen.transpose(1, 2).reshape(batch, points, width)))
        return x + cast(Tensor, self.mlp(self.mlp_norm(x)))


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention of [B,heads,P,depth] to [B,heads,N,depth]; in single operations for a graph."""
    if not is_tracing():
        return functional.scaled_dot_product_attention(query, key, value)
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    return torch.softmax(scores, 3) @ value


class AlignmentNet(nn.Module):
    """How far the wanted landmarks lie from where geometry puts them."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        """Starts as pure geometry: the last layer is zero."""
        super().__init__()
        self.sizes = {"width": width, "heads": heads, "layers": layers}
        self.own_place = nn.Parameter(0.02 * torch.randn(68, width))
        self.own_read = nn.Linear(9, width)
        self.own_norm = nn.LayerNorm(width)
        self.query_place = nn.Parameter(0.02 * torch.randn(len(MOVED_POINTS), width))
        self.query_read = nn.Linear(9, width)
        self.layers = nn.ModuleList(_CrossAttention(width, heads) for _ in range(layers))
        self.out_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, own: Tensor, rest: Tensor, angles: Tensor, displacement: Tensor) -> Tensor:
        """Correct the geometric places.

        Args:
            own: [B,68,3] the frame's own landmarks.
            rest: [B,68,3] the speaker's rest face.
            angles: [B,3] yaw, pitch, roll in degrees.
            displacement: [B,68,3] what speech asks of the mean face.

        Returns:
            [B,P,3]: what is to be added to rest + displacement at `MOVED_POINTS`.
        """
        if not own.shape == rest.shape == displacement.shape or own.ndim != 3 or own.shape[1:] != (68, 3):
            raise ShapeError(
                f"own {tuple(own.shape)}, rest {tuple(rest.shape)}, displacement {tuple(displacement.shape)}; "
                "expected [B, 68, 3] of each"
            )
        if angles.shape != (len(own), 3):
            raise ShapeError(f"angles are {tuple(angles.shape)}, expected [{len(own)}, 3]")
        turned = (angles / _ANGLE_UNIT_DEG)[:, None]
        difference = (own - rest) * _MOTION_UNIT
        keys = torch.cat([own, difference, turned.expand(-1, 68, -1)], dim=2)
        keys = self.own_norm(self.own_read(keys) + self.own_place)
        moved = torch.from_numpy(MOVED_POINTS)
        asked = displacement[:, moved] * _MOTION_UNIT
        queries = torch.cat([rest[:, moved] + displacement[:, moved], asked, turned.expand(-1, len(moved), -1)], dim=2)
        x = self.query_read(queries) + self.query_place
        for layer in self.layers:
            x = layer(x, keys)
        correction = self.out(self.out_norm(x)) * _OUT_UNIT
        return _FURTHEST * torch.tanh(correction / _FURTHEST)


class Corrections(nn.Module):
    """An alignment network that gives a tuple of tensors, as backends take networks."""

    def __init__(self, network: AlignmentNet) -> None:
        """Takes the network."""
        super().__init__()
        self.network = network

    def forward(self, own: Tensor, rest: Tensor, angles: Tensor, displacement: Tensor) -> tuple[Tensor, ...]:
        """As `AlignmentNet`: (corrections [B,P,3],)."""
        return (self.network(own, rest, angles, displacement),)


class NetworkAlignment:
    """Geometry, corrected by the network."""

    def __init__(self, network: AlignmentNet) -> None:
        """Takes a trained network, which it freezes."""
        self.network: Final = Corrections(network.eval().requires_grad_(False))
        """What is run, eagerly."""
        self._run: Callable[..., tuple[Tensor, ...]] = self.network

    def use(self, runner: Callable[..., tuple[Tensor, ...]]) -> None:
        """Run something else in place of `network`: the same inputs and results, without gradient."""
        self._run = runner

    @torch.inference_mode()
    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[Any]
    ) -> NDArray[np.float64]:
        """As `Alignment.place`."""
        head = GeometricAlignment().place(own, rest, pose, displacement)
        angles = torch.tensor([[pose.yaw_deg, pose.pitch_deg, pose.roll_deg]], dtype=torch.float32)
        faces = (torch.from_numpy(np.asarray(part, np.float32))[None] for part in (own, rest, displacement))
        seen, resting, asked = faces
        head[MOVED_POINTS] += self._run(seen, resting, angles, asked)[0][0].numpy()
        return head


def read_alignment_net(path: Path = SHIPPED) -> AlignmentNet:
    """The network of a file that `livedub train alignment` wrote; the shipped one by default."""
    if not path.is_file():
        raise WeightsError(f"{path} is not there, expected the alignment's weights; reinstall, or name another file")
    try:
        with safe_open(path, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name).float() for name in archive.keys()}  # noqa: SIM118  (not a dict)
        network = AlignmentNet(int(header["width"]), int(header["heads"]), int(header["layers"]))
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsFormatError(f"{path} does not hold an alignment network: {error}; train it again") from error
    return network


def create_alignment(name: str) -> Alignment:
    """The way of that name, one of `ALIGNMENTS`."""
    if name == "geometric":
        return GeometricAlignment()
    if name == "network":
        return NetworkAlignment(read_alignment_net())
    raise BadInputError(f"alignment is {name!r}, expected one of {', '.join(ALIGNMENTS)}")
