"""An enrolment that was broken off is taken up again: the joint fit's state is kept on disk while it runs.

The file holds the inversion's code, what is fitted, the optimiser's moments and the moving mean: a fit that goes on
from it gives the same numbers as one that was never broken off. It names what it belongs to by a hash of the generator,
the settings and the frames, and is not used for anything else.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine.files import write_atomically

_KIND: Final = "livedub unfinished enrolment"
_EVERY_S: Final = 30.0
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
"""What Adam knows of each tensor."""


@dataclass(frozen=True, slots=True)
class FitState:
    """All that changes from step to step of a fit."""

    fitted: Sequence[Tensor]
    """What is fitted."""
    optimiser: torch.optim.Optimizer
    """Adam, with a group for each of them."""
    means: list[Tensor]
    """Their moving means; empty before averaging has begun."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name; what has had no gradient yet has no moments."""
        found = {f"fitted.{n}": part.detach() for n, part in enumerate(self.fitted)}
        found |= {f"mean.{n}": part for n, part in enumerate(self.means)}
        for n, part in enumerate(self.fitted):
            if part in self.optimiser.state:
                found |= {f"{name}.{n}": self.optimiser.state[part][name] for name in _MOMENTS}
        return {name: value.contiguous() for name, value in found.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, in place.

        Raises:
            KeyError: a part is missing.
            RuntimeError: a part has another shape.
        """
        with torch.no_grad():
            for n, part in enumerate(self.fitted):
                part.copy_(tensors[f"fitted.{n}"])
                if f"{_MOMENTS[0]}.{n}" in tensors:
                    self.optimiser.state[part] = {name: tensors[f"{name}.{n}"].clone() for name in _MOMENTS}
        names = [f"mean.{n}" for n in range(len(self.fitted))]
        self.means[:] = [tensors[name].clone() for name in names] if names[0] in tensors else []


def fit_key(*parts: object) -> str:
    """Hash of all that a fit's result depends on: tensors by their numbers, all else by its text."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(repr((tuple(part.shape), part.dtype)).encode() + part.contiguous().numpy().tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


class Kept:
    """The file of one unfinished enrolment.

    Args:
        path: the file, there or not.
        every_s: seconds between two writings.
        clock: gives seconds.
    """

    def __init__(self, path: Path, every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet."""
        self._path: Final = path
        self._every_s: Final = every_s
        self._clock: Final = clock
        self._written = clock()
        self._key = ""
        self._code: Tensor | None = None
        self._tensors: dict[str, Tensor] = {}
        self._header: dict[str, str] = {}

    def open(self, key: str) -> None:
        """Look for what was kept under this key; a file of something else, or a damaged one, counts for nothing."""
        self._key, self._code, self._tensors, self._header = key, None, {}, {}
        if not self._path.is_file():
            return
        try:
            with safe_open(self._path, "pt") as file:
                header = file.metadata() or {}
                if header.get("kind") != _KIND or header.get("key") != key:
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError):
            return
        self._header, self._tensors = header, tensors
        self._code = self._tensors.pop("code", None)

    @property
    def code(self) -> Tensor | None:
        """[R,K] code of the inversion, if it was kept."""
        return self._code

    def keep_code(self, code: Tensor) -> None:
        """Keep the inversion's code."""
        self._code = code
        self._write({}, {})

    def restore(self, state: FitState) -> tuple[int, list[float]]:
        """Take up a fit: steps that are done, and their losses; 0 and none where nothing was kept."""
        if not self._tensors:
            return 0, []
        state.load(self._tensors)
        self._tensors = {}
        losses: list[float] = json.loads(self._header["losses"])
        return len(losses), losses

    def offer(self, losses: Sequence[float], state: FitState) -> None:
        """Keep a fit after a step, if the last writing is long enough ago."""
        if self._clock() - self._written >= self._every_s:
            self._write(state.tensors(), {"losses": json.dumps(list(losses))})

    def _write(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        if self._code is not None:
            tensors = tensors | {"code": self._code.detach().contiguous()}
        write_atomically(self._path, save(tensors, {"kind": _KIND, "key": self._key, **header}))
        self._written = self._clock()
