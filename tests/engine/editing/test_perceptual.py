"""The perceptual distance: against figures of the original package, and its rules."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.editing.perceptual import PerceptualLoss, has_bfloat16
from engine.errors import ShapeError, WeightsFormatError


def _pictures() -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    a = torch.rand(1, 3, 96, 80, generator=noise) * 2 - 1
    return a, (a + 0.3 * torch.randn(1, 3, 96, 80, generator=noise)).clamp(-1, 1)


@pytest.mark.slow
def test_equals_the_original_package(weights: Callable[[str], Path]) -> None:
    """Distances that the package `stlpips-pytorch` 0.0.2 itself gave for these pictures (its version 0.1 scaling)."""
    found = PerceptualLoss(weights("stlpips-vgg"))(*_pictures())
    assert float(found) == pytest.approx(0.012079904787242413, rel=1e-4)


@pytest.mark.unit
def test_equal_pictures_have_no_distance(perceptual: PerceptualLoss) -> None:
    """Zero for a picture and itself, more for a noisier one."""
    a, b = _pictures()
    assert float(perceptual(a, a)) == 0.0
    assert 0 < float(perceptual(a, 0.5 * (a + b))) < float(perceptual(a, b))


@pytest.mark.unit
def test_mask_chooses_where_it_looks(perceptual: PerceptualLoss) -> None:
    """A difference in the right half does not count under a mask of the left half."""
    a, _ = _pictures()
    b = a.clone()
    b[..., 60:] *= -1
    left = torch.zeros(1, 1, 96, 80)
    left[..., :24] = 1
    assert float(perceptual(a, b, left)) < 0.05 * float(perceptual(a, b))


@pytest.mark.unit
def test_fewer_stages_give_fewer_features(perceptual: PerceptualLoss) -> None:
    """A call may cut the network shorter than it was made."""
    a, _ = _pictures()
    assert [len(perceptual.goal(a, n)) for n in (1, 3, None)] == [1, 3, 4]


@pytest.mark.slow
def test_bfloat16_points_the_same_way(weights: Callable[[str], Path]) -> None:
    """Its distance is close, and its gradient almost parallel."""
    a, b = _pictures()
    gradients, distances = [], []
    for half in (False, True):
        loss = PerceptualLoss(weights("stlpips-vgg"), 3, half=half)
        x = a.clone().requires_grad_(True)
        distance = loss(x, b).sum()
        assert distance.dtype == torch.float32
        distance.backward()
        assert x.grad is not None
        gradients.append(x.grad.flatten())
        distances.append(float(distance.detach()))
    assert distances[1] == pytest.approx(distances[0], rel=0.02)
    assert float(torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)) > 0.98


@pytest.mark.unit
def test_has_bfloat16_says_no_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not has_bfloat16()


@pytest.mark.unit
def test_other_weights_and_shapes_are_refused(perceptual: PerceptualLoss, tmp_path: Path) -> None:
    """Each with what was expected."""
    with pytest.raises(ShapeError, match=r"expected \[B,3,H,W\]"):
        perceptual.goal(torch.zeros(1, 1, 96, 80))
    with pytest.raises(ShapeError, match="expected the size"):
        perceptual.distance(torch.zeros(1, 3, 96, 80), perceptual.goal(torch.zeros(1, 3, 96, 96)))
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, other)
    with pytest.raises(WeightsFormatError, match="shift-tolerant VGG16"):
        PerceptualLoss(other)


@pytest.mark.unit
def test_what_pictures_are_compared_with_has_channels_side_by_side(perceptual: PerceptualLoss) -> None:
    """Compiled steps read both together: in another order every number would be moved first."""
    for layout in (torch.contiguous_format, torch.channels_last):
        picture = _pictures()[0].contiguous(memory_format=layout)
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in perceptual.goal(picture))
