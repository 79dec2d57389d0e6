"""A small network of 68 landmarks for the judge: densely connected separable convolutions on a 112-px crop.

The network of the face-api projects (`face_landmark_68_model`, MIT; Huang et al. 2017 for dense connections, Chollet
2017 for separable convolutions). Its 8-bit weights are read from their published form: one file of numbers and a JSON
manifest of names, shapes, scales and offsets. Built here from that manifest; nothing of the projects' code is used.
"""

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError

INPUT_PX: Final = 112
"""Side of the crop that the network reads."""
_MEAN: Final = (122.782, 117.001, 104.298)
"""Mean red, green and blue of its training pictures."""
_BLOCKS: Final = 4
_TYPES: Final = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}


def read_manifest(numbers: Path, manifest: Path) -> dict[str, Tensor]:
    """Weights by name from a TensorFlow.js weight file and its manifest.

    Raises:
        WeightsFormatError: the manifest is no manifest, or the file is shorter or longer than it says.
    """
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))[0]["weights"]
        raw = numbers.read_bytes()
        place, found = 0, {}
        for entry in entries:
            values, used = _values(entry, raw[place:])
            found[str(entry["name"])] = torch.from_numpy(values)
            place += used
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsFormatError(
            f"{numbers.name} is not what {manifest.name} describes ({error}); expected the published pair. Fetch again."
        ) from error
    if place != len(raw):
        raise WeightsFormatError(
            f"{numbers.name} has {len(raw)} bytes, expected {place} by {manifest.name}: not a pair. Fetch again."
        )
    return found


def _values(entry: dict[str, Any], raw: bytes) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """Numbers of one entry at the start of `raw`, and how many bytes they take."""
    count = math.prod(entry["shape"])
    packed = entry.get("quantization")
    kind = np.dtype(_TYPES[packed["dtype"] if packed else entry["dtype"]]).newbyteorder("<")
    values = np.frombuffer(raw, kind, count).astype(np.float32)
    if packed:
        values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
    return values.reshape(entry["shape"]), count * kind.itemsize


class LandmarkNet:
    """Crop [B,3,112,112] to landmarks [B,68,2] in its pixels."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Takes weights by their published names.

        Raises:
            WeightsFormatError: a weight is missing.
        """
        self._weights: Final = weights
        try:
            with torch.no_grad():
                self(torch.zeros(1, 3, INPUT_PX, INPUT_PX))
        except (KeyError, RuntimeError) as error:
            raise WeightsFormatError(f"not the weights of a 68-landmark network: {error}; fetch faceapi-68") from error

    def __call__(self, crop: Tensor) -> Tensor:
        """Landmarks of upright faces that fill most of the crop.

        Args:
            crop: [B,3,112,112] float32 red, green, blue, 0...255.

        Returns:
            [B,68,2] x and y in px of the crop, continuous coordinates.
        """
        if crop.shape[1:] != (3, INPUT_PX, INPUT_PX):
            raise ShapeError(f"crop has shape {tuple(crop.shape)}, expected [B, 3, {INPUT_PX}, {INPUT_PX}]")
        x = (crop - torch.tensor(_MEAN).view(1, 3, 1, 1)) / 255
        for index in range(_BLOCKS):
            x = self._block(x, f"dense{index}", separable=index > 0)
        x = functional.avg_pool2d(x, 7, 2).permute(0, 2, 3, 1).flatten(1)
        points = x @ self._weights["fc/weights"] + self._weights["fc/bias"]
        return points.view(-1, 68, 2) * INPUT_PX

    def _block(self, x: Tensor, name: str, *, separable: bool) -> Tensor:
        """Four convolutions, the first at half the size; each takes in the sum of all before it."""
        if separable:
            total = functional.relu(self._separable(x, f"{name}/conv0", 2))
        else:
            kernel = self._weights[f"{name}/conv0/filters"].permute(3, 2, 0, 1)
            first = functional.conv2d(_padded(x, 2), kernel, self._weights[f"{name}/conv0/bias"], stride=2)
            total = functional.relu(first)
        into = total
        for index in (1, 2, 3):
            total = total + self._separable(into, f"{name}/conv{index}", 1)
            into = functional.relu(total)
        return into

    def _separable(self, x: Tensor, name: str, stride: int) -> Tensor:
        depthwise = self._weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        pointwise = self._weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1)
        x = functional.conv2d(_padded(x, stride), depthwise, stride=stride, groups=x.shape[1])
        return functional.conv2d(x, pointwise, self._weights[f"{name}/bias"])


def _padded(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's "same" padding of a 3x3 filter: the odd pixel goes to the right and below."""
    height, width = x.shape[2:]
    rows, columns = (max((-(-side // stride) - 1) * stride + 3 - side, 0) for side in (height, width))
    return functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
