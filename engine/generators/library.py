"""Generators of this user: the default one, and those that were imported into the cache.

An imported generator is one safetensors file, `<cache>/generators/NAME.safetensors`: weights and shape, statistics of
W, and the directions that enrolment starts from. A profile names its generator by hash, so that it finds it again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine.errors import BadInputError, ShapeError, WeightsFormatError
from engine.files import write_atomically
from engine.generators.default import load_default_generator
from engine.generators.directions import row_directions, spread, stylegan2_rows
from engine.generators.enlarged import Enlarged
from engine.generators.identity import generator_hash
from engine.generators.protocol import Generator
from engine.generators.stats import WStatistics
from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from engine.weights import cache_dir

DEFAULT: Final = "default"
"""Name of the generator that needs no import."""
FILE_VERSION: Final = 1
_KIND: Final = "livedub generator"
_EDITED_PX: Final = 1024
"""Side of the aligned crop that editing works on; smaller pictures are enlarged to it."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ReadyGenerator:
    """A generator with all that enrolment and editing need of it."""

    name: str
    """As the user calls it."""
    generator: Generator
    """The network, at the size of the aligned crop."""
    statistics: WStatistics
    """Its whitened W."""
    directions: tuple[Tensor, Tensor]
    """[2,R,K] and [8,R,K]: where enrolment starts to look for head angles and mouth numbers; zero when unknown."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the list says of an imported generator."""

    name: str
    """As the user calls it."""
    path: Path
    """Its file."""
    identity: str
    """Its hash, empty when the file is damaged."""
    report: tuple[str, ...]
    """What its import found, or what is wrong with the file."""


@dataclass(frozen=True, slots=True)
class Parts:
    """An imported generator as its file holds it."""

    model: StyleGAN2
    statistics: WStatistics
    directions: Tensor | None
    """[13,K], or None: enrolment starts from zero."""
    report: tuple[str, ...]
    """What the import found, a line each."""


def generators_dir() -> Path:
    """Folder of imported generators, beside the cached weights."""
    return cache_dir().parent / "generators"


def generator_path(name: str) -> Path:
    """Where the file of an imported generator lies, whether it is there or not.

    Raises:
        BadInputError: the name cannot be one.
    """
    if name == DEFAULT or not _NAME.fullmatch(name):
        raise BadInputError(
            f"{name!r} cannot be the name of a generator; expected small letters, digits, '.', '_' or '-', and not "
            f"{DEFAULT!r}"
        )
    return generators_dir() / f"{name}.safetensors"


def save_generator(path: Path, parts: Parts) -> str:
    """Write an imported generator; the file is there whole or not at all. Returns its hash.

    Raises:
        MediaError: the file cannot be written.
    """
    tensors = {f"model.{name}": value.contiguous() for name, value in parts.model.state_dict().items()}
    tensors |= {"statistics.mean": parts.statistics.mean, "statistics.basis": parts.statistics.basis.contiguous()}
    if parts.directions is not None:
        tensors["directions"] = parts.directions.contiguous()
    identity = generator_hash(parts.model)
    header = {
        "kind": _KIND,
        "version": str(FILE_VERSION),
        "identity": identity,
        "config": json.dumps(asdict(parts.model.config)),
        "report": json.dumps(parts.report),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, header))
    return identity


def read_generator_file(path: Path) -> Parts:
    """Read a file that `save_generator` wrote.

    Raises:
        BadInputError: there is no such file.
        WeightsFormatError: it is none of ours, damaged, of another version, or its weights are not those it names.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected a generator's .pkl, .pt or .safetensors")
    header = _header(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        settings = json.loads(header["config"])
        model = StyleGAN2(StyleGAN2Config(**settings | {"channels": tuple(settings["channels"])}))
        model.load_state_dict(_named(tensors, "model."))
        statistics = WStatistics(tensors["statistics.mean"], tensors["statistics.basis"])
        report = tuple(str(line) for line in json.loads(header["report"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsFormatError(f"{path}: the generator is damaged ({str(error)[:200]}); import it again") from error
    if (found := generator_hash(model)) != header["identity"]:
        raise WeightsFormatError(f"{path}: weights {found}, expected {header['identity']}; import the generator again")
    return Parts(model.eval().requires_grad_(False), statistics, tensors.get("directions"), report)


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            header: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsFormatError(f"{path}: not a readable safetensors file ({error}); import it again") from error
    if header.get("kind") != _KIND or header.get("version") != str(FILE_VERSION) or "identity" not in header:
        raise WeightsFormatError(
            f"{path}: holds {header.get('kind', 'no generator of livedub')} version {header.get('version', 'none')}; "
            f"expected {_KIND} version {FILE_VERSION}"
        )
    return header


def imported_generators() -> list[Known]:
    """All imported generators by name; damaged files are told as such."""
    known = []
    for path in sorted(generators_dir().glob("*.safetensors")):
        try:
            header = _header(path)
            known.append(Known(path.stem, path, header["identity"], tuple(json.loads(header.get("report", "[]")))))
        except (WeightsFormatError, ValueError) as error:
            known.append(Known(path.stem, path, "", (str(error),)))
    return known


def find_generator(name: str) -> Path:
    """The file of an imported generator.

    Raises:
        BadInputError: there is none of that name.
    """
    path = generator_path(name)
    if not path.is_file():
        names = ", ".join([DEFAULT, *(known.name for known in imported_generators())])
        raise BadInputError(f"no generator {name!r}; there are: {names}. Import one: `livedub weights import FILE`.")
    return path


def load_generator(name: str = DEFAULT) -> ReadyGenerator:
    """A generator by name, ready for enrolment and editing.

    Raises:
        BadInputError: there is none of that name.
        WeightsError: the default generator's weights cannot be had, or the file is damaged.
    """
    if name == DEFAULT:
        default = load_default_generator()
        statistics = WStatistics.sample(default)
        return ReadyGenerator(DEFAULT, default, statistics, row_directions(default.rows, len(statistics.basis)))
    path = find_generator(name)
    parts = read_generator_file(path)
    axes = len(parts.statistics.basis)
    found = torch.zeros(13, axes) if parts.directions is None else parts.directions.to(torch.float32)
    try:
        directions = spread(found, parts.model.rows, *stylegan2_rows(parts.model.rows))
    except ShapeError as error:
        raise WeightsFormatError(f"{path}: {error}; import the generator again") from error
    return ReadyGenerator(name, at_crop_size(parts.model), parts.statistics, directions)


def at_crop_size(model: StyleGAN2) -> Generator:
    """The generator at the size of the aligned crop: itself, or its enlarged pictures.

    Raises:
        WeightsFormatError: its pictures are larger than the crop.
    """
    if model.resolution > _EDITED_PX:
        raise WeightsFormatError(f"a generator of {model.resolution} px; expected at most {_EDITED_PX} px")
    return model if model.resolution == _EDITED_PX else Enlarged(model, _EDITED_PX)


def name_of(identity: str) -> str:
    """Name of the generator with a hash: of an imported one, else the default's (whose hash the profile checks)."""
    return next((known.name for known in imported_generators() if known.identity == identity), DEFAULT)


def described(parts: Parts) -> dict[str, Any]:
    """An imported generator in short, for machines."""
    config = parts.model.config
    return {
        "resolution": config.resolution,
        "rows": parts.model.rows,
        "channels": list(config.channels),
        "z": config.noise_width,
        "w": config.width,
        "mapping_layers": config.mapping_layers,
        "noise": config.noise,
        "clamp": config.clamp,
        "directions": parts.directions is not None,
        "report": list(parts.report),
    }
