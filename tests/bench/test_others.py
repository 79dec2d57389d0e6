"""Scoring other systems' videos: pictures paired by time, known errors found, unknown figures said to be unknown."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from bench import others
from bench.others import OWN, System, lower_face, paired, score, score_all
from engine.errors import BadInputError
from engine.evaluation import FIGURES, StripMaker
from engine.tracking.tracker import TrackResult
from streaming.ingest.file import probe_video, read_video

pytestmark = pytest.mark.unit
FRAMES, SIZE = 14, 128
Picture = NDArray[np.uint8]


def face(opening: float) -> NDArray[np.float32]:
    """68 points of a face in the middle of the picture, eye corners 40 px apart."""
    points = np.full((68, 2), 64.0, np.float32)
    angle = np.linspace(0, np.pi, 17)
    points[:17] = np.stack([64 - 36 * np.cos(angle), 56 + 44 * np.sin(angle)], 1)
    points[17:48, 0], points[17:48, 1] = np.linspace(46, 82, 31), 52
    points[31], points[33], points[35] = (58, 70), (64, 72), (70, 70)
    points[36], points[45] = (44, 52), (84, 52)
    points[48:68, 0], points[48:68, 1] = np.linspace(52, 76, 20), 82
    points[62], points[66] = (64, 82 - 20 * opening), (64, 82 + 20 * opening)
    return points


def picture(index: int) -> Picture:
    """Flat grey with a bright bar whose place tells the index."""
    rgb = np.full((SIZE, SIZE, 3), 110, np.uint8)
    rgb[:, 8 * index : 8 * index + 8] = 190
    return rgb


def write(path: Path, pictures: list[Picture], rate: int = 25) -> Path:
    """A video of nearly lossless pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 20_000_000
        for index, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Tracker:
    """Finds the face that the test wrote down; sees none in the pictures named."""

    def __init__(self, blind: tuple[int, ...] = ()) -> None:
        self.blind, self.seen = blind, 0

    def track(self, rgb: Picture, seconds: float) -> TrackResult:
        self.seen += 1
        if self.seen - 1 in self.blind:
            return TrackResult(None, "no_face", False)
        found: Any = SimpleNamespace(points=np.concatenate([face(opening(seconds)), np.zeros((68, 1), np.float32)], 1))
        return TrackResult(found, "ok", False)


def opening(seconds: float) -> float:
    return 0.2 + 0.15 * float(np.sin(9 * seconds))


