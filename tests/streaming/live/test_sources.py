"""Recordings as a live session takes them: their pictures paced and endless, their speech at the session's rate."""

from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from engine.errors import MediaError
from streaming.clock import NS, LoopClock
from streaming.live.media import SOUND_RATE
from streaming.live.sources import DEMO_DATA, SourceSpec, VoiceSpec, played, probe_recording, read_voice
from streaming.virtual_time import run_virtual
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.live.fakes import ScriptedWorker

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_speech_of_any_rate_becomes_mono_at_the_rate_of_the_session(tmp_path: Path, rate: int, channels: int) -> None:
    mono = tone(0.5, rate, 300.0)
    samples = mono if channels == 1 else np.stack([mono, np.zeros_like(mono)], axis=1)
    sound = read_voice(VoiceSpec("file", make_wav(tmp_path / "v.wav", samples, rate)))
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert len(sound) == pytest.approx(SOUND_RATE // 2, abs=40)
    middle = sound[4800:-4800]
    assert np.abs(middle).max() == pytest.approx(0.5 / channels, rel=0.03)
    crossings = np.count_nonzero(np.diff(np.signbit(middle)))
    assert crossings == pytest.approx(2 * 300 * len(middle) / SOUND_RATE, abs=2)


def test_the_shipped_speech_and_presenter_are_there() -> None:
    assert len(read_voice(VoiceSpec("presenter"))) > 3 * SOUND_RATE
    assert {path.name for path in DEMO_DATA.iterdir()} >= {"presenter.mp4", "presenter.safetensors", "speech.flac"}
    assert not SourceSpec("presenter").is_of_a_person
    assert all(SourceSpec(kind).is_of_a_person for kind in ("file", "url", "camera", "whip"))


def test_a_recording_plays_back_and_forth_at_its_own_times(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(5)])

    async def main() -> list[tuple[int, float]]:
        clock = LoopClock()
        worker = ScriptedWorker(lambda _: 0.0)
        frames = played(await probe_recording(SourceSpec("file", clip), worker), clock, worker)
        seen: list[tuple[int, float]] = []
        async with aclosing(frames) as source:
            async for frame in source:
                seen.append((round(clock.now() / NS * 25), float(frame.planes[2].mean())))
                if len(seen) == 17:
                    break
        return seen

    seen = run_virtual(main())
    begin = seen[0][0]
    assert [at - begin for at, _ in seen] == list(range(17))
    colours = [colour for _, colour in seen]
    assert colours[:5] == pytest.approx(colours[8:13], abs=0.6)
    assert colours[4:9] == pytest.approx(colours[:5][::-1], abs=0.6)


def test_a_recording_without_pictures_or_speech_is_refused(tmp_path: Path) -> None:
    silent = make_video(tmp_path / "s.mp4", [gradient(i, 64, 48) for i in range(3)])
    with pytest.raises(MediaError, match="no sound in it"):
        read_voice(VoiceSpec("file", silent))
    sound = make_wav(tmp_path / "v.wav", tone(0.2, 16000), 16000)

    async def main() -> None:
        with pytest.raises(MediaError, match=r"v\.wav"):
            await probe_recording(SourceSpec("file", sound), ScriptedWorker(lambda _: 0.0))

    run_virtual(main())
