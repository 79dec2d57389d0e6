"""Reading sound of every kind: the right length, the right level, the right moment."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import MediaError
from streaming.ingest.sound import ENGINE_RATE, read_sound
from tests.streaming.clips import gradient, make_video, make_wav, tone

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_u8", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_sample_formats_and_rates_give_the_same_sound(tmp_path: Path, codec: str, rate: int) -> None:
    sound = read_sound(make_wav(tmp_path / "a.wav", tone(0.5, rate), rate, codec))
    assert sound.duration == pytest.approx(0.5, abs=1e-3)
    assert sound.rate == rate
    assert abs(len(sound.speech) - ENGINE_RATE // 2) <= 1
    middle = slice(1600, 6400)
    error = sound.speech[middle] - tone(0.5, ENGINE_RATE)[middle]
    assert np.abs(error).max() < (0.02 if codec == "pcm_u8" else 0.005)


def test_float_sound_beyond_full_scale_and_not_a_number_stays_within_bounds(tmp_path: Path) -> None:
    samples = tone(0.2, 16000, level=3.0)
    samples[100] = np.nan
    sound = read_sound(make_wav(tmp_path / "loud.wav", samples, 16000, "pcm_f32le"))
    for values in (sound.speech, sound.track):
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 1.0


def test_stereo_is_mixed_for_the_engine_and_kept_for_the_output(tmp_path: Path) -> None:
    both = np.stack([tone(0.3, 44100, 200), np.zeros(13230)], axis=1)
    sound = read_sound(make_wav(tmp_path / "stereo.wav", both, 44100))
    assert sound.track.shape == (2, 13230)
    assert np.abs(sound.track[0] - both[:, 0]).max() < 1e-3
    assert np.abs(sound.track[1]).max() == 0
    assert np.abs(sound.speech).max() == pytest.approx(0.25, abs=0.01)


def test_equal_channels_and_surround_are_not_made_louder(tmp_path: Path) -> None:
    samples = tone(0.3, 48000, 200, 0.9)
    sound = read_sound(make_wav(tmp_path / "same.wav", np.stack([samples, samples], axis=1), 48000))
    assert np.abs(sound.speech).max() == pytest.approx(0.9, abs=0.01)
    sound = read_sound(make_wav(tmp_path / "six.wav", np.stack([samples] * 6, axis=1), 48000, "pcm_f32le"))
    assert sound.track.shape[0] == 2
    assert np.abs(sound.track).max() == pytest.approx(0.9, abs=0.02)
    assert np.abs(sound.speech).max() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_a_click_stays_at_its_moment(tmp_path: Path, rate: int) -> None:
    samples = np.zeros(rate)
    samples[rate // 2 : rate // 2 + rate // 4000] = 0.9
    sound = read_sound(make_wav(tmp_path / "click.wav", samples, rate))
    assert abs(int(np.abs(sound.speech).argmax()) - ENGINE_RATE // 2) <= 3
    assert abs(int(np.abs(sound.track[0]).argmax()) - sound.rate // 2) <= sound.rate // 4000 + 1


def test_rates_above_48_khz_are_lowered_for_the_output(tmp_path: Path) -> None:
    sound = read_sound(make_wav(tmp_path / "high.wav", tone(0.25, 96000), 96000))
    assert (sound.rate, sound.track.shape[1]) == (48000, pytest.approx(12000, abs=2))


def test_the_sound_of_a_video_is_read_without_its_encoder_delay(tmp_path: Path) -> None:
    click = np.zeros((1, 48000), np.float32)
    click[0, 24000:24012] = 0.9
    path = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(25)], sound=click)
    sound = read_sound(path)
    assert abs(int(np.abs(sound.track[0]).argmax()) - 24006) <= 12
    assert abs(int(np.abs(sound.speech).argmax()) - 8002) <= 4


def test_m4a_is_read(tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4", [gradient(0, 64, 48)], sound=tone(0.5, 48000)[None].astype(np.float32))
    (tmp_path / "clip.mp4").rename(tmp_path / "speech.m4a")
    assert read_sound(tmp_path / "speech.m4a").duration == pytest.approx(0.5, abs=0.03)


def test_chunks_cover_the_speech_once_with_growing_times(tmp_path: Path) -> None:
    sound = read_sound(make_wav(tmp_path / "a.wav", tone(0.73, 16000), 16000))
    chunks = list(sound.chunks(0.1))
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), sound.speech)
    assert [chunk.pts for chunk in chunks] == [1600 * index for index in range(8)]
    assert sum(len(chunk.samples) for chunk in sound.chunks(0.1, until=0.25)) == 4000


def test_fitted_cuts_and_fills_with_silence(tmp_path: Path) -> None:
    sound = read_sound(make_wav(tmp_path / "a.wav", tone(0.5, 16000), 16000))
    assert np.array_equal(sound.fitted(0.25), sound.track[:, :4000])
    longer = sound.fitted(1.0)
    assert longer.shape == (1, 16000)
    assert np.abs(longer[:, 8000:]).max() == 0


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    path = make_video(tmp_path / "silent.mp4", [gradient(0, 64, 48)])
    with pytest.raises(MediaError, match=r"no sound in it \(found: video\)"):
        read_sound(path)


def test_a_sound_file_without_samples_says_so(tmp_path: Path) -> None:
    path = make_wav(tmp_path / "a.wav", tone(0.5, 16000), 16000)
    (tmp_path / "header.wav").write_bytes(path.read_bytes()[:44])
    with pytest.raises(MediaError, match="no samples|damaged|not a readable"):
        read_sound(tmp_path / "header.wav")


def test_an_empty_sound_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(MediaError, match="empty"):
        read_sound(tmp_path / "empty.wav")


@pytest.mark.parametrize(
    ("name", "channels", "rate", "seconds"),
    [("sadtalker_deyu.wav", 2, 48000, 9.34), ("hallo_1.wav", 2, 44100, 7.5), ("ditto_audio.wav", 1, 24000, 15.75),
     ("evp_MEAD_M030_angry.m4a", 2, 48000, 5.87)],
)  # fmt: skip
def test_real_recordings_are_read(data_dir: Path, name: str, channels: int, rate: int, seconds: float) -> None:
    sound = read_sound(data_dir / "speech" / name)
    assert (sound.track.shape[0], sound.rate) == (channels, rate)
    assert sound.duration == pytest.approx(seconds, abs=0.02)
    assert abs(len(sound.speech) / ENGINE_RATE - sound.duration) < 0.001