class Judge:
    """Reads the tracker's own landmarks, and knows no identities."""

    name = "scripted"

    def landmarks(self, rgb: Picture, tracked: NDArray[np.floating]) -> Any:
        return np.asarray(tracked, np.float64)

    def descriptor(self, rgb: Picture, landmarks: Any) -> Any:
        return np.ones(4)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip whose pictures tell their index."""
    return write(tmp_path / "person.mp4", [picture(i) for i in range(FRAMES)])


def place(rgb: Picture) -> int:
    """Index that a picture shows."""
    return int(rgb[SIZE // 2, :, 0].astype(int).argmax()) // 8


def test_pictures_are_paired_by_time_at_equal_rates(clip: Path, tmp_path: Path) -> None:
    result = write(tmp_path / "r.mp4", [picture(i) for i in range(FRAMES)])
    pairs = list(paired(probe_video(result), probe_video(clip), 0.0, None))
    assert len(pairs) == FRAMES
    assert [place(a.rgb()) for a, _ in pairs] == [place(b.rgb()) for _, b in pairs] == list(range(FRAMES))
    assert all(a.pts == b.pts and a.planes[1].shape == b.planes[1].shape for a, b in pairs)


def test_pictures_are_paired_by_time_at_other_rates_and_lengths(clip: Path, tmp_path: Path) -> None:
    faster = write(tmp_path / "f.mp4", [picture(min(13, i // 2)) for i in range(2 * FRAMES)], rate=50)
    pairs = list(paired(probe_video(faster), probe_video(clip), 0.0, None))
    assert [place(a.rgb()) for a, _ in pairs] == [place(b.rgb()) for _, b in pairs] == list(range(FRAMES))
    slower = write(tmp_path / "o.mp4", [picture(min(13, 2 * i)) for i in range(FRAMES // 2)], rate=12)
    pairs = list(paired(probe_video(slower), probe_video(clip), 0.0, None))
    assert len(pairs) >= FRAMES - 1 and all(abs(place(a.rgb()) - place(b.rgb())) <= 1 for a, b in pairs)
    longer = write(tmp_path / "l.mp4", [picture(i % FRAMES) for i in range(3 * FRAMES)])
    pairs = list(paired(probe_video(longer), probe_video(clip), 0.0, None))
    assert [b.pts for _, b in pairs] == sorted({b.pts for _, b in pairs}) and len(pairs) == FRAMES
    part = write(tmp_path / "p.mp4", [picture(5 + i) for i in range(4)])
    pairs = list(paired(probe_video(part), probe_video(clip), 0.2, None))
    assert [place(a.rgb()) for a, _ in pairs] == [place(b.rgb()) for _, b in pairs] == [5, 6, 7, 8]


def test_results_of_another_size_are_resized_and_cropped_ones_refused(clip: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "s.mp4", [picture(i)[::2, ::2] for i in range(FRAMES)])
    pairs = list(paired(probe_video(small), probe_video(clip), 0.0, None))
    assert pairs[3][0].planes[0].shape == (SIZE, SIZE) and place(pairs[3][0].rgb()) == 3
    cropped = write(tmp_path / "c.mp4", [picture(i)[:, :96] for i in range(FRAMES)])
    with pytest.raises(BadInputError, match="96x128, the clip is 128x128.*cropped"):
        list(paired(probe_video(cropped), probe_video(clip), 0.0, None))


def test_the_mask_is_the_lower_face() -> None:
    mask, (top, left) = lower_face(face(0.2), SIZE, SIZE)
    whole = np.zeros((SIZE, SIZE), np.float32)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    assert whole[82, 64] > 0.99 and whole[93, 64] > 0.9
    assert whole[52, 64] < 0.01 and whole[110, 64] < 0.01 and whole[82, 10] == 0
    assert mask.max() <= 1 and 0 < float(((mask > 0.1) & (mask < 0.9)).mean()) < 0.4
    cut, origin = lower_face(face(0.2) + np.float32(50), SIZE, SIZE)
    assert cut.shape[0] + origin[0] <= SIZE and cut.shape[1] + origin[1] <= SIZE


def test_own_sound_has_the_filmed_lips_as_target(clip: Path, tmp_path: Path) -> None:
    result = write(tmp_path / "r.mp4", [picture(i) for i in range(FRAMES)])
    strip = StripMaker()
    report = score(result, clip, True, (Tracker(), Judge(), lambda a, b: 0.5), strip=strip)
    figures = report["figures"]
    assert set(figures) == set(FIGURES) and report["edited"] == FRAMES
    assert figures["lip_target_error"] == pytest.approx(0, abs=1e-6)
    assert figures["lip_opening_r"] == pytest.approx(1) and figures["identity"] == 0
    assert figures["sharpness"] == pytest.approx(1, abs=0.3)
    assert report["reconstruction"]["figures"]["lpips_st"] == 0.5
    assert report["reconstruction"]["figures"]["psnr_db"] > 30
    assert len(strip.columns) > 0


def test_what_a_file_cannot_tell_is_not_measured(clip: Path, tmp_path: Path) -> None:
    result = write(tmp_path / "r.mp4", [picture(i) for i in range(FRAMES)])
    report = score(result, clip, False, (Tracker(), Judge(), None))
    for key in ("outside", "seam", "closed_in_silence", "lip_target_error", "lip_opening_r", "sync_offset_ms"):
        assert report["figures"][key] is None and report["not_measured"][key], key
        assert key not in report["counted"]
    assert report["not_measured"]["outside"] == others.ENCODED
    assert report["figures"]["identity"] == 0 and report["reconstruction"] is None
    assert not any(key.startswith("lip_") for key in report["details"])


def test_frames_without_a_face_are_counted(clip: Path, tmp_path: Path) -> None:
    result = write(tmp_path / "r.mp4", [picture(i) for i in range(FRAMES)])
    report = score(result, clip, True, (Tracker(blind=(2, 3)), None, None))
    assert report["edited"] == FRAMES - 2 and report["passed_through"] == {"no_face": 2}
    assert report["reconstruction"]["left_out"] == {"no face tracked": 2}


def test_folders_are_named_and_their_videos_found(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wav2lip"
    folder.mkdir()
    system = System.parse(f"Wav2Lip={folder}")
    assert system == System("Wav2Lip", folder)
    assert system.result(clip, None) is None
    own, other = (write(folder / name, [picture(0)] * 2) for name in ("person.mp4", "person__bus.mp4"))
    assert system.result(clip, None) == own and system.result(clip, Path("x/bus.wav")) == other
    (folder / "person.avi").touch()
    with pytest.raises(BadInputError, match="person.avi, person.mp4, expected one"):
        system.result(clip, None)
    for text in ("Wav2Lip", "=x", f"A={tmp_path / 'none'}", "A="):
        with pytest.raises(BadInputError, match="NAME=FOLDER"):
            System.parse(text)


def test_every_result_is_scored_and_missing_ones_are_told(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    write(folder / "person.mp4", [picture(0)] * 2)
    asked: list[tuple[str, bool]] = []

    def scorer(result: Path, clip: Path, own: bool) -> dict[str, Any]:
        asked.append((result.name, own))
        return {"figures": {}}

    reports = score_all([System("B", folder)], [(clip, None), (clip, Path("bus.wav"))], scorer)
    assert asked == [("person.mp4", True)]
    assert reports[0] == {"run": {"system": "B", "clip": "person", "speech": OWN}, "figures": {}}
    assert reports[1] == {
        "run": {"system": "B", "clip": "person", "speech": "bus"}, "missing": "no video of it in B's folder",
    }  # fmt: skip


@pytest.mark.parametrize(("rate", "count"), [(10, 6), (17, 9), (24, 13), (25, 14), (30, 16), (60, 33)])
def test_every_picture_of_the_clip_gets_the_nearest_of_the_result(
    rate: int, count: int, clip: Path, tmp_path: Path
) -> None:
    """By a search over all of them; none is further away than half a step of the slower film."""
    result = write(tmp_path / "r.mp4", [picture(i % FRAMES) for i in range(count)], rate)
    shown = [frame.seconds for frame in read_video(probe_video(result))]
    whole = [(frame.seconds, place(frame.rgb())) for frame in read_video(probe_video(result))]
    pairs = list(paired(probe_video(result), probe_video(clip), 0.0, None))
    step = max(1 / rate, 1 / 25)
    near = [
        s.seconds for s in read_video(probe_video(clip)) if min(abs(s.seconds - t) for t in shown) <= step / 2 + 1e-6
    ]
    assert [source.seconds for _, source in pairs] == pytest.approx(near)
    for frame, source in pairs:
        nearest = min(abs(source.seconds - t) for t in shown)
        candidates = {at for t, at in whole if abs(abs(source.seconds - t) - nearest) < 1e-6}
        assert place(frame.rgb()) in candidates and frame.pts == source.pts


@pytest.mark.parametrize("duration", [0.08, 0.2, None])
def test_only_the_part_that_was_dubbed_is_paired(duration: float | None, clip: Path, tmp_path: Path) -> None:
    result = write(tmp_path / "r.mp4", [picture(4 + i) for i in range(10)])
    pairs = list(paired(probe_video(result), probe_video(clip), 0.16, duration))
    expected = range(4, FRAMES) if duration is None else range(4, 4 + round(duration * 25))
    assert [place(b.rgb()) for _, b in pairs] == [place(a.rgb()) for a, _ in pairs] == list(expected)


def test_the_mask_goes_with_the_face_and_grows_with_it() -> None:
    mask, (top, left) = lower_face(face(0.2), SIZE, SIZE)
    moved, (top_2, left_2) = lower_face(face(0.2) + np.float32(30), SIZE + 60, SIZE + 60)
    assert (top_2 - top, left_2 - left) == (30, 30)
    np.testing.assert_allclose(moved, mask, atol=1e-6)
    large, (top_3, left_3) = lower_face(2 * face(0.2), 2 * SIZE, 2 * SIZE)
    assert large.sum() == pytest.approx(4 * mask.sum(), rel=0.05)
    assert abs(top_3 - 2 * top) <= 2 and abs(left_3 - 2 * left) <= 2


@pytest.mark.parametrize("shift", [(-200, 0), (200, 0), (0, -200), (0, 200), (-90, -90), (1000, 1000)])
def test_a_face_at_or_beyond_the_edge_has_a_mask_inside_the_picture(shift: tuple[int, int]) -> None:
    mask, (top, left) = lower_face(face(0.2) + np.asarray(shift, np.float32), SIZE, SIZE)
    height, width = mask.shape
    assert height >= 1 and width >= 1 and 0 <= top <= SIZE - height and 0 <= left <= SIZE - width
    assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1


@pytest.mark.parametrize("text", ["", "=", "NAME", "NAME=", "=FOLDER", "NAME=/no/such/folder"])
def test_a_system_needs_a_name_and_a_folder_that_is_there(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=f"^--results {text}: expected NAME=FOLDER with a folder"):
        System.parse(text)
    (tmp_path / "a=b").mkdir()
    assert System.parse(f"N={tmp_path}/a=b") == System("N", tmp_path / "a=b")


def test_lip_sync_figures_take_the_place_of_their_reasons() -> None:
    report: dict[str, Any] = {"not_measured": {"lse_c": "no weights", "lse_d": "no weights", "seam": "unknown"}}
    found = {"figures": {"lse_c": 6.0, "lse_d": None}, "not_measured": {"lse_d": "too short"}}
    others.add_lse(report, found)
    assert report == {"not_measured": {"seam": "unknown", "lse_d": "too short"}, "lse": found}
