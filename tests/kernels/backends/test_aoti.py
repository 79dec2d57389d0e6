"""Compiled packages: equal to the graph, kept and found again, made again when damaged, honest about arguments."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kernels.backends import aoti
from kernels.backends.aoti import check_arguments, compiled, frozen, is_cached, is_whole, package_name
from kernels.errors import ArgumentMismatch, BackendUnavailable
from kernels.flat import FlatGraph, trace


def graph(factor: float = 2.0) -> FlatGraph:
    weight = torch.full((4, 3), factor)
    return trace(lambda x: (x @ weight).tanh() + 1.0, (torch.zeros(2, 4),))


def x() -> Tensor:
    return torch.linspace(-1, 1, 8).reshape(2, 4)


@pytest.mark.slow
@pytest.mark.usefixtures("_has_compiler")
def test_a_package_is_made_kept_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One build each: the first call, and after damage."""
    first = compiled(graph(), tmp_path)
    assert first.compile_s > 0
    torch.testing.assert_close(first(x())[0], graph()(x())[0])
    again = compiled(graph(), tmp_path)
    assert again.compile_s == 0 and again.package == first.package
    other = compiled(graph(3.0), tmp_path)
    assert other.compile_s == 0, "other weights are other constants, not another package"
    torch.testing.assert_close(other(x())[0], graph(3.0)(x())[0])
    torch.testing.assert_close(again(x())[0], graph()(x())[0])
    first.package.write_bytes(first.package.read_bytes()[:-100])
    assert not is_cached(graph(), tmp_path)
    with caplog.at_level(logging.WARNING):
        mended = compiled(graph(), tmp_path, "render")
    assert mended.compile_s > 0 and "compiled render" in caplog.text and "damaged" in caplog.text
    torch.testing.assert_close(mended(x())[0], graph()(x())[0])


