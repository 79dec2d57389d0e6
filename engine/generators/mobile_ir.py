"""Fills `MobileStyleGAN` from the OpenVINO IR of its synthesis and mapping networks."""

from pathlib import Path

import torch
from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.mobile import MobileStyleGAN, StyledConv
from engine.generators.openvino_ir import IrGraph, IrLayer

_BLOCKS = 7


def _style(graph: IrGraph, prefix: str) -> tuple[Tensor, Tensor, float]:
    """Weight [C,D], bias [C] and constant scale of one row's affine map."""
    weight = graph.named(f"{prefix}.modulation.weight")
    layer = graph.consumer(graph.consumer(weight, "MatMul"), "Add")
    layer = graph.consumer(graph.consumer(layer, "Reshape"), "Multiply")
    constant = graph.constant_input(layer)
    scale = float(constant.reshape(-1)[0]) if constant is not None and constant.numel() == 1 else 1.0
    bias = graph.value(graph.named(f"{prefix}.modulation.bias")).reshape(-1)
    return graph.value(weight), bias, scale


def _required(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise WeightsFormatError(f"{what} is computed in this graph; expected a constant (another export?)")
    return value


def _after(graph: IrGraph, convolution: IrLayer) -> tuple[Tensor, Tensor]:
    """Weight and noise of the convolution (its bias is read by name)."""
    noise = _required(graph.constant_input(graph.consumer(convolution, "Add")), "noise")
    return _required(graph.constant_input(convolution), "convolution weight"), noise


def _fill(target: StyledConv, graph: IrGraph, prefix: str) -> None:
    weight, bias, _ = _style(graph, f"{prefix}.conv")
    target.style.weight.copy_(weight)
    target.style.bias.copy_(bias)
    if target.depthwise is None:
        styled = graph.named(f"{prefix}.conv.modulation.weight")
        for kind in ("MatMul", "Add", "Reshape", "Multiply", "Multiply", "Convolution"):
            styled = graph.consumer(styled, kind)
        convolution = styled
    else:
        depthwise = graph.named(f"{prefix}.conv.weight_dw")
        target.depthwise.copy_(graph.value(depthwise).reshape(target.depthwise.shape))
        convolution = graph.consumer(graph.consumer(depthwise, "GroupConvolution"), "Convolution")
    pointwise, noise = _after(graph, convolution)
    target.weight.copy_(pointwise)
    target.get_buffer("noise").copy_(noise.reshape(1, 1, *target.get_buffer("noise").shape[2:]))
    target.bias.copy_(graph.value(graph.named(f"{prefix}.bias")).reshape(-1))


def _mapping(model: MobileStyleGAN, graph: IrGraph) -> None:
    products = [layer for layer in graph.layers.values() if layer.kind == "MatMul"]
    if len(products) != len(model.mapping_network.weights):
        raise WeightsFormatError(f"mapping graph has {len(products)} dense layers; expected 8")
    for index, product in enumerate(products):
        model.mapping_network.weights[index].copy_(_required(graph.constant_input(product), "dense weight"))
        shaped = [item for item in graph.inputs(graph.consumer(product, "Add")) if item.kind == "Reshape"]
        bias = graph.constant_input(shaped[0]) if shaped else None
        model.mapping_network.biases[index].copy_(_required(bias, "dense bias").reshape(-1))


def read_mobile_stylegan(synthesis: tuple[Path, Path], mapping: tuple[Path, Path]) -> MobileStyleGAN:
    """Builds the default generator from its public IR files.

    Args:
        synthesis: XML and BIN of the synthesis network.
        mapping: XML and BIN of the mapping network.

    Returns:
        The generator in evaluation mode, float32, without gradients for its weights; `coarse` is not yet fitted.

    Raises:
        WeightsFormatError: the files hold another network.
    """
    graph = IrGraph(*synthesis)
    prefixes = ["m.conv1.conv"]
    for index in range(_BLOCKS):
        block = f"m.layers.{index}"
        prefixes += [f"{block}.up", f"{block}.conv1.conv", f"{block}.conv2.conv"]
    prefixes.append(f"m.layers.{_BLOCKS - 1}.to_img.conv")
    styles = [_style(graph, prefix) for prefix in prefixes]
    channels = tuple(len(styles[3 + 3 * index][1]) for index in range(_BLOCKS))
    model = MobileStyleGAN(channels, tuple(scale for _, _, scale in styles))
    with torch.no_grad():
        model.constant.copy_(graph.value(graph.named("m.input.input")))
        _fill(model.first, graph, "m.conv1")
        for index, up_block in enumerate(model.up_blocks()):
            weight, bias, _ = styles[1 + 3 * index]
            up_block.up.weight.copy_(weight)
            up_block.up.bias.copy_(bias)
            _fill(up_block.first, graph, f"m.layers.{index}.conv1")
            _fill(up_block.second, graph, f"m.layers.{index}.conv2")
        last = f"m.layers.{_BLOCKS - 1}.to_img"
        model.out_style.weight.copy_(styles[-1][0])
        model.out_style.bias.copy_(styles[-1][1])
        model.out_weight.copy_(graph.value(graph.named(f"{last}.conv.weight")))
        model.out_bias.copy_(graph.value(graph.named(f"{last}.bias")).reshape(-1))
        _mapping(model, IrGraph(*mapping))
    return model.eval().requires_grad_(False)
