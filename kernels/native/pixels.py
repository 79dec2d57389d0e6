"""The loops of `pixels.cpp`, compiled once for this machine and kept beside the other packages.

They do what forms by the library's operations do, two to five times as fast, with the same numbers up to rounding, and
leave Python's lock while they run. Nobody uses them unasked: within `using` the functions that have such a form take
it, in that thread, for pictures in the processor's memory that ask for no gradient.

Letters: C channels (up to four), H and W sizes of a picture, h and w of another one.
"""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from kernels.backends.aoti import compiler, processor
from kernels.errors import BackendUnavailable

_SOURCE: Final = Path(__file__).with_name("pixels.cpp")
_FLAGS: Final = (
    "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-shared",
    "-fPIC",
)  # fmt: skip
_MOST_CHANNELS: Final = 4
_LONGEST_S: Final = 120


@dataclass(frozen=True)
class Pixels:
    """The loaded loops. Shapes are the callers' to check: they are written beside the forms that have them."""

    library: ctypes.CDLL
    """As it was compiled."""
    path: Path
    """Where it lies."""

    def resample(
        self,
        picture: Tensor,
        matrix: NDArray[np.float64],
        size: tuple[int, int],
        samples: int,
        cubic: bool,
        step: int = 1,
    ) -> Tensor:
        """Sample a picture at an affine grid, its border repeated outside.

        Args:
            picture: [1,C,H,W] float32, in any order in memory.
            matrix: [2,3] place in the new picture (continuous, from its corner) -> place in the picture, as `step`
                leaves it, counted from the centre of its first pixel.
            size: h and w.
            samples: points per pixel and axis whose mean is taken.
            cubic: four pixels each way, not two.
            step: means of blocks of so many pixels each way are sampled, not the pixels; where the last block is not
                whole the border is repeated.

        Returns:
            [1,C,h,w].
        """
        found = torch.empty(1, picture.shape[1], *size)
        wanted, pixels = np.ascontiguousarray(matrix, np.float64), self._side_by_side(picture, step)
        self.library.resample(
            _at(pixels), *pixels.shape[:2], ctypes.c_void_p(wanted.ctypes.data), samples,
            int(cubic), picture.shape[1], _at(found), *size,
        )  # fmt: skip
        return found

    def displaced(self, picture: Tensor, shift: Tensor, step: int) -> Tensor:
        """Each pixel from where it is shifted to, by cubic convolution: [1,C,H,W] -> [1,C,H,W].

        Args:
            picture: [1,C,H,W] float32, in any order in memory.
            shift: [2,H/step,W/step] float32, px to the right and down; enlarged bilinearly.
            step: how much smaller that map is.
        """
        found, line = torch.empty(picture.shape), torch.empty(2, shift.shape[2] + 1)
        coarse, pixels = shift.contiguous(), self._side_by_side(picture)
        self.library.displace(
            _at(pixels), *picture.shape[2:], _at(coarse), *coarse.shape[1:], step, picture.shape[1], _at(line),
            _at(found),
        )  # fmt: skip
        return found

    def shrunk(self, picture: Tensor, step: int) -> Tensor:
        """Means of blocks of `step` pixels each way: [B,C,H,W] -> [B,C,H/step,W/step]."""
        picture = picture.contiguous()
        small = torch.empty(*picture.shape[:2], picture.shape[2] // step, picture.shape[3] // step)
        for plane, target in zip(picture.flatten(0, 1), small.flatten(0, 1), strict=True):
            self.library.shrink(_at(plane), *plane.shape, step, _at(target))
        return small

    def with_enlarged(self, picture: Tensor, small: Tensor, step: int, factor: float) -> Tensor:
        """A picture [B,C,H,W] plus a factor times a map [B,C,H/step,W/step] that is enlarged bilinearly."""
        picture, small = picture.contiguous(), small.contiguous()
        found, line = torch.empty(picture.shape), torch.empty(small.shape[3])
        for plane, coarse, target in zip(picture.flatten(0, 1), small.flatten(0, 1), found.flatten(0, 1), strict=True):
            self.library.add_enlarged(
                _at(plane), *plane.shape, _at(coarse), step, ctypes.c_float(factor), _at(line), _at(target)
            )
        return found

    def sharpened(self, picture: Tensor, weights: Tensor, share: float) -> Tensor:
        """A picture plus a share of what a blur takes away, the border's pixels repeated outside.

        Args:
            picture: [B,C,H,W] float32.
            weights: [2 r + 1] float32 of the blur along each axis, the same both ways; H and W at least 2.
            share: of the difference that is added.
        """
        picture, weights = picture.contiguous(), weights.contiguous()
        reach = len(weights) // 2
        found, line = torch.empty(picture.shape), torch.empty(picture.shape[3] + 2 * reach)
        for plane, target in zip(picture.flatten(0, 1), found.flatten(0, 1), strict=True):
            self.library.sharpen(
                _at(plane), *plane.shape, _at(weights), reach, ctypes.c_float(share), _at(line), _at(target)
            )
        return found

    def scattered(
        self, places: Tensor, values: Tensor, near: float, still: float, step: int, size: tuple[int, int]
    ) -> Tensor:
        """Values known at some places, everywhere: inverse cubic distance weighting (Shepard 1968), to zero far away.

        Args:
            places: [N,2] float32, px to the right and down.
            values: [N,2] float32.
            near: distance in px below which a place's weight hardly grows.
            still: weight of zero.
            step: px between the places asked for; the first lies half a step inside.
            size: rows and columns of these.

        Returns:
            [2,*size].
        """
        found, columns = torch.empty(2, *size), places.T.contiguous()
        known = values.T.contiguous()
        self.library.scatter(
            _at(columns), _at(known), len(places), ctypes.c_float(near * near), ctypes.c_float(still), step, *size,
            _at(found),
        )  # fmt: skip
        return found

    def edge_strength(
        self, plane: NDArray[np.float32], inside: NDArray[np.bool_], block: int
    ) -> tuple[float, Tensor, Tensor]:
        """The Laplacian (4 neighbours, the border repeated) of [H,W]: its variance, and its mean square in blocks.

        Args:
            plane: [H,W].
            inside: [H,W] where the variance counts; somewhere at least.
            block: side of the blocks, px.

        Returns:
            The variance; [H/block,W/block] mean squares; and which share of each block lies inside.
        """
        plane, inside = np.ascontiguousarray(plane, np.float32), np.ascontiguousarray(inside, np.bool_)
        strength = torch.empty(plane.shape[0] // block, plane.shape[1] // block)
        whole, sums = torch.empty_like(strength), np.zeros(3)
        first, second, third = (ctypes.c_void_p(each.ctypes.data) for each in (plane, inside, sums))
        self.library.edge_strength(first, second, *plane.shape, block, third, _at(strength), _at(whole))
        count, total, squares = sums.tolist()
        return max(0.0, squares / count - (total / count) ** 2), strength, whole

    def _side_by_side(self, picture: Tensor, step: int = 1) -> Tensor:
        """[H/step,W/step,4]: the channels of a pixel next to each other, where there are fewer the first again."""
        _, channels, height, width = picture.shape
        pixels = torch.empty(-(-height // step), -(-width // step), _MOST_CHANNELS)
        plane, row, pixel = (ctypes.c_int64(picture.stride(axis)) for axis in (1, 2, 3))
        self.library.side_by_side(_at(picture), plane, row, pixel, channels, height, width, step, _at(pixels))
        return pixels


_USED: Final[ContextVar[Pixels | None]] = ContextVar("livedub_pixels", default=None)


def fits(*pictures: Tensor) -> Pixels | None:
    """The loops, where they are used and these pictures [1,C,H,W] are such as they take; else None."""
    loops = _USED.get()
    if loops is None or any(_refused(each) for each in pictures):
        return None
    return loops


def _refused(picture: Tensor) -> bool:
    """Whether a picture is not such as the loops take."""
    graded = picture.requires_grad and torch.is_grad_enabled()
    plain = picture.dtype == torch.float32 and picture.device.type == "cpu" and picture.ndim == 4
    return graded or not plain or picture.shape[0] != 1 or picture.shape[1] > _MOST_CHANNELS


@contextmanager
def using(loops: Pixels | None) -> Iterator[None]:
    """Within this block, in this thread, functions that have a form by these loops take it; None: none does."""
    token = _USED.set(loops)
    try:
        yield
    finally:
        _USED.reset(token)


def library_path(folder: Path) -> Path:
    """Where the library of this source, this machine's instructions and these flags lies in a folder."""
    parts = (_SOURCE.read_bytes() if _SOURCE.exists() else b"", processor(), _FLAGS)
    return folder / f"pixels-{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}.so"


def load(folder: Path, may_compile: bool) -> Pixels:
    """The loops: loaded from a folder of packages, compiled first where that is allowed.

    Args:
        folder: where the library is kept; made when missing.
        may_compile: whether a compiler may be called; it takes a second.

    Raises:
        BackendUnavailable: it is not there and may not or cannot be compiled, or it cannot be loaded.
    """
    path = library_path(folder)
    if not _SOURCE.exists():
        raise BackendUnavailable(f"{_SOURCE} is missing: install livedub again")
    if not path.exists():
        if not may_compile:
            raise BackendUnavailable("not compiled on this machine yet; `livedub compile` does it, once")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _build(path)
    try:
        return Pixels(ctypes.CDLL(str(path)), path)
    except OSError as error:
        raise BackendUnavailable(f"{path} cannot be loaded ({error}); remove it and run `livedub compile`") from error


def _build(path: Path) -> None:
    """Compile the source into a file, which appears when it is whole."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command: Sequence[str] = (compiler(), *_FLAGS, str(_SOURCE), "-o", str(made))
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LONGEST_S)
        except subprocess.CalledProcessError as error:
            raise BackendUnavailable(f"{command[0]} could not compile {_SOURCE.name}: {error.stderr[-400:]}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendUnavailable(f"{command[0]} could not compile {_SOURCE.name}: {error}") from error
        os.replace(made, path)


def _at(value: Tensor) -> ctypes.c_void_p:
    """Where a tensor's numbers lie; it must have a name until the call is over, or they are gone before."""
    return ctypes.c_void_p(value.data_ptr())
