"""LSE-C, LSE-D and the offset on embeddings and runs whose answer is known; no real weights."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError
from engine.evaluation import lse
from engine.evaluation.figures import NotMeasured
from engine.evaluation.lse import LipSync, compare, cut_face
from engine.evaluation.syncnet import SyncNet
from engine.media import VideoFrame
from tests.engine.evaluation.made_syncnet import public_syncnet

pytestmark = pytest.mark.unit
LEVELS = 60 + 150 * np.random.default_rng(5).random(80)
"""Brightness of a picture, and loudness of the sound with it."""
MEAN_LEVEL = 135
ENERGY_OF_LEVEL = 356.66
"""Root of a window's energy per level."""


def embeddings(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("late", [-7, 0, 4, 15])
def test_the_offset_of_a_matched_pair_is_found(late: int) -> None:
    """Lips that show what sounded `late` pictures ago are behind by as many."""
    sound = embeddings(60)
    places = [n for n in range(60) if 0 <= n - late < 60]
    lips = torch.stack([sound[n - late] for n in places])
    confidence, distance, offset = compare(lips, sound, places)
    assert offset == late
    assert distance < 1e-4
    assert confidence == pytest.approx(8, abs=0.6)


def test_confidence_is_the_median_over_the_least_mean_distance() -> None:
    """One dimension, so that every distance can be written down: the padding is silence at zero."""
    lips, sound = torch.zeros(1, 1), torch.arange(1.0, 32.0)[:, None]
    confidence, distance, offset = compare(lips, sound, [15])
    assert (round(distance, 3), offset) == (1.0, 15)
    assert confidence == pytest.approx(16 - 1, abs=1e-3)
    confidence, distance, offset = compare(lips, sound, [0])
    assert distance == pytest.approx(0, abs=1e-3) and offset == 15
    assert confidence == pytest.approx(1, abs=1e-3)


def test_unrelated_lips_and_sound_have_little_confidence() -> None:
    matched, _, _ = compare(embeddings(200), embeddings(200), list(range(200)))
    unrelated, distance, _ = compare(embeddings(200, 1), embeddings(200, 2), list(range(200)))
    assert unrelated < 0.1 * matched and distance == pytest.approx(8, abs=0.3)


@pytest.mark.parametrize("places", [[], [0, 1, 2], [0, 60], [-1, 3]])
def test_places_have_to_fit(places: list[int]) -> None:
    with pytest.raises(ShapeError, match="places within the sound"):
        compare(embeddings(2), embeddings(60), places)


def face(x: float, y: float, iod: float) -> NDArray[np.float32]:
    """Landmarks with the eyes' middle at (x, y)."""
    points = np.full((68, 2), (x, y), np.float32)
    points[36], points[45], points[33] = (x - iod / 2, y), (x + iod / 2, y), (x, y + 0.55 * iod)
    return points


def test_the_cut_holds_the_face_and_scales_with_it() -> None:
    """A mark at the nose comes out at the same place, whatever the size and place of the face."""
    places = []
    for x, y, iod in ((150, 120, 40), (200, 160, 80)):
        rgb = np.zeros((400, 400, 3), np.uint8)
        mark = round(y + 0.55 * iod)
        rgb[mark - iod // 20 : mark + iod // 20, x - iod // 20 : x + iod // 20] = (250, 120, 10)
        cut = cut_face(rgb, face(x, y, iod))
        assert cut.shape == (3, 224, 224) and cut.dtype == torch.uint8
        assert cut[0].max() > 200 > 150 > cut[1].max() > 60 > 20 > cut[2].max()
        bright = (cut[0] > 125).nonzero().float().mean(0)
        places.append(bright)
        assert abs(float(bright[1]) - 112) < 4
    assert torch.allclose(places[0], places[1], atol=4) and 75 < float(places[0][0]) < 112


def test_what_lies_outside_the_picture_is_grey() -> None:
    cut = cut_face(np.full((100, 100, 3), 255, np.uint8), face(0, 50, 40))
    assert set(cut[:, 100, :60].flatten().tolist()) == {110}
    assert set(cut[:, 100, 150:].flatten().tolist()) == {255}
    with pytest.raises(NotMeasured, match="outside the picture"):
        cut_face(np.zeros((100, 100, 3), np.uint8), face(5000, 50, 40))


class Echo:
    """Stands for SyncNet: pictures are embedded by their brightness, sound by its loudness in the middle of each."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def lips(self, pictures: Tensor) -> Tensor:
        self.batches.append(len(pictures))
        return pictures.float().mean((2, 3, 4)) - MEAN_LEVEL

    def sound(self, coefficients: Tensor) -> Tensor:
        return (coefficients[:, 1::4, 0] / 2).exp() / ENERGY_OF_LEVEL - MEAN_LEVEL


def run(
    level: NDArray[np.float64], rate: Fraction = Fraction(25), faceless: frozenset[int] = frozenset()
) -> tuple[Echo, LipSync]:
    """Grey pictures as bright as `level` says at their time."""
    net: Any = Echo()
    measured = LipSync(net)
    for index in range(int(len(level) / 25 * rate)):
        bright = int(level[min(len(level) - 1, round(float(index / rate) * 25))])
        picture = VideoFrame.from_rgb(np.full((64, 64, 3), bright, np.uint8), index, 1 / rate)
        measured.add(picture, None if index in faceless else face(32, 25, 20))
    return net, measured


def spoken(level: NDArray[np.float64], late: int = 0) -> NDArray[np.float32]:
    """A hum as loud as `level` says, 40 ms each; its energy in a window is then the square of its level, about."""
    loud = np.roll(level, -late).repeat(640)
    time = np.arange(len(loud)) / 16000
    return (loud / 256 * 0.9 * np.sin(2 * np.pi * 800 * time)).astype(np.float32)


@pytest.mark.parametrize("late", [0, 3])
def test_a_run_is_measured_picture_by_picture(late: int) -> None:
    """Lips `late` pictures behind their sound: offset in ms, all windows, batches of a bounded size."""
    net, measured = run(LEVELS)
    found = measured.finish(spoken(LEVELS, late))
    assert found["figures"]["lse_offset_ms"] == 40 * late
    assert (found["windows"], found["left_out"], found["not_measured"]) == (75, 0, {})
    assert found["figures"]["lse_c"] > 0.2 * found["figures"]["lse_d"]
    assert max(net.batches) == 8 and sum(net.batches) == 76


@pytest.mark.parametrize("rate", [Fraction(50), Fraction(30000, 1001), Fraction(15)])
def test_other_frame_rates_are_brought_to_twenty_five(rate: Fraction) -> None:
    slow = np.convolve(np.repeat(LEVELS, 5), np.ones(5) / 5, mode="same")[:100]
    _, measured = run(slow, rate)
    found = measured.finish(spoken(slow))
    assert abs(found["windows"] - 95) <= 2
    assert abs(found["figures"]["lse_offset_ms"]) <= 40


def test_windows_without_a_face_are_left_out_and_said_so() -> None:
    """One picture without a face costs the five windows that hold it."""
    _, measured = run(LEVELS, faceless=frozenset({20, 40}))
    found = measured.finish(spoken(LEVELS))
    assert (found["windows"], found["left_out"]) == (65, 10)
    assert found["figures"]["lse_offset_ms"] == 0


@pytest.mark.parametrize(("pictures", "sound"), [(80, 12), (12, 80), (0, 80), (80, 0)])
def test_short_runs_say_why_they_are_not_measured(pictures: int, sound: int) -> None:
    _, measured = run(LEVELS[:pictures])
    found = measured.finish(spoken(LEVELS[:sound]))
    assert found["figures"] == dict.fromkeys(lse.LSE)
    assert set(found["not_measured"]) == set(lse.LSE)
    assert "at least 25 are needed" in found["not_measured"]["lse_c"]


def test_the_whole_chain_runs_on_made_up_weights() -> None:
    """Random weights know nothing of lips: figures are finite, confidence is next to nothing."""
    measured = LipSync(SyncNet(public_syncnet().state_dict()))
    for index in range(32):
        rgb = np.full((64, 64, 3), int(LEVELS[index]), np.uint8)
        measured.add(VideoFrame.from_rgb(rgb, index, Fraction(1, 25)), face(32, 25, 20))
    found = measured.finish(spoken(LEVELS[:32]))
    assert found["windows"] == 27
    assert found["figures"]["lse_d"] > 0 and 0 <= found["figures"]["lse_c"] < found["figures"]["lse_d"]
