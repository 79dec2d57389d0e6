"""What enrolment saves of a speaker: one safetensors file, bound to the generator it was made with."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine.editing.features import MOUTH_COUNT, FeatureModel
from engine.errors import ProfileError, ShapeError
from engine.files import write_atomically
from engine.generators.protocol import Region

PROFILE_VERSION: Final = 2
_KIND: Final = "livedub speaker profile"
_ARRAYS: Final = (
    "rest_head", "mouth_low", "mouth_high", "mouth_mean", "mouth_covariance", "response", "response_at_zero",
)  # fmt: skip


@dataclass(frozen=True)
class SpeakerProfile:
    """A speaker as the generator knows them."""

    generator: str
    """Hash of the untuned generator (`engine.generators.identity`)."""
    quality: str
    """"draft", "full" or "compact"."""
    region: Region
    """The part of the crop that is edited."""
    base: Tensor
    """[R,512] float32: w at features of zero."""
    slopes: Tensor
    """[F,R,512] float32: change of w per feature, the eight mouth numbers last."""
    features: FeatureModel
    """From a frame to the features without the mouth."""
    rest_head: NDArray[np.float64]
    """[68,3] IOD: the face with a closed, resting mouth, head frame."""
    mouth_low: NDArray[np.float64]
    """[8] least of each mouth number that the profile can show."""
    mouth_high: NDArray[np.float64]
    """[8] most of each mouth number that the profile can show."""
    response: NDArray[np.float64]
    """[8,8] mouth numbers measured on the picture per mouth number asked for."""
    response_at_zero: NDArray[np.float64]
    """[8] mouth numbers measured when the clip's mean mouth is asked for."""
    mouth_mean: NDArray[np.float64]
    """[8] the clip's mean mouth: mouth features are differences from it."""
    mouth_covariance: NDArray[np.float64]
    """[8,8] how the mouth numbers go together in the clip, with a floor: which combinations are this person's."""
    grain: float
    """Standard deviation of the clip's noise that the generator does not show, in grey levels of 0...255."""
    sharpening: float
    """Share of the high frequencies that is added so that the region is as sharp as the clip."""
    weights: Mapping[str, Tensor]
    """Tuned weights minus the generator's own, float16, by name; empty when not tuned."""
    preview: NDArray[np.uint8]
    """[H,W,3] what the profile can do, as a picture."""
    notes: Mapping[str, Any]
    """Figures of the enrolment: frames, steps, losses, seconds, verdicts."""

    @property
    def rest_opening(self) -> float:
        """Inner-lip opening of the resting mouth as the tracker reads it, IOD."""
        return float(abs(self.rest_head[66, 1] - self.rest_head[62, 1]))

    def save(self, path: Path | str) -> None:
        """Write the profile; the file appears only when it is whole.

        Raises:
            MediaError: the file cannot be written.
        """
        tensors = {f"features.{name}": value for name, value in self.features.tensors().items()}
        tensors |= {name: torch.from_numpy(np.array(getattr(self, name), order="C")) for name in _ARRAYS}
        tensors |= {"base": self.base.contiguous(), "slopes": self.slopes.to(torch.float16).contiguous()}
        tensors["preview"] = torch.from_numpy(self.preview.copy())
        tensors |= {f"weights.{name}": value.contiguous() for name, value in self.weights.items()}
        region = self.region
        header = {
            "kind": _KIND,
            "version": str(PROFILE_VERSION),
            "generator": self.generator,
            "quality": self.quality,
            "region": json.dumps([region.top, region.left, region.height, region.width]),
            "sharpening": repr(self.sharpening),
            "grain": repr(self.grain),
            "notes": json.dumps(dict(self.notes)),
        }
        write_atomically(Path(path), save(tensors, header))

    @classmethod
    def load(cls, path: Path | str) -> "SpeakerProfile":
        """Read a profile.

        Raises:
            ProfileError: no such file, not a profile, damaged, or of another version.
        """
        path = Path(path)
        if not os.path.isfile(path):  # False for a name that cannot be, too, where Path would raise
            raise ProfileError(f"{path}: no such file. Make a profile with `livedub enroll VIDEO -o {path.name}`.")
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise ProfileError(f"{path}: not a readable speaker profile ({error}). Enrol the speaker again.") from error
        if header.get("kind") != _KIND or header.get("version") != str(PROFILE_VERSION):
            raise ProfileError(
                f"{path}: holds {header.get('kind', 'no profile')} version {header.get('version', 'none')}; expected "
                f"{_KIND} version {PROFILE_VERSION}. Enrol the speaker again."
            )
        try:
            return cls._from_parts(header, tensors)
        except (KeyError, ValueError, TypeError) as error:
            raise ProfileError(f"{path}: the profile is damaged ({error}). Enrol the speaker again.") from error

    @classmethod
    def _from_parts(cls, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> "SpeakerProfile":
        def part(prefix: str) -> dict[str, Tensor]:
            """Tensors under a prefix, by their names without it."""
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        arrays = {name: tensors[name].numpy() for name in _ARRAYS}
        found = cls(
            generator=header["generator"],
            quality=header["quality"],
            region=Region(*json.loads(header["region"])),
            base=tensors["base"],
            slopes=tensors["slopes"].to(torch.float32),
            features=FeatureModel.from_tensors(part("features.")),
            sharpening=float(header["sharpening"]),
            grain=float(header["grain"]),
            weights=part("weights."),
            preview=tensors["preview"].numpy(),
            notes=dict(json.loads(header["notes"])),
            **arrays,
        )
        found._require_whole()
        return found

    def _require_whole(self) -> None:
        """Refuse parts that do not belong together and values that are no numbers: they would end a dub in its middle.

        Raises:
            ShapeError: which part, its shape and the one that is expected.
        """
        model, each = self.features, (MOUTH_COUNT,)
        expected = {
            "base": (*self.base.shape[:1], *self.base.shape[-1:]), "slopes": (model.count + each[0], *self.base.shape),
            "rest_head": (68, 3), "mouth_low": each, "mouth_high": each, "mouth_mean": each, "response_at_zero": each,
            "mouth_covariance": 2 * each, "response": 2 * each, "preview": (*self.preview.shape[:2], 3),
        }  # fmt: skip
        shapes = {name: (tuple(getattr(self, name).shape), wanted) for name, wanted in expected.items()}
        shapes |= {name: (getattr(model, name).shape, (model.count,)) for name in ("low", "high")}
        shapes["angle_mean"] = model.angle_mean.shape, (3,)
        shapes["still_basis"] = model.still_basis.shape[1:], model.still_mean.shape
        shapes["small_basis"] = model.small_basis.shape[1:], model.small_mean.shape
        for name, (shape, wanted) in shapes.items():
            if shape != wanted:
                raise ShapeError(f"{name} is {shape}, expected {wanted}")
        numbers = {**model.tensors(), **self.weights, "base": self.base, "slopes": self.slopes}
        numbers |= {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}
        numbers |= {name: torch.tensor(getattr(self, name)) for name in ("grain", "sharpening")}
        for name, values in numbers.items():
            if not bool(torch.isfinite(values).all()):
                raise ShapeError(f"{name} holds values that are no numbers, expected finite ones")
        region = self.region
        if min(region.top, region.left) < 0 or min(region.height, region.width) < 1:
            raise ShapeError(f"region is {region}, expected one within the picture")


def profile_fields() -> tuple[str, ...]:
    """Names of all parts of a profile."""
    return tuple(item.name for item in fields(SpeakerProfile))
