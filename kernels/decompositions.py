"""Gradients of convolution, pooling and up-sampling as plain forward operations.

A traced step then holds only operations that every backend knows: `convolution_backward`, pooling's and up-sampling's
gradients are the ones that converters lack. Gradients with respect to weights are given where a layer's weight depends
on its input (modulated filters); elsewhere they are never asked for.

Letters: B batch, C channels of the input, O of the output, G groups, H and W sizes, k side of a filter.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.nn import functional

aten: Final = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of input, weight and bias."""
_WHOLE: Final = cast(Tensor, NotImplemented)
"""Tells the tracer to leave an operation whole."""
_ALL_WHOLE: Final = cast(Gradients, NotImplemented)
"""The same."""
_BOTH_WHOLE: Final = cast(tuple[Tensor, Tensor], NotImplemented)
"""The same."""

_LONG: Final = 4096
"""Numbers in a sum from which on it is taken apart."""

Decompositions = dict[Any, Callable[..., Any]]


def table(portable: bool = False) -> Decompositions:
    """Our decompositions, and torch's own for the gradients of activations and padding.

    Args:
        portable: takes apart what compilers for one machine know better themselves, too: for graphs that leave torch.
    """
    known: Decompositions = dict(get_decompositions(_FROM_TORCH))
    return known | _OURS | (_PORTABLE if portable else _FOR_COMPILERS)


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> Gradients:
    """Gradients of a 2D convolution: same arguments and results as the ATen operation.

    Args:
        gradient: [B,O,H',W'], of the output.
        x: [B,C,H,W], the input.
        weight: [O,C/G,k,k]; [C,O/G,k,k] when `transposed`.
        bias_sizes: not used: the bias' gradient has O numbers.
        stride: one per axis.
        padding: likewise.
        dilation: likewise.
        transposed: whether it is a transposed convolution.
        output_padding: of a transposed convolution.
        groups: G.
        output_mask: which of the three gradients are asked for.

    Returns:
        Gradients of x, weight and bias, None for those not asked for; NotImplemented for what is not taken apart here.
    """
    if x.ndim != 4 or list(dilation) != [1, 1]:
        return _ALL_WHOLE
    to_x = to_weight = to_bias = None
    if output_mask[1]:
        if transposed:
            return _ALL_WHOLE
        to_weight = _weight_gradient(gradient, x, weight, stride, padding, groups)
        if to_weight is None:
            return _ALL_WHOLE
    if output_mask[0]:
        to_x = _input_gradient(gradient, x, weight, stride, padding, transposed, groups)
    if output_mask[2]:
        to_bias = gradient.sum((0, 2, 3))
    return to_x, to_weight, to_bias


