"""What surprises people who compile optimisation steps, each as a test: where one of these changes, we want to know."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from kernels.backends.aoti import package_name
from kernels.flat import trace
from kernels.haar import inverse_haar
from kernels.step import STATE, AdamConfig, StepState, optimisation_step
from kernels.tracing import tracing

pytestmark = pytest.mark.unit


def loss(z: Tensor) -> tuple[Tensor, ...]:
    return ((z * z).sum(),)


class CallsGrad(nn.Module):
    """A module that differentiates inside."""

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = torch.func.grad(lambda each: (each * each).sum())(z)
        return found


def test_export_of_a_module_that_differentiates_may_fail_so_graphs_are_traced_first() -> None:
    graph = trace(CallsGrad(), (torch.ones(3),))
    program = torch.export.export(graph.module, (torch.ones(3), *graph.constants))
    torch.testing.assert_close(program.module()(torch.ones(3), *graph.constants)[0], 2 * torch.ones(3))


def test_adams_first_step_is_the_sign_of_the_gradient_so_gradients_are_compared_not_steps() -> None:
    step = optimisation_step(loss, AdamConfig(rate=0.1))
    tiny = torch.tensor([1e-4, -1e-4])
    moved = step(*StepState.begin(tiny).tensors)[0] - tiny
    torch.testing.assert_close(moved, torch.tensor([-0.1, 0.1]), rtol=1e-2, atol=0)
    flipped = step(*StepState.begin(-tiny).tensors)[0] + tiny
    assert float((flipped - moved).abs().min()) > 0.19, "a gradient's sign decides, however small it is"


def test_a_python_step_count_would_be_frozen_into_a_graph() -> None:
    counted = {"steps": 0}

    def stepping(z: Tensor) -> Tensor:
        counted["steps"] += 1
        return z / (1 - 0.5 ** counted["steps"])

    graph = trace(stepping, (torch.ones(2),))
    first, second = graph(torch.ones(2))[0], graph(torch.ones(2))[0]
    torch.testing.assert_close(first, second)
    assert counted["steps"] == 1, "powers of the decays are tensors in our step for this reason"


def test_control_flow_on_values_cannot_be_traced() -> None:
    with pytest.raises(RuntimeError, match="value out of a tracing tensor"):
        trace(lambda z: z * 2 if float(z.sum()) > 0 else z * 3, (torch.ones(2),))


def test_weights_changed_after_tracing_do_not_reach_the_graph() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    graph = trace(layer, (torch.ones(1, 2),))
    before = graph(torch.ones(1, 2))[0].clone()
    layer.weight.add_(1.0)
    torch.testing.assert_close(graph(torch.ones(1, 2))[0], before)


def test_writing_into_slices_becomes_scatters_so_the_composed_form_is_traced() -> None:
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    written = make_fx(torch.func.functionalize(make_fx(inverse_haar)(x)))(x)
    with tracing():
        composed = make_fx(torch.func.functionalize(make_fx(inverse_haar)(x)))(x)
    assert "slice_scatter" in written.code and "slice_scatter" not in composed.code


def test_our_autograd_functions_cannot_be_functionalised_before_they_are_traced() -> None:
    with pytest.raises(RuntimeError, match="custom_function_call"):
        torch.func.functionalize(inverse_haar)(torch.ones(1, 4, 2, 2))


def test_a_step_that_is_not_given_its_state_begins_anew() -> None:
    step = optimisation_step(loss, AdamConfig())
    state = StepState.begin(torch.ones(2))
    once = step(*state.tensors)
    torch.testing.assert_close(step(*state.tensors)[0], once[0])
    assert not torch.equal(step(*StepState.after(once).tensors)[0], once[0])


def test_gradient_is_of_the_place_before_the_step() -> None:
    z = torch.full((2,), 3.0)
    results = optimisation_step(loss, AdamConfig())(*StepState.begin(z).tensors)
    torch.testing.assert_close(results[STATE + 1], torch.full((2,), 6.0))


def test_a_package_of_another_version_of_torch_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = trace(lambda z: z + 1, (torch.ones(2),))
    stale = package_name(graph)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert package_name(graph) != stale


def test_layout_is_part_of_what_a_graph_is_for() -> None:
    plain = torch.zeros(1, 4, 3, 3)
    last = plain.contiguous(memory_format=torch.channels_last)
    assert trace(lambda z: z * 2, (plain,)).key != trace(lambda z: z * 2, (last,)).key
