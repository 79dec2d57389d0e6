"""The measurement of the judge: known warps, known noise."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import judge as b
from engine.errors import BadInputError
from engine.evaluation import figures
from engine.media import VideoFrame

SIZE = 128


def points(gap: float = 8.0, shift: float = 0.0) -> NDArray[np.float32]:
    """A face with eyes 50 px apart and an inner-lip gap of `gap` px at (64, 84)."""
    face = np.full((68, 2), 64, dtype=np.float32)
    face[27:48, 0] = np.linspace(50, 80, 21)
    face[27:48, 1] = 45
    face[36], face[45] = (39, 40), (89, 40)
    face[48:68, 0], face[48:68, 1] = np.linspace(48, 80, 20), 84
    face[48], face[54] = (48, 84), (80, 84)
    for row, sign in b.INNER_LIPS.items():
        face[row] = (64, 84 + sign * gap / 2)
    return face + np.float32(shift)


def mouth(gap: float = 8.0) -> NDArray[np.uint8]:
    """A bright picture with a dark band of `gap` rows where the mouth is open."""
    rows = np.arange(SIZE) + 0.5
    dark = np.abs(rows - 84) < gap / 2
    return np.where(dark[:, None, None], 40, 200).repeat(SIZE, axis=1).repeat(3, axis=2).astype(np.uint8)


def height_of_gap(rgb: NDArray[np.uint8]) -> float:
    """Rows of darkness in the mouth's middle column."""
    return float(((200.0 - rgb[60:110, 64, 0]) / 160).sum())


@pytest.mark.unit
@pytest.mark.parametrize("change", [-6.0, 0.0, 5.0, 10.0])
def test_a_mouth_is_opened_by_the_change_asked_for(change: float) -> None:
    assert height_of_gap(b.opened(mouth(), points(), change)) == pytest.approx(8 + change, abs=0.6)


@pytest.mark.unit
def test_far_from_the_mouth_nothing_moves() -> None:
    rng = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    changed = (b.opened(rng, points(), 8.0) != rng).any(axis=(1, 2))
    assert not changed[:58].any() and not changed[110:].any() and changed[70:98].all()


@pytest.mark.unit
def test_jitter_of_a_line_is_zero_and_of_noise_its_size() -> None:
    assert b.jitter(np.arange(50.0)) == pytest.approx(0, abs=1e-12)
    assert b.jitter(np.random.default_rng(0).normal(0, 0.02, 5000)) == pytest.approx(0.02, rel=0.05)


@pytest.mark.unit
def test_wanted_changes_stay_within_a_tenth() -> None:
    changes = np.array([b.wanted_change(second, 100.0) for second in np.arange(0, 20, 0.04)])
    assert 8 < changes.max() <= 10 and -10 <= changes.min() < -8


def reads(count: int = 40) -> list[b.Read]:
    """Frames whose judge reads the tracker's mouth lower and with known noise."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        gap = 8 + 5 * np.sin(0.5 * index)
        tracked = points(float(gap))
        judged = tracked.astype(np.float64)
        judged[48:] += (0.0, 2.0)
        judged[48:, 0] += rng.normal(0, 0.5)
        frame = VideoFrame.from_rgb(mouth(float(gap)), index, Fraction(1, 25))
        made.append(b.Read(frame, tracked, judged, judged + (judged[:, :1] > 0) * rng.normal(0, 0.1)))
    return made


@pytest.mark.unit
def test_noise_floor_of_a_judge_with_known_faults() -> None:
    noise = b.noise_of(reads())
    assert noise["frames"] == 40 and noise["iod_px"] == pytest.approx(50)
    assert noise["opening_r_tracker_judge"] == pytest.approx(1)
    assert noise["opening_gain_judge_over_tracker"] == pytest.approx(1)
    assert noise["lip_error_floor"] == pytest.approx(0.5 * (2 / np.pi) ** 0.5 / 50, rel=0.25)
    assert noise["lip_error_floor_uncorrected"] == pytest.approx(2 / 50, rel=0.1)
    assert noise["opening_repeat_judge"] == pytest.approx(0, abs=1e-9)
    assert noise["lip_repeat_judge"] > 0


class PixelJudge:
    """Reads the gap from the pictures' darkness, everything else from the script."""

    name = "pixels"

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> figures.Series:
        """The scripted face with the gap that is in the picture."""
        return points(height_of_gap(rgb)).astype(np.float64)

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: figures.Series) -> figures.Series:
        """Always the same person."""
        return np.ones(4)


@pytest.mark.unit
@pytest.mark.parametrize(("late", "offset_ms"), [(0, 0), (2, 80)])
def test_known_edits_read_their_size_and_delay(late: int, offset_ms: float) -> None:
    judge: Any = PixelJudge()
    known = b.sensitivity(reads(60), judge, late)
    assert known["sync_offset_ms"] == pytest.approx(offset_ms, abs=6)
    assert known["frames"] == 60 and known["identity"] == 0
    if not late:
        assert known["lip_opening_r"] > 0.98
        assert known["opening_gain"] == pytest.approx(1, abs=0.1)