class Curve(nn.Module):
    """A network of two layers with two results."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        found = self.layer(value).tanh() * self.factor
        return found, found.mean((1, 2, 3))


@pytest.mark.slow
@pytest.mark.usefixtures("_has_compiler")
def test_a_network_is_compiled_with_its_weights_kept_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is loaded knows its weights; the network itself is only needed where the package is not there."""
    network, path = Curve(2.0).eval().requires_grad_(False), tmp_path / "made" / "curve.pt2"
    value = torch.linspace(-1, 1, 3 * 16 * 12).reshape(1, 3, 16, 12)
    first = frozen(network, (value,), path)
    assert first.compile_s > 0 and is_whole(path)
    for one, other in zip(first(value), network(value), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    last = value.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first(last)[0], first(value)[0])
    again = frozen(Curve(5.0), (value,), path)
    assert again.compile_s == 0
    torch.testing.assert_close(again(value)[0], first(value)[0])
    path.write_bytes(path.read_bytes()[:-100])
    assert not is_whole(path)
    with caplog.at_level(logging.WARNING):
        mended = frozen(network, (value,), path, "curve")
    assert mended.compile_s > 0 and "compiled curve" in caplog.text and "damaged" in caplog.text
    torch.testing.assert_close(mended(value)[0], network(value)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.unit
def test_a_compiled_network_takes_what_it_was_made_for_in_any_order(tmp_path: Path) -> None:
    example = torch.zeros(1, 3, 4, 5)
    seen: list[Tensor] = []

    def run(*given: Tensor) -> list[Tensor]:
        seen.extend(given)
        return list(given)

    package = aoti.FrozenNetwork((example,), tmp_path, 0.0, run)
    value = torch.rand(1, 3, 4, 5)
    (found,) = package(value.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, value) and len(seen) == 1 and seen[0].is_contiguous()
    with pytest.raises(ArgumentMismatch, match=r"input 0 is \(1, 3, 4, 4\)"):
        package(value[..., :4])
    with pytest.raises(ArgumentMismatch, match="2 inputs, expected 1"):
        package(value, value)


@pytest.mark.unit
def test_a_network_is_compiled_for_no_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor leaves filters unpacked, and says nothing, where gradients may be asked for."""
    seen: list[tuple[bool, bool]] = []

    def package(program: object, package_path: str, inductor_configs: dict[str, object]) -> None:
        seen.append((torch.is_grad_enabled(), bool(inductor_configs["freezing"])))
        Path(package_path).write_bytes(b"code")

    monkeypatch.setattr(aoti, "compiler", lambda: "c++")
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", package)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path: lambda *inputs: inputs)
    with torch.enable_grad():
        example = torch.zeros(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        made = frozen(Curve(1.0), (example,), tmp_path / "curve.pt2")
    assert made.examples[0].is_contiguous(), "loaded with an example of another order it would read wrong numbers"
    assert seen == [(False, True)]


@pytest.mark.unit
def test_a_network_without_a_compiler_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise BackendUnavailable("AOTInductor needs a C++ compiler")

    monkeypatch.setattr(aoti, "compiler", none)
    with pytest.raises(BackendUnavailable, match="needs a C[+][+] compiler"):
        frozen(Curve(1.0), (torch.zeros(1, 3, 4, 4),), tmp_path / "made" / "curve.pt2")
    assert [each.suffix for each in (tmp_path / "made").iterdir()] == [".lock"]


@pytest.mark.unit
def test_inputs_reach_compiled_code_in_the_order_that_it_reads() -> None:
    """Compiled code looks at shapes and never at strides: other strides would be other numbers."""
    example = torch.zeros(2, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    seen: list[Tensor] = []

    def run(found: Tensor) -> tuple[Tensor]:
        seen.append(found)
        return (found,)

    package = aoti.CompiledGraph(trace(lambda value: value * 2, (example,)), Path(), 0.0, run)
    plain = torch.arange(72.0).reshape(2, 4, 3, 3)
    last = plain.contiguous(memory_format=torch.channels_last)
    package(plain)
    package(last)
    assert seen[0].stride() == example.stride() and torch.equal(seen[0], plain)
    assert seen[1] is last, "nothing is copied that lies right"


@pytest.mark.unit
def test_results_are_refused_for_other_arguments() -> None:
    examples = (torch.zeros(2, 4),)
    check_arguments((x(),), examples)
    for bad, message in (
        ((torch.zeros(3, 4),), r"input 0 is \(3, 4\) torch.float32 on cpu; expected \(2, 4\)"),
        ((torch.zeros(2, 4, dtype=torch.float64),), "float64"),
        ((), "0 inputs, expected 1"),
    ):
        with pytest.raises(ArgumentMismatch, match=message):
            check_arguments(bad, examples)


@pytest.mark.unit
def test_packages_are_named_after_all_that_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    name = package_name(graph())
    assert package_name(graph(5.0)) == name
    assert package_name(trace(lambda x: x + 1, (torch.zeros(2, 4),))) != name
    with monkeypatch.context() as changed:
        changed.setattr(torch, "get_num_threads", lambda: 99)
        assert package_name(graph()) != name
    with monkeypatch.context() as changed:
        changed.setattr(torch, "__version__", "0.0")
        assert package_name(graph()) != name
    monkeypatch.setattr(aoti, "processor", lambda: "another")
    assert package_name(graph()) != name


@pytest.mark.unit
def test_without_a_compiler_it_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise BackendUnavailable("AOTInductor needs a C++ compiler")

    monkeypatch.setattr(aoti, "compiler", none)
    with pytest.raises(BackendUnavailable, match="needs a C[+][+] compiler"):
        compiled(graph(), tmp_path)
    assert not list(tmp_path.glob("*.pt2"))


@pytest.mark.unit
def test_a_file_without_its_digest_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / package_name(graph())).write_bytes(b"machine code of somebody else")
    assert not is_cached(graph(), tmp_path)
