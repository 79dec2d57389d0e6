"""Faces anywhere in frames of any size: the edit ends well, stays within its mask, and says no other numbers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.editing.perceptual import PerceptualLoss
from engine.media import Matrix, Subsampling, VideoFrame
from tests.engine.editing.made_perceptual import tiny_perceptual
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import Place, film, tracked
from tests.engine.editing.test_editor import WISH, Bench, displaced

pytestmark = pytest.mark.unit

ROOM = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PerceptualLoss:
    """Made-up weights of the perceptual network."""
    return tiny_perceptual(tmp_path_factory.mktemp("weights"))


@ROOM
@given(
    scale=st.floats(0.06, 0.6), roll=st.floats(-40, 40), yaw=st.floats(-30, 30), left=st.floats(-400, 400),
    top=st.floats(-400, 300), height=st.integers(16, 260), width=st.integers(16, 300),
)  # fmt: skip
def test_a_face_may_be_cut_by_the_frame_or_lie_beside_it(
    made: PerceptualLoss, scale: float, roll: float, yaw: float, left: float, top: float, height: int, width: int
) -> None:
    """The patch lies within the frame, its mask within 0 and 1; every pixel without mask is the frame's own."""
    place, bench = Place(scale, roll, yaw, left, top), Bench(made)
    rgb = film(np.zeros(8), place, (height, width))
    edit = bench.editor.composite(
        bench.editor.predict(rgb, tracked(neutral_head(), place), displaced(WISH), 1.0, 0, bench.state, 0.0)
    )
    patch = edit.patch
    assert np.isfinite(patch.rgb).all() and np.isfinite(edit.target).all()
    assert float(patch.mask.min(initial=0.0)) >= 0.0 and float(patch.mask.max(initial=0.0)) <= 1.0
    source = VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), "444", full_range=True)
    done = patch.into(source)
    covered = np.zeros((height, width), bool)
    rows, columns = patch.mask.shape
    inside = covered[max(0, patch.top) : patch.top + rows, max(0, patch.left) : patch.left + columns]
    inside |= patch.mask[max(0, -patch.top) :, max(0, -patch.left) :][: inside.shape[0], : inside.shape[1]] > 0
    for mine, own in zip(done.planes, source.planes, strict=True):
        assert np.array_equal(mine[~covered], own[~covered])
        assert mine.dtype == own.dtype and mine.shape == own.shape


@pytest.mark.parametrize("place", [Place(top=300.0), Place(left=-400.0), Place(left=400.0), Place(top=-400.0)])
def test_a_mouth_beside_the_frame_changes_nothing_in_it(made: PerceptualLoss, place: Place) -> None:
    """As when somebody sinks below the picture; the frames after it are edited as before."""
    bench, size = Bench(made), (120, 300)
    rgb = film(np.zeros(8), place, size)
    source = VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), "444", full_range=True)
    edit = bench.editor.composite(
        bench.editor.predict(rgb, tracked(neutral_head(), place), displaced(WISH), 1.0, 0, bench.state, 0.0)
    )
    assert all(np.array_equal(a, b) for a, b in zip(edit.patch.into(source).planes, source.planes, strict=True))
    bench.state.reset()
    again, fresh = bench.shown(bench.edit(WISH)), Bench(made)
    assert np.allclose(again, fresh.shown(fresh.edit(WISH)), atol=0.05)


@ROOM
@given(strength=st.floats(0, 1), opening=st.floats(-30, 60), other=st.floats(-5, 5))
def test_whatever_speech_asks_and_however_strongly_pixels_stay_pixels(
    made: PerceptualLoss, strength: float, opening: float, other: float
) -> None:
    bench, wish = Bench(made), np.full(8, other)
    wish[0] = opening
    edit = bench.edit(wish, strength=strength)
    assert np.isfinite(edit.patch.rgb).all() and float(edit.patch.mask.max()) <= strength + 1e-6
    assert float(edit.patch.rgb.min()) >= -1e-3 and float(edit.patch.rgb.max()) <= 255 + 1e-3


FORMATS: list[tuple[Subsampling, int, Matrix, bool]] = [
    ("420", 8, "bt601", False), ("420", 10, "bt709", False), ("422", 10, "bt2020", False), ("444", 12, "bt709", True),
]  # fmt: skip


def grey_levels(frame: VideoFrame) -> NDArray[np.float64]:
    return np.asarray(frame.rgb().astype(float).mean(2))


@pytest.mark.parametrize(("subsampling", "bits", "matrix", "full"), FORMATS)
def test_the_same_mouth_is_shown_in_every_format(
    made: PerceptualLoss, subsampling: Subsampling, bits: int, matrix: Matrix, full: bool, tmp_path: Path
) -> None:
    """Where nothing is edited, planes stay bit for bit; where something is, colours agree to rounding."""
    rgb, bench = film(np.zeros(8)), Bench(made)
    plain = VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), "444", full_range=True)
    other = VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), subsampling, bits, matrix, full)
    patch = bench.edit(WISH).patch
    wanted, found = patch.into(plain), patch.into(other)
    assert np.abs(grey_levels(found) - grey_levels(wanted)).max() <= 3
    assert np.abs(grey_levels(found) - grey_levels(other)).max() > 10, "something is edited"
    for mine, own in zip(found.planes, other.planes, strict=True):
        top = patch.top * mine.shape[0] // rgb.shape[0] - 2
        assert np.array_equal(mine[:top], own[:top])
