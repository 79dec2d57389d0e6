"""Voices of the corpus: phones and times from the words of each tool, with stand-ins for the tools themselves."""

import ctypes.util
import re
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BackendError, MediaError
from engine.training import espeak, recordings, voices
from engine.training.audio import SAMPLE_RATE, read_audio
from engine.training.emotional import write_wave
from engine.training.espeak import EspeakVoice
from engine.training.recordings import (
    RECOGNISED_LATE_S,
    HibariVoice,
    RecordedVoice,
    optional_module,
    pauses,
    with_pauses,
)
from engine.training.voices import SILENCE, FestivalVoice, FliteVoice, Phone, Utterance, Voice, duration, run_tool
from tests.streaming.clips import gradient, make_video

pytestmark = pytest.mark.unit


def tone(seconds: float, level: float = 0.2) -> NDArray[np.float32]:
    return (level * np.sin(np.arange(int(seconds * SAMPLE_RATE)) / 9)).astype(np.float32)


def told(utterance: Utterance) -> list[tuple[str, float, float]]:
    """Phones in plain values."""
    return [(phone.ipa, round(phone.start, 3), round(phone.end, 3)) for phone in utterance.phones]


class Tools:
    """Festival and Flite as far as the voices go: they write a tone and say when each phone ends."""

    def __init__(self, segments: str, broken: frozenset[int] = frozenset()) -> None:
        self.segments, self.broken = segments, broken
        self.commands: list[list[str]] = []
        self.script = b""

    def __call__(self, command: list[str], accept_failure: bool = False) -> str:
        self.commands.append(command)
        if command[0] == "flite":
            write_wave(Path(command[-1]), tone(0.3))
            return self.segments
        assert accept_failure, "one sentence that Festival cannot speak must not cost the others"
        self.script = Path(command[-1]).read_bytes()
        for number, place in enumerate(re.findall(rb'save.wave u "([^"]+)"', self.script)):
            if number not in self.broken:
                path = Path(place.decode())
                write_wave(path, tone(0.3))
                path.with_suffix(".lab").write_text(self.segments, encoding="iso-8859-1")
        return ""


def test_festival_speaks_every_sentence_at_every_stretch_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools("#\n0.05 100 pau\n0.15 100 m\n0.30 100 aa1\n")
    monkeypatch.setattr(voices, "run_tool", tools)
    voice = FestivalVoice("kal_diphone", ('Say "mama" \\ now', "Ça va"), stretches=(1.0, 1.2))
    spoken = list(voice.utterances())
    assert (voice.name, len(spoken), len(tools.commands)) == ("festival-kal_diphone", 4, 1)
    assert told(spoken[0]) == [(SILENCE, 0.0, 0.05), ("m", 0.05, 0.15), ("ɑ", 0.15, 0.3)]
    assert duration(spoken[0]) == pytest.approx(0.3, abs=1e-3)
    lines = tools.script.decode("iso-8859-1").splitlines()
    assert lines[0] == "(voice_kal_diphone)"
    assert [line for line in lines if "Stretch" in line] == [
        f"(Parameter.set 'Duration_Stretch {stretch})" for stretch in (1.0, 1.0, 1.2, 1.2)
    ]
    assert lines[2] == '(set! u (SynthText "Say  mama    now"))', "quotes and backslashes would end the sentence"
    assert "Ça va" in lines[5]


def test_a_sentence_that_festival_could_not_speak_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "run_tool", Tools("0.1 100 a\nno row at all\n0.3 100 b\n", frozenset({1})))
    spoken = list(FestivalVoice("x", ("one", "two", "three"), phone_set="sampa").utterances())
    assert len(spoken) == 2
    assert told(spoken[1]) == [("a", 0.0, 0.1), ("b", 0.1, 0.3)], "rows of other lengths are no phones"


