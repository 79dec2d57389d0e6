"""What is shipped for the demo is whole, small, and fits together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.generators import load_default_generator
from streaming.commands.demo import PRESENTER
from streaming.ingest.file import probe_video
from streaming.ingest.sound import read_sound


@pytest.mark.unit
def test_files_are_there_and_small() -> None:
    """The clip within 3 MB, the profile within 8 MB, the speech shorter than the clip."""
    assert (PRESENTER / "presenter.mp4").stat().st_size < 3_000_000
    assert (PRESENTER / "presenter.safetensors").stat().st_size < 8_000_000
    info = probe_video(PRESENTER / "presenter.mp4")
    assert 6.0 <= info.duration <= 8.0
    assert read_sound(PRESENTER / "speech.flac").duration < info.duration


@pytest.mark.unit
def test_profile_is_compact_and_has_a_preview() -> None:
    """Only convolutions of the up-blocks were tuned."""
    profile = SpeakerProfile.load(PRESENTER / "presenter.safetensors")
    assert profile.quality == "compact"
    assert profile.weights
    assert all(name.startswith("blocks.") and ".style." not in name for name in profile.weights)
    assert profile.preview.shape == (1024, 1024, 3)


@pytest.mark.slow
def test_profile_belongs_to_the_default_generator(weights: Callable[[str], Path]) -> None:
    """The renderer takes it."""
    weights("mobilestylegan-synthesis-bin")
    profile = SpeakerProfile.load(PRESENTER / "presenter.safetensors")
    assert SpeakerRenderer(profile, load_default_generator()).profile is profile
