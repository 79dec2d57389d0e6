"""Writes a generator of the default kind as OpenVINO IR files, with the names and chains of the public ones."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from torch import Tensor

from engine.generators.mobile import MobileStyleGAN, Style, StyledConv


class IrFile:
    """A graph that is written layer by layer."""

    def __init__(self) -> None:
        self.net = ElementTree.Element("net", name="made", version="11")
        self.layers, self.edges = ElementTree.SubElement(self.net, "layers"), ElementTree.SubElement(self.net, "edges")
        self.blob = b""
        self._count = 0

    def add(self, kind: str, inputs: tuple[str, ...] = (), name: str = "", **data: str) -> str:
        """A layer that is fed by others, in the order of its ports; gives its identifier."""
        identifier, self._count = str(self._count), self._count + 1
        layer = ElementTree.SubElement(self.layers, "layer", id=identifier, type=kind, name=name or f"n{identifier}")
        if data:
            ElementTree.SubElement(layer, "data", data)
        for port, source in enumerate(inputs):
            edge = {"from-layer": source, "from-port": "0", "to-layer": identifier, "to-port": str(port)}
            self.edges.insert(0, ElementTree.Element("edge", edge))
        return identifier

    def constant(self, value: Tensor | float, name: str = "", *shape: int) -> str:
        """A constant; `shape` is written instead of its own."""
        array = np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value, np.float32)
        written = shape or array.shape
        data = {"element_type": "f32", "shape": ", ".join(map(str, written))}
        data |= {"offset": str(len(self.blob)), "size": str(array.nbytes)}
        self.blob += array.tobytes()
        return self.add("Const", (), name, **data)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Both files."""
        xml, binary = folder / f"{name}.xml", folder / f"{name}.bin"
        ElementTree.ElementTree(self.net).write(xml)
        binary.write_bytes(self.blob)
        return xml, binary


def _style(file: IrFile, style: Style, prefix: str, w: str) -> str:
    """Affine map, shaped and scaled: gives the scales of a layer's input."""
    product = file.add("MatMul", (w, file.constant(style.weight, f"{prefix}.modulation.weight")))
    bias = file.constant(style.bias, f"{prefix}.modulation.bias", 1, len(style.bias))
    shaped = file.add("Reshape", (file.add("Add", (product, bias)), file.add("Const", ())))
    return file.add("Multiply", (shaped, file.constant(style.scale, "", 1, 1, 1, 1)))


def _convolution(file: IrFile, layer: StyledConv, prefix: str, w: str, x: str) -> str:
    x = file.add("Multiply", (x, _style(file, layer.style, f"{prefix}.conv", w)))
    if layer.depthwise is not None:
        shape = (layer.depthwise.shape[0], 1, 1, 3, 3)
        x = file.add("GroupConvolution", (x, file.constant(layer.depthwise, f"{prefix}.conv.weight_dw", *shape)))
    x = file.add("Convolution", (x, file.constant(layer.weight)))
    x = file.add("Add", (x, file.constant(layer.get_buffer("noise"))))
    return file.add("Add", (x, file.constant(layer.bias, f"{prefix}.bias", 1, len(layer.bias), 1, 1)))


def synthesis_ir(model: MobileStyleGAN) -> IrFile:
    """The synthesis network."""
    file = IrFile()
    w = file.add("Parameter", (), "w")
    x = _convolution(file, model.first, "m.conv1", w, file.constant(model.constant, "m.input.input"))
    for index, block in enumerate(model.up_blocks()):
        name = f"m.layers.{index}"
        x = file.add("Multiply", (x, _style(file, block.up, f"{name}.up", w)))
        x = _convolution(file, block.first, f"{name}.conv1", w, x)
        x = _convolution(file, block.second, f"{name}.conv2", w, x)
    name = f"m.layers.{len(model.channels) - 1}.to_img"
    x = file.add("Multiply", (x, _style(file, model.out_style, f"{name}.conv", w)))
    x = file.add("Convolution", (x, file.constant(model.out_weight, f"{name}.conv.weight")))
    file.add("Add", (x, file.constant(model.out_bias, f"{name}.bias", 1, 12, 1, 1)))
    return file


def mapping_ir(model: MobileStyleGAN) -> IrFile:
    """The mapping network."""
    file = IrFile()
    x = file.add("Parameter", (), "z")
    for weight, bias in zip(model.mapping_network.weights, model.mapping_network.biases, strict=True):
        x = file.add("MatMul", (x, file.constant(weight)))
        x = file.add("Add", (x, file.add("Reshape", (file.constant(bias),))))
        x = file.add("PRelu", (x,))
    return file
