"""How alike two pictures are: PSNR, SSIM, and a learnt distance that the optimiser never sees.

The learnt distance is shift-tolerant LPIPS (Ghildyal and Liu 2022, arXiv 2207.13686) on AlexNet; tuning and refinement
use the VGG16 one. Its values are not those of the original LPIPS (Zhang et al. 2018): never compare them with those.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.evaluation.figures import require_shape

Picture = NDArray[np.uint8]

EQUAL_DB: Final = 100.0
"""PSNR that stands for equal pictures."""
_WINDOW_SIGMA: Final = 1.5
_WINDOW_REACH: Final = 5
_STABILITY: Final = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""Constants of SSIM for 8-bit pictures."""
_LUMA: Final = (0.299, 0.587, 0.114)
_CONVOLUTIONS: Final = ((1, 0, 2), (2, 5, 2), (3, 9, 1), (4, 11, 1), (5, 13, 1))
"""Slice, number and padding of each convolution in the weight file."""
_BLURS: Final = {1: 1, 2: 4, 3: 8}
"""Slice -> number of its blur."""
_SMALLEST_PX: Final = 64


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio of two pictures [H,W,3] in dB, over all three channels."""
    require_shape("a", a, None, None, 3)
    require_shape("b", b, *a.shape)
    error = float(np.square(a.astype(np.float64) - b).mean())
    return EQUAL_DB if error == 0 else min(EQUAL_DB, float(10 * np.log10(255.0**2 / error)))


def ssim(a: Picture, b: Picture) -> float:
    """Structural similarity (Wang et al. 2004) of the luma of two pictures [H,W,3]: Gaussian window of 11 px.

    Raises:
        ShapeError: the pictures differ in size or are smaller than the window.
    """
    require_shape("a", a, None, None, 3)
    require_shape("b", b, *a.shape)
    if min(a.shape[:2]) <= 2 * _WINDOW_REACH:
        raise ShapeError(f"pictures of {a.shape[:2]} px; expected more than {2 * _WINDOW_REACH} px each way")
    x, y = (torch.from_numpy(picture.astype(np.float64) @ np.array(_LUMA)) for picture in (a, b))
    means = _windowed(torch.stack([x, y, x * x, y * y, x * y]))
    mean_x, mean_y = means[0], means[1]
    spread_x, spread_y, common = means[2] - mean_x**2, means[3] - mean_y**2, means[4] - mean_x * mean_y
    first, second = _STABILITY
    above = (2 * mean_x * mean_y + first) * (2 * common + second)
    return float((above / ((mean_x**2 + mean_y**2 + first) * (spread_x + spread_y + second))).mean())


def _windowed(planes: Tensor) -> Tensor:
    """Weighted means of planes [N,H,W] wherever the whole window fits."""
    at = torch.arange(-_WINDOW_REACH, _WINDOW_REACH + 1, dtype=planes.dtype)
    weight = torch.exp(-0.5 * (at / _WINDOW_SIGMA) ** 2)
    weight = weight / weight.sum()
    across = functional.conv2d(planes[:, None], weight[None, None, None])
    return functional.conv2d(across, weight[None, None, :, None])[:, 0]


class LearntDistance:
    """Shift-tolerant LPIPS on AlexNet.

    Args:
        file: `alex_shift_tolerant.pth` of the public weights.

    Raises:
        WeightsFormatError: the file holds other weights.
    """

    name = "shift-tolerant LPIPS, AlexNet"

    def __init__(self, file: Path) -> None:
        """Reads the weights."""
        state = torch.load(file, map_location="cpu", weights_only=True)
        try:
            self._shift, self._scale = state["scaling_layer.shift"], state["scaling_layer.scale"]
            self._weights = [
                (state[f"net.slice{part}.{number}.weight"], state[f"net.slice{part}.{number}.bias"], padding)
                for part, number, padding in _CONVOLUTIONS
            ]
            self._blurs = {part: state[f"net.slice{part}.{number}.filt"] for part, number in _BLURS.items()}
            self._heads = [state[f"lin{n}.model.1.weight"] for n in range(len(_CONVOLUTIONS))]
        except KeyError as error:
            raise WeightsFormatError(f"{file.name} lacks {error}; expected shift-tolerant AlexNet LPIPS") from error

    def __call__(self, a: Picture, b: Picture) -> float:
        """Distance of two pictures [H,W,3], 0 for equal ones.

        Raises:
            ShapeError: the pictures differ in size or are smaller than 64 px.
        """
        require_shape("a", a, None, None, 3)
        require_shape("b", b, *a.shape)
        if min(a.shape[:2]) < _SMALLEST_PX:
            raise ShapeError(f"pictures of {a.shape[:2]} px; expected at least {_SMALLEST_PX} px each way")
        with torch.no_grad():
            both = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 127.5 - 1
            total = 0.0
            for found, head in zip(self._features(both), self._heads, strict=True):
                unit = found / (found.square().sum(1, keepdim=True).sqrt() + 1e-10)
                total += float(functional.conv2d((unit[:1] - unit[1:]).square(), head).mean())
        return total

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """Features of the five layers: [2,3,H,W] -> five of [2,C,h,w]."""
        x = (pictures - self._shift) / self._scale
        found = []
        for part, (weight, bias, padding) in enumerate(self._weights, start=1):
            if part in (2, 3):
                x = self._blurred(functional.max_pool2d(x, 3, stride=1), part)
            x = functional.conv2d(x, weight, bias, padding=padding)
            x = functional.relu(self._blurred(x, part) if part == 1 else x)
            found.append(x)
        return found

    def _blurred(self, x: Tensor, part: int) -> Tensor:
        """Half the size, without aliases."""
        padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(padded, self._blurs[part], stride=2, groups=x.shape[1])