@pytest.mark.unit
def test_command_writes_figures_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def scripted(clip: Path, judge: Any, left_out: list[str]) -> list[b.Read]:
        left_out.append("no_face")
        return reads()

    monkeypatch.setattr(b, "readings", scripted)
    monkeypatch.setattr(b, "JUDGES", {"net": PixelJudge, "dlib": PixelJudge})
    out = tmp_path / "noise.json"
    assert b.main(["--data", str(tmp_path), "--clips", "vrt_face2", "other", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["noise"]["other"]["left_out"] == 1 and result["noise"]["other"]["frames"] == 40
    assert list(result["known_edits"]) == ["vrt_face2, 0 frames late", "vrt_face2, 2 frames late"]
    assert str(tmp_path) not in out.read_text()
    assert capsys.readouterr().out.startswith("vrt_face2: ")


@pytest.mark.unit
@pytest.mark.parametrize("change", [-4.0, 6.0])
def test_the_warp_goes_with_the_face(change: float) -> None:
    """A face that lies elsewhere in the picture is opened in the same way there; whole pixels, so to the last bit."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    wide = np.zeros((SIZE + 40, SIZE + 40, 3), np.uint8)
    wide[20:-20, 20:-20] = small
    opened, moved = b.opened(small, points(), change), b.opened(wide, points(shift=20.0), change)
    inner = slice(10, -10)
    np.testing.assert_allclose(moved[20:-20, 20:-20][inner, inner], opened[inner, inner], atol=1)


@pytest.mark.unit
def test_no_change_is_no_warp() -> None:
    rng = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_allclose(b.opened(rng, points(), 0.0).astype(int), rng, atol=2)


@pytest.mark.unit
def test_a_leaning_face_is_opened_along_its_own_axis() -> None:
    """Picture and points on their side: the warp on its side."""
    upright = b.opened(mouth(), points(), 6.0)
    turned_points = points()[:, ::-1].copy()
    turned_points[:, 1] = SIZE - turned_points[:, 1]
    turned = b.opened(np.ascontiguousarray(np.rot90(mouth())), turned_points, 6.0)
    np.testing.assert_allclose(np.rot90(turned, -1).astype(int), upright, atol=3)


@pytest.mark.unit
def test_a_mouth_is_never_closed_beyond_closed() -> None:
    """In its middle half a pixel to each side stays: what is asked for below that changes nothing more there."""
    closed, further = (b.opened(mouth(), points(), change) for change in (-8.0, -30.0))
    np.testing.assert_array_equal(closed[:, 63:65], further[:, 63:65])
    assert 0.0 <= height_of_gap(further) < 1.5


@pytest.mark.unit
def test_jitter_is_scaled_with_the_series_and_blind_to_its_slope() -> None:
    series = np.random.default_rng(3).normal(0, 1, (200, 3))
    slope = np.arange(200)[:, None] * np.array([0.5, -2.0, 7.0]) + 11.0
    assert b.jitter(3 * series + slope) == pytest.approx(3 * b.jitter(series))


@pytest.mark.unit
def test_the_noise_floor_does_not_hang_on_where_or_how_large_a_face_is() -> None:
    def placed(read: b.Read, scale: float, shift: tuple[float, float]) -> b.Read:
        moved = [
            (np.asarray(part, np.float64) * scale + shift).astype(np.float64)
            for part in (read.tracked, read.judged, read.again)
        ]
        return b.Read(read.frame, moved[0].astype(np.float32), moved[1], moved[2])

    plain = b.noise_of(reads())
    other = b.noise_of([placed(read, 2.5, (31.0, -7.0)) for read in reads()])
    assert other.pop("iod_px") == pytest.approx(2.5 * plain.pop("iod_px"))
    for key, value in plain.items():
        assert other[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key


@pytest.mark.unit
@pytest.mark.parametrize(
    ("value", "shown"), [(12, 12), (123456, 123456), (0.123456, 0.1235), (-1234.567, -1235.0), (0.0, 0.0)]
)
def test_figures_have_four_digits_and_counts_all(value: float, shown: float) -> None:
    assert b.rounded(value) == shown and type(b.rounded(value)) is type(value)


@pytest.mark.unit
@pytest.mark.parametrize("count", [0, 3, figures.MIN_FRAMES - 1])
def test_a_clip_without_enough_readings_is_refused_in_words(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(clip: Path, judge: Any, left_out: list[str]) -> list[b.Read]:
        left_out += ["no_face"] * 5
        return reads(count)

    monkeypatch.setattr(b, "readings", few)
    monkeypatch.setattr(b, "JUDGES", {"net": PixelJudge, "dlib": PixelJudge})
    told = rf"other: got {count} frames that tracker and judge both read \(5 left out\), expected at least 10"
    with pytest.raises(BadInputError, match=told):
        b.main(["--data", str(tmp_path), "--clips", "other", "--out", str(tmp_path / "o.json")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.unit
def test_a_warped_frame_asks_for_the_gap_and_has_the_gap() -> None:
    """The target's inner lips are as far apart as asked; the picture's as far as made."""
    [read] = reads(1)
    made = b.warped(read, 8.0, 14.0, 11.0)
    assert made.target is not None and made.mask is not None
    assert np.linalg.norm(made.target[66] - made.target[62]) == pytest.approx(11.0, abs=1e-4)
    np.testing.assert_allclose((made.target[66] + made.target[62]) / 2, (read.tracked[66] + read.tracked[62]) / 2)
    assert height_of_gap(made.frame.rgb()) == pytest.approx(14.0, abs=0.8)
    untouched = [row for row in range(68) if row not in b.INNER_LIPS]
    np.testing.assert_array_equal(made.target[untouched], read.tracked[untouched])
    top, left = made.mask_origin
    changed = np.argwhere((made.frame.rgb().astype(int) - read.frame.rgb() != 0).any(axis=2))
    assert (changed.min(axis=0) >= (top, 0)).all()
    assert (changed.max(axis=0) < (top + made.mask.shape[0], left + made.mask.shape[1] + SIZE)).all()
