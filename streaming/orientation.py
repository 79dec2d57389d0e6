"""Turning coded pictures upright and back, losslessly, as a file's display matrix says."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType

from engine.media import Plane, VideoFrame

DisplayMatrix = tuple[int, int, int, int, int, int, int, int, int]
"""Nine integers as FFmpeg stores them: rows (a b u)(c d v)(x y w), a to d and x, y in 16.16 fixed point."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways a camera can be held: transpose first, then the flips, gives the upright picture."""

    transpose: bool = False
    """Rows become columns."""
    flip_rows: bool = False
    """Top and bottom change places (after the transposition)."""
    flip_columns: bool = False
    """Left and right change places (after the transposition)."""
    matrix: DisplayMatrix | None = None
    """The file's own matrix, to be written back as it was."""

    @classmethod
    def from_matrix(cls, matrix: DisplayMatrix) -> "Orientation":
        """The orientation that a display matrix asks for; angles between the quarter turns are left to players."""
        a, b, _, c, d = matrix[:5]
        if a and d and not b and not c:
            return cls(False, d < 0, a < 0, matrix)
        if b and c and not a and not d:
            return cls(True, b < 0, c < 0, matrix)
        return cls(matrix=matrix)

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """The orientation that a decoded frame carries."""
        try:
            entries = cast("Iterable[SideData]", frame.side_data)
            data = next((entry for entry in entries if entry.type is SideDataType.DISPLAYMATRIX), None)
        except ValueError:
            # PyAV's list of side data types is older than its FFmpeg: one unknown entry and none can be read
            return cls.from_degrees(frame.rotation)
        if data is None:
            return cls()
        values = struct.unpack("=9i", bytes(data)[:36])
        return cls.from_matrix(values)

    @classmethod
    def from_degrees(cls, degrees: int) -> "Orientation":
        """The orientation of a picture to be shown turned counter-clockwise by a multiple of 90 degrees."""
        one = 1 << 16
        turns = {0: (one, 0, 0, one), 90: (0, -one, one, 0), 180: (-one, 0, 0, -one), 270: (0, one, -one, 0)}
        if degrees % 360 == 0 or degrees % 360 not in turns:
            return cls()
        a, b, c, d = turns[degrees % 360]
        return cls.from_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))

    def upright(self, plane: Plane) -> Plane:
        """A coded plane turned upright, as a new array."""
        turned = plane.T if self.transpose else plane
        turned = turned[::-1] if self.flip_rows else turned
        return np.array(turned[:, ::-1] if self.flip_columns else turned, order="C")

    def coded(self, plane: Plane) -> Plane:
        """An upright plane turned back to the way it was coded, as a new array."""
        turned = plane[:, ::-1] if self.flip_columns else plane
        turned = turned[::-1] if self.flip_rows else turned
        return np.array(turned.T if self.transpose else turned, order="C")

    def upright_frame(self, frame: VideoFrame) -> VideoFrame:
        """A coded frame turned upright (itself where there is nothing to turn).

        4:2:2 on its side has no name and becomes 4:4:4 by repeating chroma.
        """
        if not (self.transpose or self.flip_rows or self.flip_columns):
            return frame
        if self.transpose and frame.subsampling == "422":
            luma, *chroma = frame.planes
            u, v = (np.repeat(plane, 2, axis=1)[:, : frame.width] for plane in chroma)
            frame = replace(frame, planes=(luma, u, v), subsampling="444")
        y, u, v = (self.upright(plane) for plane in frame.planes)
        return replace(frame, planes=(y, u, v))
