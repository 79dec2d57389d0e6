"""Fits that were broken off: they go on where they were and end as if nothing had happened."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.editing.keeping import FitState, Kept, fit_key
from engine.editing.perceptual import PerceptualLoss
from engine.editing.tuning import TuningConfig, TuningFrame, TuningResult, tune
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics
from tests.engine.editing.made_up import SMALL_REGION

pytestmark = pytest.mark.unit
CONFIG = TuningConfig(steps=8)
Fit = Callable[..., TuningResult]


class Broken(Exception):
    """Stands for a power cut."""


def clock(step: float = 1.0) -> Callable[[], float]:
    """A clock that goes on by `step` seconds a look."""
    now = [0.0]

    def look() -> float:
        now[0] += step
        return now[0]

    return look


@pytest.fixture
def fit(small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss) -> Fit:
    """Fits a copy of the small generator to four noisy frames; may be broken off after a step."""
    random = torch.Generator().manual_seed(2)
    frames = [
        TuningFrame(
            torch.randint(0, 256, (3, SMALL_REGION.height, SMALL_REGION.width), generator=random, dtype=torch.uint8),
            torch.randn(3, generator=random),
            torch.ones(1, SMALL_REGION.height, SMALL_REGION.width),
        )
        for _ in range(4)
    ]

    def run(model: MobileStyleGAN, kept: Kept | None = None, after: int = 99) -> TuningResult:
        def progress(done: int, total: int) -> None:
            if done == after:
                raise Broken

        base = torch.zeros(small.rows, 24)
        start = torch.zeros(3, *base.shape)
        return tune(
            model, statistics, perceptual, SMALL_REGION, base, start, frames, CONFIG, progress, kept
        )  # fmt: skip

    return run


@pytest.mark.parametrize("after", [2, 7])
def test_a_fit_that_was_broken_off_ends_as_if_it_had_not_been(
    after: int, fit: Fit, small: MobileStyleGAN, tmp_path: Path
) -> None:
    """Before averaging has begun, and after; codes, directions, weights and losses are the same to the last bit."""
    whole = copy.deepcopy(small)
    wanted = fit(whole)
    path = tmp_path / "x.unfinished"
    first = Kept(path, every_s=0.0)
    first.open("key")
    with pytest.raises(Broken):
        fit(copy.deepcopy(small), first, after)
    again, model = Kept(path), copy.deepcopy(small)
    again.open("key")
    found = fit(model, again)
    assert len(found.losses) == CONFIG.steps and found.losses == wanted.losses
    assert torch.equal(found.base, wanted.base) and torch.equal(found.slopes, wanted.slopes)
    states = zip(model.state_dict().values(), whole.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in states)


def test_a_fit_of_something_else_begins_anew(fit: Fit, small: MobileStyleGAN, tmp_path: Path) -> None:
    path = tmp_path / "x.unfinished"
    first = Kept(path, every_s=0.0)
    first.open("key")
    with pytest.raises(Broken):
        fit(copy.deepcopy(small), first, 5)
    other = Kept(path)
    other.open("other key")
    assert other.code is None
    part = torch.zeros(1, requires_grad=True)
    assert other.restore(FitState([part], torch.optim.Adam([part]), [])) == (0, []) and not part.any()


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", b'\x08\0\0\0\0\0\0\0{"a": 1}'])
def test_damaged_files_count_for_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.unfinished"
    path.write_bytes(content)
    kept = Kept(path)
    kept.open("key")
    assert kept.code is None and kept.restore(FitState([], torch.optim.Adam([torch.zeros(1)]), [])) == (0, [])
    kept.keep_code(torch.ones(2, 3))
    again = Kept(path)
    again.open("key")
    assert again.code is not None and torch.equal(again.code, torch.ones(2, 3))


def stepped() -> tuple[Tensor, FitState]:
    """A number after one step."""
    part = torch.ones(1, requires_grad=True)
    optimiser = torch.optim.Adam([part])
    part.square().sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return part, FitState([part], optimiser, [])


def test_what_has_no_gradient_has_no_moments_and_is_kept_all_the_same() -> None:
    part, state = stepped()
    idle = torch.full((2,), 3.0)
    both = FitState([idle, part], state.optimiser, [])
    fresh = [torch.zeros(2), torch.zeros(1, requires_grad=True)]
    again = FitState(fresh, torch.optim.Adam([fresh[1]]), [])
    again.load(both.tensors())
    assert torch.equal(fresh[0], idle) and torch.equal(fresh[1], part)
    assert list(again.optimiser.state) == [fresh[1]]


def test_the_code_stays_beside_the_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.unfinished"
    kept = Kept(path, every_s=0.0)
    kept.open("key")
    kept.keep_code(torch.ones(2, 3))
    part, state = stepped()
    kept.offer([0.5], state)
    again = Kept(path)
    again.open("key")
    fresh = torch.zeros(1, requires_grad=True)
    losses = again.restore(FitState([fresh], torch.optim.Adam([fresh]), []))
    assert losses == (1, [0.5]) and torch.equal(fresh, part) and again.code is not None


def test_it_is_written_as_often_as_is_said(tmp_path: Path) -> None:
    """Two looks at the clock a writing, one a step that is not kept."""
    path = tmp_path / "x.unfinished"
    kept = Kept(path, every_s=4.0, clock=clock())
    kept.open("key")
    _, state = stepped()
    written = []
    for step in range(1, 12):
        kept.offer([0.0] * step, state)
        if path.exists():
            again = Kept(path)
            again.open("key")
            fresh = torch.zeros(1, requires_grad=True)
            written.append(again.restore(FitState([fresh], torch.optim.Adam([fresh]), []))[0])
    assert sorted(set(written)) == [4, 8]


def test_a_key_tells_all_that_matters_apart() -> None:
    """Numbers, shapes, types, settings, order."""
    parts: list[tuple[object, ...]] = [
        (torch.zeros(2, 3), CONFIG),
        (torch.zeros(3, 2), CONFIG),
        (torch.zeros(2, 3, dtype=torch.float16), CONFIG),
        (torch.ones(2, 3), CONFIG),
        (torch.zeros(2, 3), TuningConfig(steps=9)),
        (CONFIG, torch.zeros(2, 3)),
        ("a", "b"),
        ("ab",),
    ]
    keys = [fit_key(*part) for part in parts]
    assert len(set(keys)) == len(parts) and keys == [fit_key(*part) for part in parts]
