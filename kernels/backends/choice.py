"""Which backend is used on this machine: each candidate is built, compared with the reference, and timed.

Nothing falls back in silence: a candidate that cannot be built, or that computes something else, stays in the list of
trials with its reason, and the choice says why it was made.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from kernels.errors import BackendMismatch, BackendUnavailable

BackendName = Literal["auto", "eager", "aoti", "cudagraph", "tensorrt"]
BACKENDS: Final[tuple[BackendName, ...]] = get_args(BackendName)
"""What may be asked for."""

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a graph's inputs, gives its results."""
Judge = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""A runner's results and the reference's on the same inputs, to what is compared."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one candidate."""

    name: str
    """The candidate."""
    ms: float | None
    """Median time of a run in ms; None when it was not run."""
    difference: float | None
    """Root mean square difference from the reference's first result; None when it was not run."""
    verdict: str
    """"usable", or why not."""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"name": self.name, "ms": self.ms, "difference": self.difference, "verdict": self.verdict}


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that is used, and why."""

    name: str
    """The candidate."""
    runner: Runner
    """Runs it."""
    reason: str
    """Why this one."""
    trials: tuple[Trial, ...]
    """All candidates, in the order in which they were tried."""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"backend": self.name, "reason": self.reason, "trials": [trial.as_dict() for trial in self.trials]}


def difference_of(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Root mean square difference of the first results; infinite when shapes differ or a value is no number."""
    if len(found) != len(wanted) or any(a.shape != b.shape for a, b in zip(found, wanted, strict=False)):
        return float("inf")
    value = float((found[0].double() - wanted[0].double()).square().mean().sqrt())
    return value if value == value else float("inf")


def worst_of(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
    """A `Judge` of several results, each by itself: one that is wrong is not averaged away by others that are right.

    Args:
        found: results.
        wanted: the reference's.

    Returns:
        The largest root mean square difference of a result, a scalar, and so 0 for the reference's own; infinite where
        results are missing or of other shapes.
    """
    if [each.shape for each in found] != [each.shape for each in wanted]:
        return torch.tensor(torch.inf)
    pairs = zip(found, wanted, strict=True)
    return torch.stack([(one.double() - other.double()).square().mean().sqrt() for one, other in pairs]).amax()


def median_ms(run: Callable[[], object], rounds: int, clock: Clock = time.perf_counter) -> float:
    """Median time of a call in ms, after one that is not timed; waits for a GPU's work."""
    times = []
    for index in range(rounds + 1):
        begin = clock()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if index:
            times.append((clock() - begin) * 1000)
    return sorted(times)[len(times) // 2]


def choose(
    reference: Runner,
    candidates: Mapping[str, Callable[[], Runner]],
    inputs: Sequence[Sequence[Tensor]],
    limit: float,
    asked: BackendName = "auto",
    rounds: int = 5,
    clock: Clock = time.perf_counter,
    judged: Judge = lambda results, _: results[0],
) -> Choice:
    """Build, check and time backends, and take the fastest that is right; or the one that is asked for.

    Args:
        reference: what all must equal; itself the candidate "eager".
        candidates: name -> builds a runner; may raise BackendUnavailable. Names that begin with the asked one belong
            to it ("aoti" and "aoti bf16").
        inputs: sets of inputs to compare on; the first is timed.
        limit: largest root mean square difference from what is compared of the reference's results.
        asked: "auto", or the only backend that will do.
        rounds: timed runs of each.
        clock: seconds.
        judged: what is compared; the first result by default.

    Raises:
        BackendUnavailable: the backend asked for cannot be had here.
        BackendMismatch: it computes something else than the reference.
    """
    with torch.no_grad():
        wanted = [reference(*each) for each in inputs]
        eager_ms = median_ms(lambda: reference(*inputs[0]), rounds, clock)
        trials, runners = [Trial("eager", eager_ms, 0.0, "usable")], {"eager": reference}
        for name, build in candidates.items():
            if asked not in ("auto", name.split()[0]):
                continue
            trial, runner = _try(name, build, list(zip(inputs, wanted, strict=True)), limit, rounds, clock, judged)
            trials.append(trial)
            if runner is not None:
                runners[name] = runner
    usable = [
        trial for trial in trials if trial.name in runners and (asked == "auto" or asked == trial.name.split()[0])
    ]
    if not usable:
        failed = [trial for trial in trials if trial.name != "eager"]
        said = "; ".join(f"{trial.name}: {trial.verdict}" for trial in failed) or "no such candidate here"
        kind = BackendMismatch if any(trial.difference is not None for trial in failed) else BackendUnavailable
        raise kind(f"backend {asked} cannot be used: {said}. Use --backend auto or eager")
    best = min(usable, key=lambda trial: trial.ms or 0.0)
    return Choice(best.name, runners[best.name], _reason(best, trials, asked), tuple(trials))


def _try(
    name: str,
    build: Callable[[], Runner],
    pairs: Sequence[tuple[Sequence[Tensor], tuple[Tensor, ...]]],
    limit: float,
    rounds: int,
    clock: Clock,
    judged: Judge,
) -> tuple[Trial, Runner | None]:
    """Try a candidate on inputs with the reference's results, each judged by its own."""
    try:
        runner = build()
    except BackendUnavailable as error:
        return Trial(name, None, None, str(error)), None
    worst = 0.0
    for inputs, wanted in pairs:
        worst = max(worst, difference_of((judged(runner(*inputs), wanted),), (judged(wanted, wanted),)))
    if not worst <= limit:
        return Trial(name, None, worst, f"differs from eager by {worst:.2g}, more than {limit:.2g}"), None
    return Trial(name, median_ms(lambda: runner(*pairs[0][0]), rounds, clock), worst, "usable"), runner


def _reason(best: Trial, trials: Sequence[Trial], asked: BackendName) -> str:
    if asked != "auto":
        return f"asked for; differs from eager by {best.difference:.2g}"
    others = [
        f"{t.name} {t.ms:.1f} ms" if t.ms is not None else f"{t.name} {t.verdict}" for t in trials if t is not best
    ]
    return f"fastest here with {best.ms:.1f} ms, difference {best.difference:.2g} ({'; '.join(others) or 'no other'})"
