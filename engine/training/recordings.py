"""Recorded human speech, and a neural voice that tells its phone times.

Phones of recordings come from their transcripts where those are known and fit (transcripts.py), else from a recogniser.
Recogniser and neural voice name times that lie late in the sound (timing.py: vowels against the level, sibilants
against the upper bands); `RECOGNISED_LATE_S` and `NEURAL_LATE_S` are taken off.

Both are training-time only: the wheels `hama` (phoneme recogniser), `hibari-tts` and `onnx` (extra `train`).
"""

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, MediaError
from engine.training.audio import SAMPLE_RATE, read_audio
from engine.training.dsp import resample
from engine.training.transcripts import Transcripts
from engine.training.voices import SILENCE, Phone, Utterance

logger = logging.getLogger(__name__)

RECOGNISED_LATE_S: Final = 0.075
"""How late the recogniser's times lie: 60-80 ms in five speakers."""
NEURAL_LATE_S: Final = 0.060
"""How late the neural voice's own times lie in its sound."""

_FRAME = 160
_QUIET_DB = 38.0
_SHORTEST_PAUSE = 0.12


def optional_module(name: str, package: str) -> Any:
    """Imports a training-only module, or says which package brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendError(f"{name} is not installed: {error}; install {package} (extra `train`)") from error


def pauses(samples: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Stretches of at least 120 ms that are 38 dB or more below the recording's loud parts, in seconds."""
    frames = len(samples) // _FRAME
    power = np.square(samples[: frames * _FRAME]).reshape(frames, _FRAME).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-10)
    quiet = level < np.percentile(level, 95) - _QUIET_DB
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    spans = zip(edges[::2], edges[1::2], strict=True)
    step = _FRAME / SAMPLE_RATE
    return [(begin * step, end * step) for begin, end in spans if (end - begin) * step >= _SHORTEST_PAUSE]


def with_pauses(phones: list[Phone], quiet: list[tuple[float, float]], length: float) -> tuple[Phone, ...]:
    """Cuts pauses out of phones; what no phone covers becomes silence."""
    voiced: list[Phone] = []
    for phone in phones:
        start, end = phone.start, phone.end
        for begin, finish in quiet:
            if begin <= start < finish:
                start = min(finish, end)
            elif start < begin < end:
                end = begin
        if end - start > 0.005:
            voiced.append(Phone(phone.ipa, start, end))
    filled: list[Phone] = []
    at = 0.0
    for phone in voiced:
        if phone.start > at + 1e-6:
            filled.append(Phone(SILENCE, at, phone.start))
        filled.append(phone)
        at = phone.end
    if at < length:
        filled.append(Phone(SILENCE, at, length))
    return tuple(filled)


@dataclass(frozen=True)
class RecordedVoice:
    """A folder of recordings of one human speaker (for example Debian's `asterisk-core-sounds-*`)."""

    name: str
    folder: Path
    pattern: str = "*.g722"
    container: str | None = "g722"
    shortest_s: float = 0.8
    longest_s: float = 40.0
    transcripts: Transcripts | None = None
    """What is said; None, or words that do not fit: the recogniser's phones."""

    def utterances(self) -> Iterator[Utterance]:
        """All recordings that hold at least three phones."""
        if not self.folder.is_dir():
            raise BackendError(f"{self.folder} is not there; install the recordings of {self.name}, or leave them out")
        recogniser = optional_module("hama.asr", "hama").ASRModel()
        for path in sorted(self.folder.rglob(self.pattern)):
            try:
                samples = read_audio(path, self.container)[: int(self.longest_s * SAMPLE_RATE)]
            except MediaError as error:
                logger.warning("recording left out: %s", error)
                continue
            length = len(samples) / SAMPLE_RATE
            if length < self.shortest_s:
                continue
            name = path.relative_to(self.folder).with_suffix("").as_posix()
            phones = self.transcripts.phones(name, samples) if self.transcripts is not None else None
            if phones is None:
                phones = self._recognise(recogniser, samples)
            if len(phones) >= 3:
                yield Utterance(samples, with_pauses(phones, pauses(samples), length))

    @staticmethod
    def _recognise(recogniser: Any, samples: NDArray[np.float32], piece_s: float = 10.0) -> list[Phone]:
        """Phones of a recording, recognised in pieces of at most `piece_s`, cut where it is quietest."""
        phones: list[Phone] = []
        begin = 0
        while begin < len(samples):
            end = min(len(samples), begin + int(piece_s * SAMPLE_RATE))
            if end < len(samples):
                tail = samples[end - SAMPLE_RATE * 3 : end]
                power = np.convolve(np.square(tail), np.ones(1600, np.float32), mode="same")
                end = end - len(tail) + int(np.argmin(power))
            result = recogniser.transcribe_waveform(samples[begin:end], SAMPLE_RATE)
            offset = begin / SAMPLE_RATE - RECOGNISED_LATE_S
            for span in recogniser.phoneme_spans(result):
                start, stop = offset + span.start_ms / 1000.0, offset + span.end_ms / 1000.0
                phones.append(Phone(span.phoneme, max(0.0, start), max(0.0, stop)))
            begin = end
        return phones


