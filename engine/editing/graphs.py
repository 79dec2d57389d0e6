"""The edit's work as pure functions of tensors with static shapes, made to be traced and compiled (`kernels`).

They compute what `editor`, `meter` and `refine` compute, from the same networks:

- `predicted`: features and asked-for mouth numbers -> w -> the region's pixels: a frame of effort 0.
- `measured`: the region's pixels -> landmarks of the frame with them laid over: a correction's measurement.
- `wplus_step`: one Adam step on the W+ offset under the full objective: effort 2 and more.

Letters: R rows of W+, D = 512, K axes of whitened W, F features (mouth numbers last), h and w sizes of the region.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig, RefineProblem, looks_of, objective
from engine.editing.sampling import resampling
from engine.generators.protocol import Generator, Region
from engine.generators.stats import WStatistics
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE, MeshNet
from kernels.flat import FlatGraph, trace
from kernels.lowering import Lowering, lowered, with_fewer_casts
from kernels.step import AdamConfig, Step, optimisation_step

Function = Callable[..., tuple[Tensor, ...]]
BETA2: Final = 0.99
"""Decay of Adam's mean of squares, as `refine` has it."""


@dataclass(frozen=True, slots=True)
class View:
    """How the face mesh sees a frame with the region laid over; all that differs from frame to frame, as tensors."""

    rows: Tensor
    """[192,h] resampling of the region's rows to the mesh's crop."""
    columns: Tensor
    """[192,w] the same of its columns."""
    face: Tensor
    """[1,3,192,192] the frame in the mesh's crop, 0...1."""
    mask: Tensor
    """[1,1,192,192] share of the region in it."""
    crop: Tensor
    """[3,3] px of the crop -> px of the frame; float32."""

    @classmethod
    def of(
        cls, matrix: NDArray[np.float64], crop: NDArray[np.float64], face: Tensor, mask: Tensor, region: Region
    ) -> Self:
        """From the matrices of a `MouthMeter`: px of the mesh's crop -> px of the region, and -> px of the frame.

        Raises:
            ShapeError: the two crops are turned against each other.
        """
        rows, columns = resampling(matrix, (region.height, region.width), MESH_SIZE)
        return cls(rows, columns, face, mask, torch.from_numpy(crop.astype(np.float32)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In the order of the fields."""
        return tuple(getattr(self, item.name) for item in fields(self))


@dataclass(frozen=True, slots=True)
class StepData:
    """What a W+ step takes beside its state and the view."""

    w: Tensor
    """[R,D] predicted."""
    last: Tensor
    """[R,K] last frame's offset."""
    target: Tensor
    """[68,2] px of the frame."""
    iod: Tensor
    """Scalar, inter-ocular distance in px of the frame."""
    source: Tensor
    """[1,3,h,w] the frame's own region, -1...1."""
    edge: Tensor
    """[1,1,h,w] weight of the mask's soft edge."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In the order of the fields; the source's channels side by side in memory, as a rendered picture's are."""
        source = self.source.contiguous(memory_format=torch.channels_last)
        return self.w, self.last, self.target, self.iod, source, self.edge


def rendered(generator: Generator, region: Region) -> Function:
    """W [R,D] -> the region's pixels [1,3,h,w]."""

    def render(w: Tensor) -> tuple[Tensor, ...]:
        """Code [R,D] -> (pixels [1,3,h,w],)."""
        return (generator.region(w[None], region),)

    return render


def predicted(generator: Generator, region: Region, base: Tensor, slopes: Tensor) -> Function:
    """Features [1,F] as differences from the clip's mean -> w [R,D] and the region's pixels [1,3,h,w].

    Rows are computed one by one, so that the product with a row's directions and the product with its layer's style
    weights can be made one (`kernels.lowering`).

    Args:
        generator: the speaker's.
        region: the part that is edited.
        base: [R,D] w at features of zero.
        slopes: [F,R,D] change of w per feature.
    """

    def predict(features: Tensor) -> tuple[Tensor, ...]:
        """Features [F] -> what effort 0 shows."""
        rows = [base[None, row] + torch.mm(features, slopes[:, row]) for row in range(base.shape[0])]
        w = torch.stack(rows, 1)
        return w[0], generator.region(w, region)

    return predict


def measured(mesh: MeshNet) -> Function:
    """Region's pixels [1,3,h,w] and a `View` -> landmarks [68,3] px of the frame with the region laid over."""

    def measure(picture: Tensor, *view: Tensor) -> tuple[Tensor, ...]:
        """Pixels of the region -> landmarks that the mesh reads."""
        return (points_of(mesh, picture, View(*view))[0],)

    return measure


def points_of(mesh: MeshNet, picture: Tensor, view: View) -> Tensor:
    """Landmarks [1,68,3] px of the frame with `picture` [1,3,h,w] laid over, as `MouthMeter.points` gives them."""
    patch = (view.rows @ picture @ view.columns.T) * 0.5 + 0.5
    composite = view.face + view.mask * (patch.clamp(0, 1) - view.face)
    points = mesh_to_68(mesh(composite)[0])
    linear = view.crop[:2, :2]
    depth = torch.sqrt((linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]).abs())
    flat = points[..., :2] @ linear.T + view.crop[:2, 2]
    return torch.cat([flat, points[..., 2:] * depth], -1)


def goal_of(perceptual: PerceptualLoss, config: RefineConfig) -> Function:
    """Predicted picture [1,3,h,w] -> the features that a W+ step compares with."""

    def goal(picture: Tensor) -> tuple[Tensor, ...]:
        """Features of the predicted picture."""
        return tuple(looks_of(perceptual, picture, config))

    return goal


def wplus_step(
    render: Callable[[Tensor], Tensor],
    mesh: MeshNet,
    perceptual: PerceptualLoss,
    statistics: WStatistics,
    weight: Tensor,
    config: RefineConfig,
) -> Step:
    """One step of `refine`, as `kernels.step` lays it down: data are `StepData`, a `View` and the goal's features.

    Args:
        render: w [R,D] -> the region's pixels [1,3,h,w].
        mesh: the face mesh.
        perceptual: the distance.
        statistics: whitened W.
        weight: [68] weight of each landmark.
        config: weights and rate.
    """

    def loss(offset: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        """What a W+ step makes small, at an offset [R,K]."""
        step, view, goal = StepData(*data[:6]), View(*data[6:11]), list(data[11:])
        picture = render(step.w + offset @ statistics.basis)
        problem = RefineProblem(
            step.w, render, lambda seen: points_of(mesh, seen, view), step.target, weight, step.iod, step.source,
            step.edge,
        )  # fmt: skip
        return (objective(problem, picture, offset, step.last, goal, perceptual, config),)

    return optimisation_step(loss, AdamConfig(config.rate, config.beta1, BETA2))


def step_graph(
    render: FlatGraph,
    stepping: Callable[[Function], Step],
    examples: tuple[Tensor, ...],
    narrow: torch.dtype | None,
    portable: bool = False,
) -> FlatGraph:
    """A W+ step as a graph with a lowered render.

    The mesh and its view of the picture stay float32, as landmarks are read to a hundredth of a pixel.

    Args:
        render: `rendered`, traced.
        stepping: makes a step (`wplus_step`) of such a function.
        examples: inputs of the step.
        narrow: what the generator's convolutions run in; None: float32.
        portable: whether the graph will leave torch (`kernels.decompositions.table`).
    """
    lowering = Lowering.portable(narrow) if portable else Lowering(narrow=narrow)
    return with_fewer_casts(trace(stepping(lowered(render, lowering)), examples, portable))
