"""OpenVINO IR files as layers, edges and constants; what is no such file is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import WeightsFormatError
from engine.generators.openvino_ir import IrGraph
from tests.engine.generators.made_ir import IrFile

pytestmark = pytest.mark.unit
VALUE = torch.arange(6.0).reshape(2, 3)


def small() -> IrFile:
    """(x - constant), fed to two sums and a product; written with its edges out of order."""
    file = IrFile()
    x, constant = file.add("Parameter", (), "x"), file.constant(VALUE, "c")
    less = file.add("Subtract", (x, constant), "less")
    file.add("Add", (less, x), "one")
    file.add("Add", (constant, less), "two")
    file.add("Multiply", (less,), "product")
    return file


@pytest.fixture
def graph(tmp_path: Path) -> IrGraph:
    """The small graph, read."""
    return IrGraph(*small().write(tmp_path, "small"))


def test_layers_are_found_by_name_with_their_inputs_in_order_of_ports(graph: IrGraph) -> None:
    assert list(graph.names()) == ["x", "c", "less", "one", "two", "product"]
    assert [item.name for item in graph.inputs(graph.named("less"))] == ["x", "c"]
    assert [item.name for item in graph.inputs(graph.named("two"))] == ["c", "less"]
    assert graph.named("less").kind == "Subtract"
    with pytest.raises(WeightsFormatError, match="small.xml has no layer 'more'"):
        graph.named("more")


def test_a_consumer_is_one_of_its_kind(graph: IrGraph) -> None:
    less = graph.named("less")
    assert graph.consumer(less, "Multiply").name == "product"
    for kind, count in (("Add", 2), ("Convolution", 0)):
        with pytest.raises(WeightsFormatError, match=f"'less' feeds {count} {kind} layers, not one"):
            graph.consumer(less, kind)


def test_constants_have_their_values(graph: IrGraph) -> None:
    found = graph.constant_input(graph.named("less"))
    assert found is not None and torch.equal(found, VALUE)
    assert graph.constant_input(graph.named("one")) is None
    with pytest.raises(WeightsFormatError, match="'less' is no constant of a known type"):
        graph.value(graph.named("less"))


@pytest.mark.parametrize(("kind", "dtype"), [("f16", np.float16), ("i64", np.int64), ("i32", np.int32)])
def test_constants_keep_their_type(kind: str, dtype: type[np.generic], tmp_path: Path) -> None:
    file = IrFile()
    data = np.array([3, -2], dtype)
    file.blob = b"\0" * 8 + data.tobytes()
    file.add("Const", (), "c", element_type=kind, shape="2", offset="8", size=str(data.nbytes))
    file.add("Const", (), "scalar", element_type=kind, shape="", offset="8", size=str(data.itemsize))
    graph = IrGraph(*file.write(tmp_path, "typed"))
    assert np.array_equal(graph.value(graph.named("c")).numpy(), data)
    assert graph.value(graph.named("scalar")).shape == () and int(graph.value(graph.named("scalar"))) == 3


def test_constants_of_other_types_or_cut_short_are_refused(tmp_path: Path) -> None:
    file = small()
    file.add("Const", (), "odd", element_type="u4", shape="2", offset="0", size="1")
    xml, binary = file.write(tmp_path, "small")
    graph = IrGraph(xml, binary)
    with pytest.raises(WeightsFormatError, match="'odd' is no constant of a known type"):
        graph.value(graph.named("odd"))
    binary.write_bytes(binary.read_bytes()[:-1])
    cut = IrGraph(xml, binary)
    with pytest.raises(WeightsFormatError, match="end at 23 bytes, 'c' needs 24"):
        cut.value(cut.named("c"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not XML"),
        ("<net><layers></net>", "is not XML"),
        ("<model/>", "no <net> with layers and edges"),
        ("<net><layers/></net>", "no <net> with layers and edges"),
    ],
)
def test_what_is_no_graph_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(text)
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(WeightsFormatError, match=message):
        IrGraph(tmp_path / "x.xml", tmp_path / "x.bin")
