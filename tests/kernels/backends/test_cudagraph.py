"""The wrapper's rules: on a CPU all but the capture, on a GPU all of them."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kernels.backends.cudagraph import OFF_SWITCH, GraphedFunction, Phase, no_cuda_graphs
from kernels.errors import ArgumentMismatch, KernelError


def double(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (x * 2 + y,)


@pytest.mark.unit
def test_without_a_gpu_calls_go_straight_through() -> None:
    wrapped = GraphedFunction(double)
    x, y = torch.ones(2, 3), torch.arange(3.0)
    first = wrapped(x, y)[0]
    second = wrapped(x * 2, y)[0]
    torch.testing.assert_close(first, x * 2 + y)
    torch.testing.assert_close(second, x * 4 + y)
    assert wrapped.phase is Phase.EAGER


BAD: dict[str, tuple[object, str]] = {
    "shape": (torch.ones(3, 3), r"style of warp is \(3, 3\) torch.float32 on cpu; expected \(3,\)"),
    "type": (torch.ones(3, dtype=torch.float64), "style of warp is .* torch.float64"),
    "no tensor": (3.0, "style of warp is a float, expected a tensor"),
}


@pytest.mark.unit
@pytest.mark.parametrize("name", BAD)
def test_arguments_are_checked_by_name(name: str) -> None:
    bad, message = BAD[name]
    wrapped = GraphedFunction(double, ("x", "style"), name="warp")
    wrapped(torch.ones(2, 3), torch.ones(3))
    with pytest.raises(ArgumentMismatch, match=message):
        wrapped(torch.ones(2, 3), bad)  # type: ignore[arg-type]  # what is tested


@pytest.mark.unit
def test_number_of_arguments_is_checked() -> None:
    wrapped = GraphedFunction(double)
    wrapped(torch.ones(3), torch.ones(3))
    with pytest.raises(ArgumentMismatch, match="got 1 arguments, expected 2"):
        wrapped(torch.ones(3))


@pytest.mark.unit
def test_reset_takes_other_shapes() -> None:
    wrapped = GraphedFunction(double)
    wrapped(torch.ones(3), torch.ones(3))
    wrapped.reset()
    assert wrapped(torch.ones(5), torch.ones(5))[0].shape == (5,)


@pytest.mark.unit
def test_a_wrapper_belongs_to_one_thread() -> None:
    wrapped = GraphedFunction(double)
    wrapped(torch.ones(3), torch.ones(3))
    seen: list[str] = []

    def other() -> None:
        try:
            wrapped(torch.ones(3), torch.ones(3))
        except KernelError as error:
            seen.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(seen) == 1 and "another thread" in seen[0]


@pytest.mark.unit
def test_capture_must_not_be_the_first_run() -> None:
    with pytest.raises(ValueError, match="warmup is 0"):
        GraphedFunction(double, warmup=0)


@pytest.fixture
def wrapped() -> Iterator[GraphedFunction]:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield GraphedFunction(double)


def on_gpu(value: float) -> Tensor:
    return torch.full((3,), value, device="cuda")


@pytest.mark.gpu
def test_captured_results_are_right_and_overwritten(wrapped: GraphedFunction) -> None:
    first = wrapped(on_gpu(1.0), on_gpu(0.5))[0]
    assert wrapped.phase is Phase.REPLAYING
    assert first.tolist() == [2.5] * 3
    second = wrapped(on_gpu(2.0), on_gpu(0.5))[0]
    assert first.data_ptr() == second.data_ptr() and first.tolist() == [4.5] * 3


@pytest.mark.gpu
def test_copies_stay(wrapped: GraphedFunction) -> None:
    keeping = GraphedFunction(double, copy_out=True)
    first = keeping(on_gpu(1.0), on_gpu(0.5))[0]
    keeping(on_gpu(2.0), on_gpu(0.5))
    assert first.tolist() == [2.5] * 3


@pytest.mark.gpu
def test_switches_turn_capture_off(wrapped: GraphedFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_cuda_graphs():
        wrapped(on_gpu(1.0), on_gpu(1.0))
    monkeypatch.setenv(OFF_SWITCH, "1")
    wrapped(on_gpu(1.0), on_gpu(1.0))
    assert wrapped.phase is Phase.EAGER