@pytest.mark.parametrize(
    ("phone_set", "symbol", "ipa"),
    [
        ("arpa", "ax", "ə"), ("arpa", "AA", "ɑ"), ("arpa", "iy1", "i"), ("arpa", "h#", SILENCE), ("arpa", "??", "??"),
        ("sampa", "S", "ʃ"), ("sampa", "SS", "ʃ"), ("sampa", "a1", "a"), ("sampa", "2", "ø"), ("sampa", "_", SILENCE),
        ("russian", "aa", "a"), ("russian", "sch", "ɕ"), ("russian", "sil", SILENCE), ("russian", "j", "j"),
    ],
)  # fmt: skip
def test_symbols_become_ipa_by_the_voice_s_own_set(
    phone_set: str, symbol: str, ipa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stress marks or without, in either case; what nobody knows stays as it is."""
    monkeypatch.setattr(voices, "run_tool", Tools(f"0.3 100 {symbol}\n"))
    [utterance] = FestivalVoice("x", ("one",), phone_set=phone_set).utterances()
    assert told(utterance) == [(ipa, 0.0, 0.3)]


def test_flite_tells_its_phones_on_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools("pau:0.100 hh:0.150 ow:0.300\n")
    monkeypatch.setattr(voices, "run_tool", tools)
    spoken = list(FliteVoice("rms", ("Hello", "there"), stretches=(0.9,)).utterances())
    assert [told(each) for each in spoken] == [[(SILENCE, 0.0, 0.1), ("h", 0.1, 0.15), ("oʊ", 0.15, 0.3)]] * 2
    assert [command[1:8] for command in tools.commands] == [
        ["-voice", "rms", "-psdur", "-set", "duration_stretch=0.9", "-t", text] for text in ("Hello", "there")
    ]


def test_tools_that_are_missing_fail_or_hang_are_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="^no-such-tool-here is not installed; install it"):
        run_tool(["no-such-tool-here"])
    with pytest.raises(BackendError, match="^sh failed with status 3: bad voice"):
        run_tool(["sh", "-c", "echo bad voice >&2; exit 3"])
    assert run_tool(["sh", "-c", "echo spoken; exit 3"], accept_failure=True) == "spoken\n"

    def hanging(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1800)

    monkeypatch.setattr(subprocess, "run", hanging)
    with pytest.raises(BackendError, match="^sh has not answered for 1800 s, expected it to end; give it fewer"):
        run_tool(["sh"])


class FakeEspeak:
    """libespeak-ng as far as it is called: hands its sound and its phonemes to the callback, in two pieces."""

    def __init__(self, rate: int = 22050) -> None:
        self.rate, self.asked = rate, list[tuple[str, Any]]()
        self.phonemes: list[tuple[int, bytes]] = [(0, b"_:"), (100, b"(en)"), (100, b"m"), (200, "aɪ".encode())]
        self.seconds = 0.4

    def espeak_Initialize(self, *options: object) -> int:
        return self.rate

    def espeak_SetSynthCallback(self, callback: Any) -> None:
        self.callback = callback

    def espeak_SetVoiceByName(self, name: bytes) -> int:
        self.asked.append(("voice", name))
        return 0 if name == b"de" else -1

    def espeak_SetParameter(self, parameter: int, value: int, relative: int) -> None:
        self.asked.append((f"parameter {parameter}", value))

    def espeak_Synth(self, data: bytes, size: int, *rest: object) -> None:
        assert (data[-1], size) == (0, len(data))
        self.asked.append(("text", data[:-1].decode()))
        events = (espeak._Event * (len(self.phonemes) + 1))()
        for event, (at, name) in zip(events, self.phonemes, strict=False):
            event.type, event.audio_position, event.id.string = espeak._EVENT_PHONEME, at, name
        samples = np.full(round(self.rate * self.seconds / 2), 16384, np.int16)
        place = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_short))
        ended = (espeak._Event * 1)()
        self.callback(place, len(samples), events)
        self.callback(place, len(samples), ended)
        self.callback(None, 0, ended)

    def espeak_Synchronize(self) -> None:
        """All was given at once."""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEspeak]:
    """In place of the installed one, and of the one that this process may have begun."""
    fake = FakeEspeak()
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libespeak-ng.so")
    monkeypatch.setattr(ctypes, "CDLL", lambda found: fake)
    monkeypatch.setattr(espeak._Library, "_shared", None)
    yield fake


def test_espeak_tells_when_each_phoneme_begins(library: FakeEspeak) -> None:
    voice = EspeakVoice("de", ("Mai",), rate=150, pitch=40)
    [utterance] = voice.utterances()
    assert voice.name == "espeak-de"
    assert told(utterance) == [(SILENCE, 0.0, 0.084), ("m", 0.084, 0.184), ("aɪ", 0.184, 0.4)], "as early as heard"
    assert duration(utterance) == pytest.approx(0.4, abs=1e-3)
    assert np.allclose(utterance.samples, 0.5)
    assert library.asked == [
        ("voice", b"de"), ("parameter 1", 150), ("parameter 3", 40), ("parameter 4", 60), ("text", "Mai"),
    ]  # fmt: skip


def test_espeak_starts_once_and_sentences_without_sound_are_left_out(library: FakeEspeak) -> None:
    starts: list[int] = []
    begin = library.espeak_Initialize
    library.espeak_Initialize = lambda *options: starts.append(1) or begin(*options)  # type: ignore[method-assign, func-returns-value]
    assert len(list(EspeakVoice("de", ("a", "b")).utterances())) == 2
    library.phonemes = []
    assert list(EspeakVoice("de", ("...",)).utterances()) == []
    library.phonemes, library.seconds = [(0, b"a")], 0.0
    assert list(EspeakVoice("de", ("...",)).utterances()) == []
    assert starts == [1]


def test_espeak_that_is_missing_dumb_or_has_no_such_voice_is_said(
    library: FakeEspeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="no voice 'xx'; `espeak-ng --voices` lists them"):
        list(EspeakVoice("xx", ("a",)).utterances())
    monkeypatch.setattr(espeak._Library, "_shared", None)
    library.rate = -1
    with pytest.raises(BackendError, match=r"does not start \(answer -1\); install espeak-ng-data"):
        list(EspeakVoice("de", ("a",)).utterances())
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(BackendError, match="not installed; install espeak-ng"):
        list(EspeakVoice("de", ("a",)).utterances())


class Recogniser:
    """Hears an a in every half second; notes the lengths of what it was given."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def transcribe_waveform(self, samples: NDArray[np.float32], rate: int) -> int:
        assert rate == SAMPLE_RATE
        self.given.append(len(samples))
        return len(samples)

    def phoneme_spans(self, count: int) -> list[SimpleNamespace]:
        halves = count // (SAMPLE_RATE // 2)
        return [SimpleNamespace(phoneme="a", start_ms=500 * i + 50, end_ms=500 * i + 450) for i in range(halves)]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Recogniser:
    """The recogniser that recordings are given to."""
    recogniser = Recogniser()
    module = SimpleNamespace(ASRModel=lambda: recogniser)
    monkeypatch.setattr(recordings, "optional_module", lambda name, package: module)
    return recogniser


def test_recordings_are_read_recognised_and_those_of_no_use_left_out(
    heard: Recogniser, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "deep").mkdir()
    write_wave(tmp_path / "a.wav", tone(2.0))
    write_wave(tmp_path / "b_short.wav", tone(0.5))
    (tmp_path / "c_broken.wav").write_bytes(b"no sound")
    write_wave(tmp_path / "deep" / "d.wav", tone(3.0))
    write_wave(tmp_path / "e_little.wav", tone(1.2))
    voice = RecordedVoice("human", tmp_path, "*.wav", None, longest_s=2.5)
    found = list(voice.utterances())
    assert [round(duration(each), 2) for each in found] == [2.0, 2.5]
    assert [phone.ipa for phone in found[0].phones] == ["a", SILENCE] * 4
    assert told(found[0])[:3] == [("a", 0.0, 0.375), (SILENCE, 0.375, 0.475), ("a", 0.475, 0.875)], "heard late"
    assert "c_broken.wav cannot be read as sound" in caplog.text
    assert heard.given == [32_000, 40_000, 19_200], "the short one was not asked about"
    with pytest.raises(BackendError, match="not there; install the recordings of human"):
        list(RecordedVoice("human", tmp_path / "none").utterances())


class Words:
    """Transcripts that know the phones of some recordings."""

    def __init__(self, known: dict[str, list[Phone]]) -> None:
        self.known, self.asked = known, list[str]()

    def phones(self, name: str, samples: NDArray[np.float32]) -> list[Phone] | None:
        self.asked.append(name)
        return self.known.get(name)


def test_words_that_are_known_come_before_the_recogniser(heard: Recogniser, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_wave(tmp_path / "a.wav", tone(2.0))
    write_wave(tmp_path / "deep" / "d.wav", tone(2.0))
    words = Words({"deep/d": [Phone("m", 0.1, 0.3), Phone("i", 0.3, 1.0), Phone("n", 1.0, 1.2)]})
    voice = RecordedVoice("human", tmp_path, "*.wav", None, transcripts=words)  # type: ignore[arg-type]
    recognised, known = voice.utterances()
    assert words.asked == ["a", "deep/d"]
    assert [phone.ipa for phone in known.phones] == [SILENCE, "m", "i", "n", SILENCE]
    assert [phone.ipa for phone in recognised.phones] == ["a", SILENCE] * 4
    assert heard.given == [32_000], "the recogniser was asked where words were not known"


def test_long_recordings_are_recognised_in_pieces_cut_where_it_is_quiet(heard: Recogniser) -> None:
    sound = tone(14.0)
    sound[int(8.5 * SAMPLE_RATE) : int(8.9 * SAMPLE_RATE)] = 0.0
    phones = RecordedVoice._recognise(heard, sound)
    assert sum(heard.given) == len(sound) and len(heard.given) == 2
    assert 8.5 * SAMPLE_RATE < heard.given[0] < 8.9 * SAMPLE_RATE
    assert phones[17].start == pytest.approx(heard.given[0] / SAMPLE_RATE + 0.05 - RECOGNISED_LATE_S)
    assert all(a.end <= b.start for a, b in zip(phones[:-1], phones[1:], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    quiet=st.lists(st.tuples(st.integers(0, 150), st.integers(1, 30)), max_size=4),
)
def test_phones_and_pauses_cover_a_recording_once(ends: list[int], quiet: list[tuple[int, int]]) -> None:
    """Whatever is cut out, what is left follows without gap or overlap, from the begin to the end."""
    edges = np.concatenate([[0.0], np.cumsum(ends)]) * 0.02
    phones = [Phone("a", float(a), float(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    spans = sorted((0.02 * begin, 0.02 * (begin + length)) for begin, length in quiet)
    length = float(edges[-1]) + 0.1
    found = with_pauses(phones, spans, length)
    assert found[0].start == 0.0 and found[-1].end == pytest.approx(length)
    for one, other in zip(found[:-1], found[1:], strict=True):
        assert one.start < one.end
        assert one.end == pytest.approx(other.start, abs=2e-6)
    assert not any(phone.ipa == SILENCE == after.ipa for phone, after in zip(found[:-1], found[1:], strict=True))


def test_short_or_faint_gaps_are_no_pauses() -> None:
    sound = tone(2.0)
    sound[8_000:9_600] = 0.0
    sound[16_000:20_000] = 0.0
    sound[24_000:28_000] *= 10 ** (-30 / 20)
    assert [(round(a, 2), round(b, 2)) for a, b in pauses(sound)] == [(1.0, 1.25)]


class FakeHibari:
    """A neural voice of three symbols, 24 kHz, that says how many frames each took."""

    model_path = "model.onnx"
    vocab = {"ˈ": 0, "m": 1, "A": 2, "ː": 3, " ": 4, "ʧ": 5}

    def phonemize(self, text: str) -> list[str]:
        return text.split("|")

    def ids(self, phonemes: str) -> list[int]:
        return [self.vocab[symbol] for symbol in phonemes]

    def from_ids(self, ids: list[int], speed: float, rng: np.random.Generator) -> NDArray[np.float32]:
        return np.zeros(round(2400 * len(ids) / speed), np.float32)


def test_the_neural_voice_s_frames_become_times(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[str] = []

    class Session:
        def __init__(self, graph: bytes, providers: list[str]) -> None:
            assert graph == b"graph"

        def run(self, names: list[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
            assert names == outputs
            return [np.ones((1, inputs["ids"].shape[1]), np.float32)]

    graph = SimpleNamespace(graph=SimpleNamespace(output=outputs), SerializeToString=lambda: b"graph")
    made = SimpleNamespace(make_tensor_value_info=lambda name, kind, shape: name)
    modules = {
        "hibari": SimpleNamespace(Hibari=FakeHibari),
        "onnx": SimpleNamespace(load=lambda path: graph, helper=made, TensorProto=SimpleNamespace(FLOAT=1)),
        "onnxruntime": SimpleNamespace(InferenceSession=Session),
    }
    monkeypatch.setattr(recordings, "optional_module", lambda name, package: modules[name])
    one, two, slow, _ = HibariVoice(("mˈAː |ʧm",), speeds=(1.0, 0.5)).utterances()
    assert told(one) == [("m", 0.0, 0.04), ("eɪ", 0.04, 0.34), (SILENCE, 0.34, 0.5)], "stress and length are no sounds"
    assert told(two) == [("tʃ", 0.0, 0.04), ("m", 0.04, 0.2)], "the last one lasts to the end"
    assert duration(slow) == pytest.approx(1.0)
    assert told(slow)[-1][2] == pytest.approx(1.0)


def test_training_packages_that_are_missing_are_named() -> None:
    with pytest.raises(BackendError, match=r"no_such_module is not installed: .*; install the-package \(extra `train`"):
        optional_module("no_such_module", "the-package")


def test_every_kind_of_voice_is_one() -> None:
    kinds: list[Voice] = [
        FestivalVoice("v", ()), FliteVoice("v", ()), EspeakVoice("v", ()), RecordedVoice("r", Path()), HibariVoice(()),
    ]  # fmt: skip
    names = [voice.name for voice in kinds]
    assert names == ["festival-v", "flite-v", "espeak-v", "r", "hibari-heart"]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize(("right", "level"), [(None, 1.0), (0.0, 0.5), (1.0, 1.0), (-1.0, 0.0)])
def test_sound_of_any_rate_is_read_at_the_engine_s(
    tmp_path: Path, rate: int, right: float | None, level: float
) -> None:
    """Two channels become their mean: as loud as the sound, and never beyond full scale."""
    path = tmp_path / "s.wav"
    left = 32_000 * np.sin(2 * np.pi * 300 * np.arange(rate // 2) / rate)
    samples = left[:, None] if right is None else np.stack([left, right * left], 1)
    with wave.open(str(path), "wb") as out:
        out.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        out.writeframes(np.round(samples).astype("<i2").tobytes())
    found = read_audio(path)
    assert found.dtype == np.float32 and found.ndim == 1 and len(found) == pytest.approx(8_000, abs=40)
    assert float(np.abs(found[800:-800]).max()) == pytest.approx(level * 32_000 / 32_768, rel=0.02, abs=1e-3)
    crossings = np.count_nonzero(np.diff(np.signbit(found[800:-800])))
    assert not level or crossings == pytest.approx(2 * 300 * (len(found) - 1600) / SAMPLE_RATE, abs=2)


def test_what_holds_no_sound_is_refused(tmp_path: Path) -> None:
    silent = make_video(tmp_path / "v.mp4", [gradient(i, 64, 48) for i in range(3)])
    (tmp_path / "t.wav").write_text("text")
    write_wave(tmp_path / "e.wav", np.zeros(0, np.float32))
    for path, words in (
        (silent, "has no audio stream; give a file with sound"),
        (tmp_path / "t.wav", "cannot be read as sound: .*; give a WAV"),
        (tmp_path / "none.wav", "cannot be read as sound"),
        (tmp_path / "e.wav", "holds no sound; give a file that is not empty"),
    ):
        with pytest.raises(MediaError, match=words):
            read_audio(path)
