"""Importing a public checkpoint: read it, measure what editing needs of it, keep it in the cache.

Measured once, here: the coarse read-out (generators above 256 px), the statistics of W, and the directions in which
its faces turn and move their mouths. The last cost most: one small picture a face, looked at by the face tracker.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engine.errors import BadInputError, NoFaceError
from engine.generators.coarse import fit_coarse
from engine.generators.library import Parts, at_crop_size, generator_path, read_generator_file, save_generator
from engine.generators.readers import read_generator
from engine.generators.stats import AXES, WStatistics
from engine.generators.stylegan2 import NoiseMode, StyleGAN2
from engine.tracking.tracker import FaceTracker
from engine.training.directions import regress, sample_faces

Report = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""
_TRUSTED: Final = 100
"""Faces below which directions are said to be rough."""


@dataclass(frozen=True, slots=True)
class ImportConfig:
    """What an import measures."""

    noise: NoiseMode = "const"
    """Whether the noise that came with the weights is kept."""
    faces: int = 600
    """Random faces that the directions are regressed on; 0: enrolments start without directions."""
    coarse_faces: int = 16
    """Random faces that the coarse read-out is fitted on."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            BadInputError: a value is out of range.
        """
        if not (self.faces == 0 or 20 <= self.faces <= 100_000) or not 1 <= self.coarse_faces <= 10_000:
            raise BadInputError(
                f"{self.faces} faces, {self.coarse_faces} coarse faces; expected 0 or 20 to 100000, and 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Imported:
    """A finished import."""

    name: str
    """As the user calls it from now on."""
    path: Path
    """Its file."""
    identity: str
    """Its hash, as profiles name it."""
    parts: Parts
    """What the file holds."""


def default_name(source: Path) -> str:
    """A name made of a file's own: small letters, and nothing that a file name cannot have."""
    text = re.sub(r"[^a-z0-9._-]+", "-", source.stem.lower()).strip("-._")
    return text[:64] or "generator"


def import_generator(source: Path, name: str | None, config: ImportConfig, report: Report) -> Imported:
    """Read a checkpoint, measure it and keep it.

    Args:
        source: a file of a public repository, or one that another livedub imported.
        name: as it is to be called; None makes one of the file's name.
        config: what to measure.
        report: progress.

    Raises:
        BadInputError: there is no such file, or the name is taken or none.
        WeightsFormatError: the file holds no StyleGAN2, or is damaged.
        WeightsError: the face tracker's weights cannot be had.
    """
    called = name or default_name(source)
    path = generator_path(called)
    if path.exists():
        raise BadInputError(f"there is a generator {called!r} already; choose another --name, or remove {path}")
    if source.suffix == ".safetensors":
        parts = read_generator_file(source)
    else:
        model, findings = read_generator(source, config.noise)
        parts = _measured(model, tuple(findings.lines()), config, report)
    return Imported(called, path, save_generator(path, parts), parts)


def _measured(model: StyleGAN2, lines: tuple[str, ...], config: ImportConfig, report: Report) -> Parts:
    at_crop_size(model)  # refuses what cannot be edited, before minutes are spent
    if model.coarse_weight is not None:
        fit = fit_coarse(model, config.coarse_faces, progress=lambda d, n: report("fitting the small picture", d, n))
        with torch.no_grad():
            model.coarse_weight.copy_(fit.weight[:, :, None, None])
        lines = (
            *lines,
            f"small picture: read at {model.coarse_resolution} px, explains {fit.explained:.3f} of the variance",
        )
    statistics = WStatistics.sample(model, axes=min(AXES, model.width))
    directions, line = _directions(model, statistics, config.faces, report)
    return Parts(model, statistics, directions, (*lines, line))


def _directions(model: StyleGAN2, statistics: WStatistics, faces: int, report: Report) -> tuple[Tensor | None, str]:
    """Directions [13,K], and what to say of them."""
    if faces == 0:
        return (
            None,
            "directions: none, as asked; enrolments start from zero and learn less of what the clip does not show",
        )
    try:
        codes, numbers = sample_faces(
            model, FaceTracker.from_cache(), faces, progress=lambda d, n: report("looking at its faces", d, n)
        )
    except NoFaceError as error:
        return None, f"directions: none ({error}); enrolments start from zero"
    found = torch.from_numpy(regress(codes, numbers, statistics)).to(torch.float32)
    rough = " (few: rough)" if len(codes) < _TRUSTED else ""
    return found, f"directions: regressed on {len(codes)} of its faces{rough}"
