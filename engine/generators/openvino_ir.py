"""Reads OpenVINO IR files (version 10 and 11: an XML graph beside a file of constants) as plain tensors.

Only what a weight reader needs is understood: layers, edges and constants. Nothing is executed.
Format: https://docs.openvino.ai (Intermediate Representation, operation sets).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from engine.errors import WeightsFormatError

_DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32}


@dataclass(frozen=True, slots=True)
class IrLayer:
    """One operation of the graph."""

    id: str
    """Identifier within the file."""
    kind: str
    """Operation type, such as `Convolution` or `Const`."""
    name: str
    """Name given by the exporter."""
    attributes: dict[str, str]
    """Attributes of the operation, as text."""


class IrGraph:
    """Layers, edges and constants of one IR file pair.

    Args:
        xml: the graph file.
        binary: the constants file that belongs to it.

    Raises:
        WeightsFormatError: the pair is not an IR, or its constants are cut short.
    """

    def __init__(self, xml: Path, binary: Path) -> None:
        """Reads both files."""
        try:
            root = ElementTree.parse(xml).getroot()
        except (ElementTree.ParseError, UnicodeDecodeError) as error:
            raise WeightsFormatError(f"{xml.name} is not XML ({error}); expected an OpenVINO IR graph") from error
        layers, edges = root.find("layers"), root.find("edges")
        if root.tag != "net" or layers is None or edges is None:
            raise WeightsFormatError(f"{xml.name} has no <net> with layers and edges; expected an OpenVINO IR graph")
        self._source = xml.name
        self._blob = binary.read_bytes()
        self.layers = {item.id: item for item in map(self._layer, layers)}
        self._inputs: dict[str, list[str]] = {key: [] for key in self.layers}
        self._consumers: dict[str, list[str]] = {key: [] for key in self.layers}
        for edge in sorted(edges, key=lambda e: int(e.attrib["to-port"])):
            source, target = edge.attrib["from-layer"], edge.attrib["to-layer"]
            self._inputs[target].append(source)
            self._consumers[source].append(target)
        self._by_name = {layer.name: layer for layer in self.layers.values()}

    @staticmethod
    def _layer(element: ElementTree.Element) -> IrLayer:
        data = element.find("data")
        attributes = dict(data.attrib) if data is not None else {}
        return IrLayer(element.attrib["id"], element.attrib["type"], element.attrib["name"], attributes)

    def names(self) -> Iterator[str]:
        """Names of all layers in file order."""
        return (layer.name for layer in self.layers.values())

    def named(self, name: str) -> IrLayer:
        """The layer of that name.

        Raises:
            WeightsFormatError: there is none.
        """
        if name not in self._by_name:
            raise WeightsFormatError(f"{self._source} has no layer {name!r}; this is another network's graph")
        return self._by_name[name]

    def inputs(self, layer: IrLayer) -> list[IrLayer]:
        """Layers that feed `layer`, in port order."""
        return [self.layers[key] for key in self._inputs[layer.id]]

    def consumer(self, layer: IrLayer, kind: str) -> IrLayer:
        """The one layer of type `kind` that `layer` feeds.

        Raises:
            WeightsFormatError: there is none, or more than one.
        """
        found = [self.layers[key] for key in self._consumers[layer.id] if self.layers[key].kind == kind]
        if len(found) != 1:
            raise WeightsFormatError(f"{self._source}: {layer.name!r} feeds {len(found)} {kind} layers, not one")
        return found[0]

    def constant_input(self, layer: IrLayer) -> Tensor | None:
        """Value of the first constant that feeds `layer`, or None when all inputs are computed."""
        for item in self.inputs(layer):
            if item.kind == "Const":
                return self.value(item)
        return None

    def value(self, layer: IrLayer) -> Tensor:
        """Value of a constant, in its own type.

        Raises:
            WeightsFormatError: `layer` is no constant, of an unknown type, or its data are cut short.
        """
        attributes = layer.attributes
        if layer.kind != "Const" or attributes.get("element_type") not in _DTYPES:
            raise WeightsFormatError(f"{self._source}: {layer.name!r} is no constant of a known type: {attributes}")
        offset, size = int(attributes["offset"]), int(attributes["size"])
        if offset + size > len(self._blob):
            raise WeightsFormatError(
                f"constants of {self._source} end at {len(self._blob)} bytes, {layer.name!r} needs {offset + size}"
            )
        shape = [int(n) for n in attributes["shape"].split(",") if n.strip()]
        array = np.frombuffer(self._blob, _DTYPES[attributes["element_type"]], int(np.prod(shape)), offset)
        return torch.from_numpy(array.reshape(shape).copy())