@dataclass(frozen=True)
class HibariVoice:
    """The neural English voice of `hibari-tts`, with the frames it gave to every phoneme."""

    sentences: tuple[str, ...]
    speeds: tuple[float, ...] = (1.0,)
    name: str = "hibari-heart"

    def utterances(self) -> Iterator[Utterance]:
        """Speaks every sentence at every speed."""
        hibari = optional_module("hibari", "hibari-tts")
        onnx = optional_module("onnx", "onnx")
        runtime = optional_module("onnxruntime", "onnxruntime")
        voice = hibari.Hibari()
        graph = onnx.load(voice.model_path)
        graph.graph.output.append(onnx.helper.make_tensor_value_info("/Clip_output_0", onnx.TensorProto.FLOAT, None))
        session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        names = {index: symbol for symbol, index in voice.vocab.items()}
        for speed in self.speeds:
            for text in self.sentences:
                for phonemes in voice.phonemize(text):
                    ids = voice.ids(phonemes)
                    inputs = {"ids": np.asarray([ids], np.int64), "speed": np.asarray([speed], np.float32)}
                    frames = np.asarray(session.run(["/Clip_output_0"], inputs)[0], np.float64).reshape(-1)
                    wave = np.asarray(voice.from_ids(ids, speed, np.random.default_rng(0)), np.float32)
                    samples = resample(wave, round(len(wave) * 2 / 3))
                    length = len(samples) / SAMPLE_RATE
                    ends = np.maximum(np.cumsum(frames) / frames.sum() * length - NEURAL_LATE_S, 0.0)
                    ends[-1] = length
                    yield Utterance(samples, _hibari_phones([names.get(index, "") for index in ids], ends))


_KOKORO = {
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "ᵊ": "ə", "ʧ": "tʃ", "ʤ": "dʒ", "T": "ɾ",
    "ᵻ": "ɪ", "Q": "oʊ",
}  # fmt: skip


def _hibari_phones(symbols: list[str], ends: NDArray[np.float64]) -> tuple[Phone, ...]:
    """Phones from the model's symbols: marks of stress and length join the sound beside them."""
    phones: list[Phone] = []
    start = 0.0
    for symbol, end in zip(symbols, ends, strict=True):
        if symbol in {"ˈ", "ˌ"}:
            continue
        if symbol == "ː" and phones:
            phones[-1] = Phone(phones[-1].ipa, phones[-1].start, float(end))
        elif symbol and (symbol.isalpha() or symbol in _KOKORO):
            phones.append(Phone(_KOKORO.get(symbol, symbol), start, float(end)))
        else:
            phones.append(Phone(SILENCE, start, float(end)))
        start = float(end)
    return tuple(phones)