def _input_gradient(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    transposed: bool,
    groups: int,
) -> Tensor:
    """Transposed: a strided convolution. Stride 1 and depthwise: the flipped filter. Else a transposed convolution."""
    if transposed:
        whole = functional.conv2d(gradient, weight, None, (stride[0], stride[1]), (padding[0], padding[1]), 1, groups)
        return whole[:, :, : x.shape[2], : x.shape[3]]
    sides = weight.shape[2:]
    around = [side - 1 - pad for side, pad in zip(sides, padding, strict=True)]
    if list(stride) == [1, 1] and min(around) >= 0:
        grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:]).transpose(1, 2)
        turned = grouped.reshape(x.shape[1], weight.shape[0] // groups, *sides).flip(2, 3)
        return functional.conv2d(gradient, turned, None, 1, (around[0], around[1]), 1, groups)
    if groups == x.shape[1] == weight.shape[0]:
        return _depthwise_gradient(gradient, weight, stride, around, (x.shape[2], x.shape[3]))
    left = [
        size - ((found - 1) * step - 2 * pad + side)
        for size, found, step, pad, side in zip(x.shape[2:], gradient.shape[2:], stride, padding, sides, strict=True)
    ]
    return functional.conv_transpose2d(
        gradient, weight, None, (stride[0], stride[1]), (padding[0], padding[1]), (left[0], left[1]), groups
    )


def _depthwise_gradient(
    gradient: Tensor, weight: Tensor, stride: list[int], around: list[int], size: tuple[int, int]
) -> Tensor:
    """Of a strided depthwise filter: zeros between the pixels, then the flipped filter.

    The library has no fast transposed depthwise convolution: as one it takes ten times as long.

    Args:
        gradient: [B,C,h,w], of the output.
        weight: [C,1,k,k].
        stride: one per axis.
        around: k - 1 - padding, one per axis.
        size: H and W of the input.
    """
    spread = functional.pad(gradient[:, :, :, None, :, None], (0, stride[1] - 1, 0, 0, 0, stride[0] - 1))
    b, c, h, _, w, _ = spread.shape
    rows, columns = h * stride[0], w * stride[1]
    whole = [length + side - 1 for length, side in zip(size, weight.shape[2:], strict=True)]
    edges = (around[1], whole[1] - columns - around[1], around[0], whole[0] - rows - around[0])
    return functional.conv2d(functional.pad(spread.reshape(b, c, rows, columns), edges), weight.flip(2, 3), groups=c)


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: list[int], padding: list[int], groups: int
) -> Tensor | None:
    """Sums over pixels, one per tap of the filter: dense and depthwise filters."""
    rows, columns = gradient.shape[2:]
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    depthwise = groups == x.shape[1] == weight.shape[0]
    if groups != 1 and not depthwise:
        return None
    taps = []
    for down in range(weight.shape[2]):
        for across in range(weight.shape[3]):
            seen = padded[:, :, down : down + (rows - 1) * stride[0] + 1 : stride[0]]
            seen = seen[:, :, :, across : across + (columns - 1) * stride[1] + 1 : stride[1]]
            if depthwise:
                taps.append((gradient * seen).sum((0, 2, 3))[:, None])
            else:
                flat = gradient.permute(1, 0, 2, 3).reshape(gradient.shape[1], -1)
                taps.append(flat @ seen.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))
    return torch.stack(taps, -1).reshape(weight.shape)


