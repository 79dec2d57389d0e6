"""Speech and phone times of espeak-ng, through its C library (Debian package `libespeak-ng1`)."""

import ctypes
import ctypes.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.training.audio import SAMPLE_RATE
from engine.training.voices import SILENCE, Phone, Utterance

LATE_S: Final = 0.016
"""How late the library reports its phonemes: the median over vowels, stops and nasals, which are heard earlier."""

_RETRIEVAL = 1
_PHONEME_EVENTS_IPA = 0x0001 | 0x0002
_EVENT_END, _EVENT_PHONEME = 0, 7
_UTF8, _RATE, _PITCH, _RANGE = 1, 1, 3, 4


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """The one espeak-ng instance of a process."""

    _shared: "_Library | None" = None

    def __init__(self) -> None:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            raise BackendError("libespeak-ng is not installed; install espeak-ng, or leave its voices out")
        self._library = ctypes.CDLL(found)
        self.rate = int(self._library.espeak_Initialize(_RETRIEVAL, 0, None, _PHONEME_EVENTS_IPA))
        if self.rate <= 0:
            raise BackendError(f"espeak-ng does not start (answer {self.rate}); install espeak-ng-data")
        self._samples: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._keep = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._keep)

    @classmethod
    def shared(cls) -> "_Library":
        """The one instance of this process: the library keeps its state globally."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def _collect(self, wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if wave and count > 0:
            self._samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                name = bytes(events[index].id.string).split(b"\0")[0].decode("utf-8", errors="ignore")
                if not name.startswith("("):  # "(en)" announces a change of language
                    self._events.append((events[index].audio_position / 1000.0, name))
            index += 1
        return 0

    def speak(
        self, text: str, voice: str, rate: int, pitch: int
    ) -> tuple[NDArray[np.float32], list[tuple[float, str]]]:
        """Samples at `rate` in -1...1, and the phonemes with the second each begins at."""
        self._samples, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise BackendError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices` lists them")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, 60)):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        joined = np.concatenate(self._samples) if self._samples else np.zeros(0, np.int16)
        return joined.astype(np.float32) / 32768.0, self._events


@dataclass(frozen=True)
class EspeakVoice:
    """One language and variant of espeak-ng."""

    voice: str
    """Language and variant, for example `de+f3`."""
    sentences: tuple[str, ...]
    rate: int = 160
    """Words per minute."""
    pitch: int = 50
    """0 ... 99."""

    @property
    def name(self) -> str:
        """Unique name of the voice."""
        return f"espeak-{self.voice}"

    def utterances(self) -> Iterator[Utterance]:
        """Speaks the sentences one by one."""
        library = _Library.shared()
        for text in self.sentences:
            raw, events = library.speak(text, self.voice, self.rate, self.pitch)
            if not len(raw) or not events:
                continue
            length = len(raw) / library.rate
            grid = np.arange(int(length * SAMPLE_RATE)) / SAMPLE_RATE
            samples = np.interp(grid, np.arange(len(raw)) / library.rate, raw).astype(np.float32)
            times = [max(0.0, time - LATE_S) for time, _ in events] + [length]
            phones = tuple(
                Phone(SILENCE if name.startswith("_") else name, start, max(start, end))
                for (_, name), start, end in zip(events, times, times[1:], strict=False)
            )
            yield Utterance(samples, phones)
