"""Features of a frame: fitted on a clip, bounded outside it, saved and read."""

import numpy as np
import pytest
import torch

from engine.editing.features import FeatureModel
from engine.errors import ShapeError
from tests.engine.editing.made_up import neutral_head, seen

pytestmark = pytest.mark.unit


def _clip() -> list[tuple[float, float]]:
    return [(float(yaw), 0.01 * index) for index, yaw in enumerate(np.linspace(-10, 10, 15))]


def _model() -> FeatureModel:
    return FeatureModel.fit([seen(neutral_head(), yaw, light) for yaw, light in _clip()], components=3)


def test_mean_frame_has_small_features() -> None:
    """The middle of a symmetric clip lies near the origin, its ends far from it."""
    model = _model()
    middle, end = model(seen(neutral_head(), 0.0, 0.07)), model(seen(neutral_head(), 10.0, 0.14))
    assert float(middle.abs().max()) < 0.5
    assert float(end.abs().max()) > 0.8


def test_features_are_held_outside_the_clip() -> None:
    """A pose far outside gives no larger features than one at the margin: the anchor is not thrown off."""
    model = _model()
    far, farther = model(seen(neutral_head(), 35.0, 0.14)), model(seen(neutral_head(), 44.0, 0.14))
    assert torch.equal(far[0], farther[0])
    assert float(farther.abs().max()) <= 5.0


def test_saved_model_reads_the_same() -> None:
    """Every tensor goes to a file and back."""
    model = _model()
    again = FeatureModel.from_tensors(model.tensors())
    frame = seen(neutral_head(), 3.0, 0.02)
    assert torch.equal(model(frame), again(frame))
    assert again.count == len(model(frame))


def test_one_frame_gives_the_angles_alone() -> None:
    """Nothing varies, so there are no components and no division by zero."""
    model = FeatureModel.fit([seen(neutral_head())])
    assert model.count == 3
    assert bool(torch.isfinite(model(seen(neutral_head(), 20.0))).all())


def test_no_frames_are_refused() -> None:
    """An empty clip is an error."""
    with pytest.raises(ShapeError, match="at least one"):
        FeatureModel.fit([])
