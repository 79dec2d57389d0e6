"""The choice of a backend: by time among those that are right, with every reason said."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kernels.backends.choice import BackendName, Choice, Runner, choose, difference_of, median_ms, worst_of
from kernels.errors import BackendMismatch, BackendUnavailable

pytestmark = pytest.mark.unit


class Costs:
    """A clock that moves by what each runner costs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def runner(self, seconds: float, error: float = 0.0) -> Runner:
        def run(x: Tensor) -> tuple[Tensor, ...]:
            self.now += seconds
            return (x * 2 + error,)

        return run


def missing() -> Runner:
    raise BackendUnavailable("no compiler: install one")


def chosen(costs: Costs, candidates: dict[str, Callable[[], Runner]], asked: BackendName = "auto") -> Choice:
    inputs = [(torch.ones(3),), (torch.arange(3.0),)]
    return choose(costs.runner(0.010), candidates, inputs, 0.01, asked, 3, costs)


def test_fastest_right_one_is_taken() -> None:
    costs = Costs()
    found = chosen(costs, {"aoti": lambda: costs.runner(0.006), "aoti bf16": lambda: costs.runner(0.003, 0.005)})
    assert found.name == "aoti bf16"
    assert found.runner(torch.ones(1))[0].item() == pytest.approx(2.005)
    assert found.reason == "fastest here with 3.0 ms, difference 0.005 (eager 10.0 ms; aoti 6.0 ms)"


def test_eager_is_taken_when_it_is_fastest() -> None:
    costs = Costs()
    assert chosen(costs, {"aoti": lambda: costs.runner(0.02)}).name == "eager"


def test_a_fast_one_that_is_wrong_is_not_taken_and_is_said() -> None:
    costs = Costs()
    found = chosen(costs, {"aoti": lambda: costs.runner(0.001, 0.5)})
    assert found.name == "eager"
    assert "aoti differs from eager by 0.5, more than 0.01" in found.reason
    assert found.trials[1].ms is None


def test_a_missing_one_is_said() -> None:
    found = chosen(Costs(), {"aoti": missing})
    assert found.name == "eager" and "no compiler" in found.reason
    assert found.as_dict()["trials"][1] == {
        "name": "aoti", "ms": None, "difference": None, "verdict": "no compiler: install one",
    }  # fmt: skip


def test_what_is_asked_for_is_taken_though_it_is_slower() -> None:
    costs = Costs()
    found = chosen(costs, {"aoti": lambda: costs.runner(0.02), "tensorrt": missing}, "aoti")
    assert found.name == "aoti" and found.reason.startswith("asked for")
    assert [trial.name for trial in found.trials] == ["eager", "aoti"]


def test_eager_can_be_asked_for() -> None:
    costs = Costs()
    assert chosen(costs, {"aoti": lambda: costs.runner(0.001)}, "eager").name == "eager"


def test_asking_for_what_cannot_be_had_is_an_error() -> None:
    with pytest.raises(BackendUnavailable, match="backend aoti cannot be used: aoti: no compiler"):
        chosen(Costs(), {"aoti": missing}, "aoti")
    with pytest.raises(BackendUnavailable, match="no such candidate"):
        chosen(Costs(), {"aoti": missing}, "tensorrt")


def test_asking_for_what_is_wrong_is_an_error() -> None:
    costs = Costs()
    with pytest.raises(BackendMismatch, match="differs from eager by 0.5"):
        chosen(costs, {"aoti": lambda: costs.runner(0.001, 0.5)}, "aoti")


def test_no_number_is_no_small_difference() -> None:
    nothing = torch.full((2,), float("nan"))
    assert difference_of((nothing,), (torch.zeros(2),)) == float("inf")
    assert difference_of((torch.zeros(3),), (torch.zeros(2),)) == float("inf")
    assert difference_of((torch.tensor([3.0, 4.0]),), (torch.zeros(2),)) == pytest.approx(12.5**0.5)


def test_first_run_is_not_timed() -> None:
    ticks = iter([0.0, 10.0, 10.5, 20.0, 20.25, 30.0, 30.75])
    assert median_ms(lambda: None, 3, lambda: next(ticks)) == 500.0


def test_each_set_of_inputs_is_judged_by_the_reference_on_the_same_inputs() -> None:
    """Shares of the reference: of the first inputs' alone, an error of the second would be a thousandth of its size."""

    def share(results: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        return results[1] / wanted[1].abs().max()

    def reference(x: Tensor) -> tuple[Tensor, ...]:
        return x * 0, 2 * x

    def wrong(x: Tensor) -> tuple[Tensor, ...]:
        return x * 0, 2 * x * (1.2 if float(x.max()) < 1 else 1.0)

    inputs = [(torch.full((3,), 1000.0),), (torch.ones(3) / 2,)]
    found = choose(reference, {"aoti": lambda: wrong}, inputs, 0.05, judged=share)
    assert found.name == "eager" and "aoti differs from eager by 0.2, more than 0.05" in found.reason
    first = choose(reference, {"aoti": lambda: wrong}, inputs[:1], 0.05, "aoti", judged=share)
    assert first.trials[1].difference == 0.0


def test_what_is_timed_is_the_candidate_alone() -> None:
    costs = Costs()

    def slow(results: tuple[Tensor, ...], _: tuple[Tensor, ...]) -> Tensor:
        costs.now += 5.0
        return results[0]

    found = choose(
        costs.runner(0.010), {"aoti": lambda: costs.runner(0.004)}, [(torch.ones(3),)], 0.01, "auto", 3, costs, slow
    )
    assert [trial.ms for trial in found.trials] == pytest.approx([10.0, 4.0])


@pytest.mark.parametrize("place", range(3))
def test_a_wrong_result_is_not_averaged_away(place: int) -> None:
    wanted = (torch.zeros(1, 3, 200, 200), torch.zeros(()), torch.ones(1, 1, 8, 8))
    found = tuple(each + 0.25 * (index == place) for index, each in enumerate(wanted))
    assert float(worst_of(found, wanted)) == pytest.approx(0.25)


def test_what_cannot_be_compared_is_wrong() -> None:
    wanted = (torch.zeros(2, 3), torch.zeros(4))
    assert float(worst_of((torch.zeros(2, 3),), wanted)) == torch.inf
    assert float(worst_of((torch.zeros(1, 3), torch.zeros(4)), wanted)) == torch.inf
    assert bool(worst_of((torch.full((2, 3), torch.nan), torch.zeros(4)), wanted).isnan())
