"""What follows a film slowly follows it as slowly at every frame rate."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.calm import Calm
from engine.editing.detail import Detail, Fineness
from engine.editing.editor import EditState
from engine.editing.grain import Grain
from engine.editing.light import followed
from engine.editing.refine import RefineConfig, begun, taken
from engine.editing.settling import FRAME_S, kept_in, share_in
from engine.editing.texture import Texture
from engine.errors import BadInputError
from tests.engine.editing.test_texture import REGION, face

pytestmark = pytest.mark.unit

RATES = (10, 24, 25, 29.97, 50, 60, 100)
SECONDS = 0.2
"""After which one film at two rates is compared; whole frames of rates of 10 and 25 and their multiples."""


def flat(level: float) -> Tensor:
    """A region of one grey."""
    return torch.full((1, 3, REGION.height, REGION.width), level)


def shaken(seed: int) -> Tensor:
    """Noise, fixed by its seed."""
    return torch.randn(1, 3, REGION.height, REGION.width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.9, 1.0])
def test_shares_lead_as_far_in_a_second_at_every_rate(rate: float, share: float) -> None:
    gone = 1 - (1 - share_in(1 / rate, share)) ** rate
    assert gone == pytest.approx(1 - (1 - share) ** 25, abs=1e-9)
    assert kept_in(1 / rate, 1 - share) ** rate == pytest.approx((1 - share) ** 25, abs=1e-9)


def test_at_25_frames_a_second_a_share_is_itself() -> None:
    assert share_in(FRAME_S, 0.25) == 0.25 and kept_in(FRAME_S, 0.85) == 0.85


@pytest.mark.parametrize(("elapsed", "share"), [(0.0, 0.5), (-0.04, 0.5), (0.04, 1.2), (0.04, -0.1), (np.nan, 0.5)])
def test_time_that_stands_still_and_shares_that_are_none_are_refused(elapsed: float, share: float) -> None:
    with pytest.raises(BadInputError, match="expected more than 0, and 0 to 1"):
        share_in(elapsed, share)


def light_after(frames: int) -> float:
    """Of a lamp that is a little brighter from one frame on."""
    running = followed(None, flat(0.0), FRAME_S)
    for _ in range(frames):
        running = followed(running, flat(0.03), SECONDS / frames)
    return float(running.mean())


def calm_after(frames: int) -> float:
    """Of a chin that is drawn a little brighter."""
    last = Calm.following(None, flat(0.0), face(), REGION, FRAME_S)
    for _ in range(frames):
        last = Calm.following(last, flat(0.05), face(), REGION, SECONDS / frames)
    x, y = ((face()[8] - (REGION.left, REGION.top)) / 4).astype(int)
    return float(last.picture[0, 0, y, x])


def texture_after(frames: int) -> float:
    """Share of the new texture."""
    last = Texture.following(None, shaken(1), face(), REGION, FRAME_S)
    for _ in range(frames):
        last = Texture.following(last, shaken(2), face(), REGION, SECONDS / frames)
    return float((last.band * last.fresh).sum() / last.fresh.square().sum())


def detail_after(frames: int, shown: float, first: float, then: float) -> Detail:
    """Of a film whose fineness changes after a frame, beside a region of one fineness."""
    detail = Detail(0.5, 0.0)
    detail.follow(Fineness(shown, 1.0), Fineness(first, 1.0), FRAME_S)
    for _ in range(frames):
        detail.follow(Fineness(shown, 1.0), Fineness(then, 1.0), SECONDS / frames)
    return detail


def own_after(frames: int) -> float:
    """The running mean of the film's fineness."""
    return detail_after(frames, 50.0, 50.0, 80.0).own


def sharpening_after(frames: int) -> float:
    """With far too little sharpness all the time."""
    return detail_after(frames, 1.0, 500.0, 500.0).share


def noise_after(frames: int) -> float:
    """The film's noise as measured where it grew from a little to a lot."""
    grain = Grain()

    def plate(seed: int, deviation: float) -> NDArray[np.float32]:
        return np.random.default_rng(seed).normal(128, deviation, (64, 64)).astype(np.float32)

    for seed in (1, 2):
        grain.follow(plate(seed, 1.0), 0, 0, FRAME_S)
    for seed in range(frames):
        grain.follow(plate(10 + seed, 20.0), 0, 0, SECONDS / frames)
    assert grain.fresh is not None
    return grain.fresh


def offset_after(frames: int) -> float:
    """What is left of an offset by searches that find the same place again and again."""
    offset, config = torch.ones(1, 1), RefineConfig()
    for _ in range(frames):
        offset = taken(begun(offset, SECONDS / frames, config), torch.zeros(1, 1), 2, SECONDS / frames, config)
    return float(offset)


FOLLOWERS = (light_after, calm_after, texture_after, own_after, sharpening_after, noise_after, offset_after)


@pytest.mark.parametrize("rate", [10, 50, 100])
@pytest.mark.parametrize("follower", FOLLOWERS, ids=lambda each: each.__name__)
def test_a_film_is_followed_as_fast_at_every_rate(follower: Callable[[int], float], rate: int) -> None:
    """Against 25 frames a second; a share of each frame would go 2.5 times as far in the same frames."""
    wanted, found = follower(round(25 * SECONDS)), follower(round(rate * SECONDS))
    assert found == pytest.approx(wanted, rel=0.02)


def test_frames_that_do_not_come_later_are_refused() -> None:
    state = EditState()
    assert state.elapsed_at(1.0) == FRAME_S, "before the first frame of a shot"
    assert state.elapsed_at(1.1) == pytest.approx(0.1)
    for seconds in (1.1, 0.5, float("nan")):
        with pytest.raises(BadInputError, match=r"follows one at 1\.1 s; expected rising times"):
            state.elapsed_at(seconds)
    state.reset()
    assert state.elapsed_at(0.2) == FRAME_S, "a new shot"
