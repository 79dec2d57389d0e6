"""The distance of unit features against its readable twin: value, gradient, number formats, bad shapes."""

import pytest
import torch
from torch import Tensor

from kernels.unit_distance import unit_distance, unit_distance_reference

pytestmark = pytest.mark.unit


def parts(batch: int = 2, goals: int = 2, kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Feature map, unit goal, channel and pixel weights."""
    random = torch.Generator().manual_seed(0)
    found = torch.randn(batch, 5, 6, 7, generator=random)
    goal = torch.nn.functional.normalize(torch.randn(goals, 5, 6, 7, generator=random), dim=1)
    return found.to(kind), goal.to(kind), torch.rand(5, generator=random), torch.rand(goals, 1, 6, 7, generator=random)


@pytest.mark.parametrize("goals", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient_equal_the_twin(goals: int, layout: torch.memory_format) -> None:
    found, goal, head, weight = parts(goals=goals)
    outcomes = []
    for distance in (unit_distance, unit_distance_reference):
        x = found.contiguous(memory_format=layout).requires_grad_(True)
        value = distance(x, goal, head, weight)
        (value * torch.tensor([1.0, 3.0])).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        outcomes.append((value.detach(), x.grad))
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0])
    torch.testing.assert_close(outcomes[0][1].contiguous(), outcomes[1][1].contiguous(), atol=1e-6, rtol=1e-4)


def test_scaled_features_are_at_the_same_distance() -> None:
    found, goal, head, weight = parts()
    torch.testing.assert_close(unit_distance(7 * found, goal, head, weight), unit_distance(found, goal, head, weight))


def test_equal_features_have_no_distance_and_no_gradient() -> None:
    _, goal, head, weight = parts()
    x = (3 * goal).requires_grad_(True)
    value = unit_distance(x, goal, head, weight)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert float(value.detach().abs().max()) < 1e-10
    assert x.grad is not None and float(x.grad.abs().max()) < 1e-5


def test_zero_vectors_give_finite_values_and_gradients() -> None:
    found, goal, head, weight = parts()
    found[:, :, 2] = 0.0
    x = found.requires_grad_(True)
    value = unit_distance(x, goal, head, weight)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and bool(torch.isfinite(x.grad).all()) and bool(torch.isfinite(value).all())


def test_half_features_are_computed_in_single_precision() -> None:
    found, goal, head, weight = parts(kind=torch.bfloat16)
    x = found.requires_grad_(True)
    value = unit_distance(x, goal, head, weight)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert value.dtype == torch.float32 and x.grad is not None and x.grad.dtype == torch.bfloat16
    expected = unit_distance_reference(found.detach().float(), goal.float(), head, weight)
    torch.testing.assert_close(value.detach(), expected)


def test_inputs_are_left_as_they_were() -> None:
    given = parts()
    kept = [part.clone() for part in given]
    unit_distance(given[0].requires_grad_(True), *given[1:]).sum().backward()  # type: ignore[no-untyped-call]
    for part, before in zip(given, kept, strict=True):
        torch.testing.assert_close(part.detach(), before)


@pytest.mark.parametrize("part", range(4))
def test_shapes_that_do_not_fit_are_named(part: int) -> None:
    given = list(parts())
    given[part] = given[part][:, :-1] if given[part].ndim > 1 else given[part][:-1]
    with pytest.raises(ValueError, match=r"expected \[B,C,H,W\]"):
        unit_distance(*given)