def avg_pool2d_backward(
    gradient: Tensor,
    x: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Gradient of average pooling without overlap or padding: every pixel gets its share of its window's gradient."""
    kernel = [kernel_size[0], kernel_size[-1]]
    step = [stride[0], stride[-1]] if stride else kernel
    if step != kernel or any(padding) or ceil_mode:
        return _WHOLE
    share = gradient * (1.0 / (divisor_override or kernel[0] * kernel[1]))
    return _padded_to(_repeated(share, kernel[0], kernel[1]), x.shape[2], x.shape[3])


def reflection_pad2d_backward(gradient: Tensor, x: Tensor, padding: list[int]) -> Tensor:
    """Gradient of mirrored borders: the inside's, and each border's turned back onto the pixels that it mirrors."""
    left, right, top, bottom = padding
    if min(padding) < 0:
        return _WHOLE
    rows = _unmirrored(gradient, 2, top, bottom)
    return _unmirrored(rows, 3, left, right)


def _unmirrored(gradient: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Gradient along one axis of a mirrored border of `before` and `after` pixels."""
    inside = gradient.shape[axis] - before - after
    found = gradient.narrow(axis, before, inside)
    for size, start, place in ((before, 0, 1), (after, before + inside, inside - 1 - after)):
        if size:
            turned = gradient.narrow(axis, start, size).flip(axis)
            around = [place, inside - place - size]
            found = found + functional.pad(turned, around if axis == 3 else [0, 0, *around])
    return found


def leaky_relu_backward(gradient: Tensor, x: Tensor, negative_slope: float, self_is_result: bool) -> Tensor:
    """Gradient of a leaky rectifier as one factor: compiled code then finds the gradient once, not once a branch."""
    slope = torch.where(x > 0, 1.0, negative_slope)
    return gradient * slope.to(gradient.dtype)


def upsample_nearest2d_backward(
    gradient: Tensor,
    output_size: list[int],
    input_size: list[int],
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """Gradient of repeating pixels a whole number of times: the sum over each pixel's copies."""
    down, across = output_size[0] // input_size[2], output_size[1] // input_size[3]
    if output_size != [input_size[2] * down, input_size[3] * across]:
        return _WHOLE
    blocks = gradient.reshape(*input_size[:3], down, input_size[3], across)
    return blocks.sum((3, 5))


def upsample_bilinear2d_backward(
    gradient: Tensor,
    output_size: list[int],
    input_size: list[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """Gradient of bilinear enlargement as two products with the matrices of its axes."""
    return _linear_backward(gradient, output_size, input_size, "bilinear", align_corners)


def upsample_bicubic2d_backward(
    gradient: Tensor,
    output_size: list[int],
    input_size: list[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """Gradient of bicubic enlargement as two products with the matrices of its axes."""
    return _linear_backward(gradient, output_size, input_size, "bicubic", align_corners)


def _linear_backward(
    gradient: Tensor, output_size: list[int], input_size: list[int], mode: str, align_corners: bool
) -> Tensor:
    down = _axis_matrix(input_size[2], output_size[0], mode, align_corners, gradient)
    across = _axis_matrix(input_size[3], output_size[1], mode, align_corners, gradient)
    return down.T @ gradient @ across


def _axis_matrix(size: int, enlarged: int, mode: str, align_corners: bool, like: Tensor) -> Tensor:
    """[enlarged,size]: what enlargement does along one axis, found by enlarging unit vectors."""
    units = torch.eye(size, dtype=like.dtype, device=like.device)[:, None, :, None]
    columns = functional.interpolate(units, size=(enlarged, 1), mode=mode, align_corners=align_corners)
    return columns[:, 0, :, 0].T


def sum_over_pixels(
    x: Tensor, dims: list[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Sum of a large map over rows and columns, one after the other: the same arguments as the ATen operation.

    Compiled code guards one long sum against rounding at twice the time, short ones need no guard; and a sum along rows
    alone runs through memory in its order.
    """
    if x.ndim != 4 or dtype is not None or [each % 4 for each in dims or ()] != [2, 3]:
        return _WHOLE
    if x.shape[2] * x.shape[3] <= _LONG or x.shape[3] == 1:
        return _WHOLE
    return x.sum(3, keepdim=True).sum((2,), keepdim=True) if keepdim else x.sum(3).sum(2)


def max_pool2d_with_indices(
    x: Tensor,
    kernel_size: list[int],
    stride: list[int] | None = None,
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Unpadded maximum pooling and where its maxima are, by comparing shifted maps: engines give only the maxima."""
    kernel = [kernel_size[0], kernel_size[-1]]
    step = [stride[0], stride[-1]] if stride else kernel
    if any(padding) or any(each != 1 for each in dilation) or ceil_mode:
        return _BOTH_WHOLE
    height, width = x.shape[2:]
    rows, columns = (height - kernel[0]) // step[0] + 1, (width - kernel[1]) // step[1] + 1
    top = torch.arange(rows, device=x.device)[:, None] * step[0]
    left = torch.arange(columns, device=x.device)[None] * step[1]
    best, place = (
        x[:, :, : (rows - 1) * step[0] + 1 : step[0], : (columns - 1) * step[1] + 1 : step[1]],
        top * width + left,
    )
    for down in range(kernel[0]):
        for across in range(kernel[1]):
            lines = x[:, :, down : down + (rows - 1) * step[0] + 1 : step[0]]
            seen = lines[:, :, :, across : across + (columns - 1) * step[1] + 1 : step[1]]
            wins = seen > best
            best, place = torch.where(wins, seen, best), torch.where(wins, (top + down) * width + left + across, place)
    return best, place.expand(best.shape)


def max_pool2d_with_indices_backward(
    gradient: Tensor,
    x: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Gradient of unpadded maximum pooling: each window's goes to the pixel that won it. No scatter: shifted sums."""
    kernel = [kernel_size[0], kernel_size[-1]]
    step = [stride[0], stride[-1]] if stride else kernel
    if any(padding) or any(each != 1 for each in dilation) or ceil_mode:
        return _WHOLE
    rows, columns = gradient.shape[2:]
    height, width = x.shape[2:]
    top = torch.arange(rows, device=x.device)[:, None] * step[0]
    left = torch.arange(columns, device=x.device)[None] * step[1]
    shares = [
        [
            torch.where(indices == (top + down) * width + (left + across), gradient, 0.0)
            for across in range(kernel[1])
        ]
        for down in range(kernel[0])
    ]  # fmt: skip
    if step == kernel:
        lines = [torch.stack(row, -1).flatten(3) for row in shares]
        return _padded_to(torch.stack(lines, 3).flatten(2, 3), height, width)
    if step != [1, 1]:
        return _WHOLE
    total: Tensor | None = None
    for down, row in enumerate(shares):
        for across, share in enumerate(row):
            placed = functional.pad(share, (across, width - columns - across, down, height - rows - down))
            total = placed if total is None else total + placed
    assert total is not None  # a window has at least one pixel
    return total


def _repeated(x: Tensor, down: int, across: int) -> Tensor:
    """Every pixel `down` x `across` times: [B,C,H,W] -> [B,C,H*down,W*across]."""
    b, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(b, c, h, down, w, across).reshape(b, c, h * down, w * across)


def _padded_to(x: Tensor, height: int, width: int) -> Tensor:
    """Zeros below and beside, where pooling windows left pixels out."""
    if tuple(x.shape[2:]) == (height, width):
        return x
    return functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))


def index_put(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """Rows added at their places, the gradient of taking rows, as a matrix product: engines have no adding scatter.

    Args:
        x: tensor of any shape.
        indices: one entry an axis; taken apart where one axis alone has an index, [K] integers.
        values: as `x` with K in that axis, or what spreads to it.
        accumulate: whether values are added; else they replace.

    Returns:
        As ATen's; NotImplemented for what is not taken apart here.
    """
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    index = indices[axes[0]] if len(axes) == 1 else None
    if not accumulate or index is None or index.ndim != 1 or index.dtype == torch.bool:
        return _WHOLE
    axis, size = axes[0], x.shape[axes[0]]
    places = torch.arange(size, device=x.device)
    chosen = (torch.remainder(index, size)[:, None] == places[None]).to(x.dtype)
    spread = values.expand(*x.shape[:axis], len(index), *x.shape[axis + 1 :])
    return x + (spread.transpose(axis, -1) @ chosen).transpose(axis, -1)


def slice_backward(gradient: Tensor, sizes: list[int], axis: int, start: int, end: int, step: int) -> Tensor:
    """The gradient of a slice as zeros around it: engines pad faster than they scatter.

    Args:
        gradient: of the slice.
        sizes: of what was sliced.
        axis: along which.
        start: first place, from the end where negative.
        end: place after the last.
        step: between places.

    Returns:
        As ATen's, of `sizes`; NotImplemented for steps other than 1.
    """
    if step != 1:
        return _WHOLE
    size = sizes[axis]
    first = min(max(start + size if start < 0 else start, 0), size)
    return _surrounded(gradient, axis, first, size - first - gradient.shape[axis])


def select_backward(gradient: Tensor, sizes: list[int], axis: int, index: int) -> Tensor:
    """The gradient of one place taken, as zeros around it: as `slice_backward`."""
    axis, index = axis % len(sizes), index % sizes[axis]
    return _surrounded(gradient.unsqueeze(axis), axis, index, sizes[axis] - index - 1)


def _surrounded(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """A tensor with zeros before and after it along an axis."""
    around = [0, 0] * (x.ndim - 1 - axis % x.ndim) + [before, after]
    return functional.pad(x, around) if before or after else x


_OURS: Final[Decompositions] = {
    aten.convolution_backward.default: convolution_backward,
    aten.avg_pool2d_backward.default: avg_pool2d_backward,
    aten.leaky_relu_backward.default: leaky_relu_backward,
    aten.reflection_pad2d_backward.default: reflection_pad2d_backward,
    aten.upsample_nearest2d_backward.default: upsample_nearest2d_backward,
    aten.upsample_bilinear2d_backward.default: upsample_bilinear2d_backward,
    aten.upsample_bicubic2d_backward.default: upsample_bicubic2d_backward,
}
_PORTABLE: Final[Decompositions] = {
    aten.index_put.default: index_put,
    aten.max_pool2d_with_indices.default: max_pool2d_with_indices,
    aten.max_pool2d_with_indices_backward.default: max_pool2d_with_indices_backward,
    aten.select_backward.default: select_backward,
    aten.slice_backward.default: slice_backward,
}
_FOR_COMPILERS: Final[Decompositions] = {aten.sum.dim_IntList: sum_over_pixels}
_FROM_TORCH: Final = (
    aten.threshold_backward.default,
    aten._prelu_kernel_backward.default,
    aten.sigmoid_backward.default,
    aten.select_backward.default,
    aten.slice_backward.default,
    aten.linalg_vector_norm.default,
    aten.addmm.default,
)
