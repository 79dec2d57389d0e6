"""The speech model: 16 kHz sound in, landmark displacements out, live or offline by the same code."""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine import weights as weight_cache
from engine.errors import BadInputError, WeightsError, WeightsFormatError
from engine.speech.activity import ActivityConfig, ActivityDetector, MouthGate
from engine.speech.auto import ShownEmotion
from engine.speech.closing import SHIPPED as CLOSING
from engine.speech.closing import ClosingNet, ClosingState, hold_jaw, listen, read_closing_net, with_closing
from engine.speech.controls import CONTROLS, EXPRESSIONS, FRAME_RATE, FaceBasis, activations, decide
from engine.speech.detectors import FRAME
from engine.speech.effort import open_by_effort
from engine.speech.emotions import BLEND_S
from engine.speech.encoding import Encoding, SoundEncoding
from engine.speech.features import HOP, SAMPLE_RATE, WINDOW, clean_samples
from engine.speech.inertia import Inertia
from engine.speech.int8 import quantise
from engine.speech.network import DELAYS, NetworkConfig, SpeechNet
from engine.speech.track import MouthTrack, SpeechFrame, rest_frame
from engine.speech.whisper import CHUNK, CHUNKS, WhisperEncoder, load_encoder

SHIPPED: Final = Path(__file__).with_name("speech.safetensors")
"""The weights that come with the package."""

ENCODER: Final = "whisper-tiny-en"
"""Catalogue name of the encoder's weights."""

LOOK_AHEADS_MS: Final = range(40, 201)
"""Look-aheads that may be asked for; the model takes the best of its own within (`within`)."""

CLOSING_S: Final = 0.4
"""Seconds of rest that follow the end of the sound, in which the mouth closes."""

_BLOCK_S = 10.0
_GATE_AHEAD = 1  # control frames that voice activity hears beyond the delay: it opens before the first sound
_FORMAT = "livedub-speech-3"
_COLUMNS = len(CONTROLS) + len(EXPRESSIONS)


class SpeechModel:
    """Maps speech to displacements of the 68 landmarks from the rest face, 50 times a second."""

    def __init__(
        self,
        encoder: WhisperEncoder,  # features learnt from real speech
        network: SpeechNet,  # features to mouth controls
        basis: FaceBasis,  # mouth controls to landmarks
        activity: ActivityConfig | None = None,  # voice activity settings
        delay: int | None = None,  # how late the network's answer is read, one of DELAYS (default: as configured)
        chunk: int = CHUNK,  # positions that the encoder takes together, one of CHUNKS
        closing: ClosingNet | None = None,  # tells whether lips close; None, or without delay: the network alone does
    ) -> None:
        """Takes trained networks, which it freezes, and the landmarks that the controls move."""
        self.encoder = encoder.eval().requires_grad_(False)
        self.network = network.eval().requires_grad_(False)
        self.basis = basis
        self.activity = activity or ActivityConfig()
        self.delay = network.config.delay if delay is None else delay
        self.chunk = chunk
        self.closing = closing if self.delay > 0 else None
        self.look_ahead_ms = look_ahead_ms(self.delay, chunk)
        """Milliseconds of sound after a frame's time that must be heard before the frame is ready."""

    def stream(self, keep_s: float = 600.0) -> "SpeechStream":
        """A live stream; frames of the last `keep_s` seconds can be asked for."""
        return SpeechStream(self, keep_s)

    def offline(self, samples: NDArray[np.float32], emotion: str = "neutral", intensity: float = 1.0) -> MouthTrack:
        """The mouth over a whole recording and `CLOSING_S` after it. samples: [N] mono, 16 kHz, in [-1, 1]."""
        step = int(_BLOCK_S * SAMPLE_RATE)
        with self.stream(keep_s=len(samples) / SAMPLE_RATE + 2.0) as stream:
            stream.set_emotion(emotion, intensity)
            for begin in range(0, len(samples), step):
                stream.push(samples[begin : begin + step])
            stream.end_input()
            rows = stream.rows()
        times = np.arange(len(rows)) / FRAME_RATE
        return MouthTrack(times, self.moved(rows), rows[:, -1].copy())

    def moved(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """rows: [..., CONTROLS + EXPRESSIONS + 1] of a stream -> displacement [..., 68, 3]."""
        return self.basis.move(rows[..., : len(CONTROLS)], rows[..., len(CONTROLS) : -1])


def look_ahead_ms(delay: int, chunk: int = CHUNK) -> int:
    """Milliseconds of sound that must be heard after a frame's time when the answer is read `delay` frames late."""
    heard = max(2 * (delay + chunk) * HOP + WINDOW // 2, (delay + _GATE_AHEAD + 1) * FRAME)
    return -(-heard * 1000 // SAMPLE_RATE)


def within(limit_ms: int) -> tuple[int, int]:
    """The chunk and delay for a look-ahead within `limit_ms`.

    Settings with a delay come first: the closing detector serves them, and lips meet more labials. Then the largest
    chunk, which costs least, and the longest delay. From 60 to 72 ms and from 93 to 112 ms a delay is bought with a
    smaller chunk.
    """
    every = [(chunk, delay) for chunk in CHUNKS for delay in DELAYS]
    fitting = [setting for setting in every if look_ahead_ms(setting[1], setting[0]) <= limit_ms]
    if not fitting:
        least = look_ahead_ms(DELAYS[0], CHUNKS[0])
        raise BadInputError(f"look-ahead of {limit_ms} ms, expected at least {least} ms: one chunk")
    return max(fitting, key=lambda setting: (setting[1] > 0, *setting))


class _History:
    """The newest rows of a stream, found by frame number; memory is bounded."""

    def __init__(self, capacity: int, columns: int) -> None:
        self._rows = np.zeros((capacity, columns), np.float32)
        self.first = 0
        self.end = 0

    def append(self, rows: NDArray[np.float32]) -> None:
        """Adds rows; when full, forgets the older half."""
        for row in rows:
            if self.end - self.first == len(self._rows):
                half = len(self._rows) // 2
                self._rows[:-half] = self._rows[half:].copy()
                self.first += half
            self._rows[self.end - self.first] = row
            self.end += 1

    def row(self, frame: int) -> NDArray[np.float32]:
        """The row of a frame that is held."""
        if not self.first <= frame < self.end:
            raise BadInputError(
                f"frame {frame} is not held, only {self.first} to {self.end - 1}; ask within keep_s of the newest"
            )
        return np.asarray(self._rows[frame - self.first])

    def all(self) -> NDArray[np.float32]:
        """All rows held, oldest first."""
        return self._rows[: self.end - self.first]


class SpeechStream:
    """One live sound stream. State is bounded however long it runs; cut the sound into pushes as you like."""

    def __init__(self, model: SpeechModel, keep_s: float) -> None:
        """Starts in silence; use `SpeechModel.stream`."""
        self._model = model
        delay = model.delay
        self._encoding = SoundEncoding(Encoding.begin(model.encoder, chunk=model.chunk))
        self._network = model.network.initial_state()
        self._skip = delay
        self._detector = ActivityDetector(model.activity)
        self._gate = MouthGate(model.activity, delay + _GATE_AHEAD)
        self._factors: list[float] = []
        self._active = np.zeros((0, _COLUMNS), np.float32)
        self._effort = np.zeros(0, np.float32)
        self._closing = np.zeros(0, np.float32)
        self._closing_state = ClosingState()
        self._inertia = Inertia()
        self._emotion = ShownEmotion()
        self._history = _History(max(2 * FRAME_RATE, int(2 * keep_s * FRAME_RATE)), _COLUMNS + 1)
        self._heard = 0
        self._ended = False

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends the stream; its frames stay readable."""
        self._ended = True
        self._network.__exit__(kind, error, at)

    @property
    def ready_until_s(self) -> float:
        """Frames up to this time can be asked for; infinite after `end_input` (the mouth then rests)."""
        if self._ended:
            return float("inf")
        return (self._history.end - 1) / FRAME_RATE

    def set_emotion(self, name: str, intensity: float = 1.0, blend_s: float = BLEND_S) -> None:
        """The emotion of all frames that are not ready yet, reached in `blend_s` seconds without a jump.

        A stream begins neutral. `name` is one of `CHOICES`, intensity 0 ... 1. With `auto` the voice is listened to
        from here on: what it says first counts as neutral.
        """
        self._emotion.choose(name, intensity, blend_s)

    @property
    def shown(self) -> dict[str, float]:
        """Mean share of each emotion so far; empty before the first frame."""
        return self._emotion.shown

    def push(self, samples: NDArray[np.float32]) -> None:
        """Takes the next sound. samples: [n] mono, 16 kHz, in [-1, 1]; NaN counts as silence."""
        if self._ended:
            raise BadInputError("sound came after the end of the stream; open a new stream for it")
        self._heard += len(samples)
        self._process(clean_samples(samples))

    def end_input(self) -> None:
        """No more sound comes: the rest becomes ready and the mouth closes."""
        if self._ended:
            return
        wanted = -(-self._heard // FRAME) + int(CLOSING_S * FRAME_RATE)
        while self._history.end < wanted:
            self._process(np.zeros(FRAME, np.float32))
        self._ended = True

    def at(self, seconds: float) -> SpeechFrame:
        """The mouth at a time that is ready, interpolated between control frames."""
        if seconds > self.ready_until_s or self._history.end == 0:
            if self._ended:
                return rest_frame()
            raise BadInputError(
                f"{seconds:.3f} s is not ready, only up to {self.ready_until_s:.3f} s: the model hears "
                f"{self._model.look_ahead_ms} ms ahead; push more sound or end the input"
            )
        place = max(0.0, seconds * FRAME_RATE)
        lower = int(place)
        if lower + 1 >= self._history.end:
            if self._ended and place > self._history.end - 1:
                return rest_frame()
            row = self._history.row(lower)
        else:
            share = np.float32(place - lower)
            row = self._history.row(lower) * (1 - share) + self._history.row(lower + 1) * share
        return SpeechFrame(self._model.moved(row), float(row[-1]))

    def rows(self) -> NDArray[np.float32]:
        """[T, CONTROLS + EXPRESSIONS + 1]: gated activations, expressions and voice activity of all frames held."""
        return self._history.all()

    @torch.inference_mode()
    def _process(self, samples: NDArray[np.float32]) -> None:
        """Runs features, network and gate as far as the sound reaches."""
        factors = (self._gate.push(decision) for decision in self._detector.push(samples))
        self._factors.extend(factor for factor in factors if factor is not None)
        self._emotion.hear(samples)
        inputs, effort = self._encoding.push(samples)
        if inputs.shape[1]:
            answer, expression = self._answer(inputs)
            skipped = min(self._skip, len(answer))
            self._skip -= skipped
            self._effort = np.concatenate([self._effort, effort[0]])
            effort_then, self._effort = np.split(self._effort, [len(answer) - skipped])
            controls = self._inertia.follow(self._opened(inputs, answer[skipped:], effort_then))
            both = np.concatenate([activations(controls), expression[skipped:]], axis=1)
            self._active = np.concatenate([self._active, both])
        ready = min(len(self._factors), len(self._active))
        if ready:
            factor = np.asarray(self._factors[:ready], np.float32)[:, None]
            self._history.append(np.concatenate([self._active[:ready] * factor, factor], axis=1))
            self._active = self._active[ready:]
            del self._factors[:ready]

    def _opened(self, inputs: Tensor, answer: NDArray[np.float32], effort: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the next controls [T, CONTROLS] ask of the mouth, effort [T] and closing lips taken in."""
        if self._model.closing is None:
            return open_by_effort(decide(answer), effort)
        self._closing = np.concatenate([self._closing, listen(self._model.closing, inputs, self._closing_state)])
        shares, self._closing = np.split(self._closing, [len(answer)])
        return hold_jaw(open_by_effort(decide(with_closing(answer, shares)), effort), shares)

    def _answer(self, inputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """inputs: [1, T, 390] -> controls [T, CONTROLS] and expressions [T, EXPRESSIONS] in the emotion of the time."""
        network = self._model.network
        code = network.emotion_code(torch.from_numpy(self._emotion.follow(inputs.shape[1]))[None])
        answer = network.predict(network.hear(inputs), code, self._network, self._model.delay)
        return answer.controls[0].numpy(), answer.expression[0].numpy()


def save_speech_model(path: Path, network: SpeechNet, basis: FaceBasis, notes: dict[str, str]) -> None:
    """Writes network (half precision) and face basis to one safetensors file; `notes` join its header."""
    tensors = {f"network.{name}": value.detach().half().contiguous() for name, value in network.state_dict().items()}
    tensors["basis.rest"] = torch.from_numpy(basis.rest)
    tensors["basis.displacement"] = torch.from_numpy(basis.displacement)
    tensors["basis.expression"] = torch.from_numpy(basis.expression)
    header = {**notes, **network.config.to_metadata(), "format": _FORMAT}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata=header)
    partial.replace(path)


def load_speech_model(
    weights: Path | None = None,
    activity: ActivityConfig | None = None,
    limit_ms: int | None = None,
    closing: Path = CLOSING,
) -> SpeechModel:
    """The model with the shipped weights, or with those of other files that `livedub train speech|closing` wrote.

    `limit_ms` is the largest look-ahead that is allowed, 40 or more; None: that of the weights. Fetches the Whisper
    encoder's weights into the cache when they are not there.
    """
    chunk, delay = (CHUNK, None) if limit_ms is None else within(limit_ms)
    path = weights or SHIPPED
    if not path.is_file():
        raise WeightsError(f"{path} is not there, expected the speech weights; reinstall, or name another file")
    try:
        with safe_open(path, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name).float() for name in archive.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsFormatError(f"{path} is not a safetensors file: {error}; fetch or train it again") from error
    if header.get("format") != _FORMAT:
        raise WeightsFormatError(f"{path} has format {header.get('format')!r}, expected {_FORMAT!r}")
    try:
        network = SpeechNet(NetworkConfig.from_metadata(header))
        prefix = "network."
        state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        network.load_state_dict(state)
        parts = (tensors[f"basis.{part}"].numpy() for part in ("rest", "displacement", "expression"))
        basis = FaceBasis(*parts)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsFormatError(f"{path} does not hold a speech model: {error}; train it again") from error
    encoder = load_encoder(weight_cache.path(ENCODER))
    quantise(encoder)
    return SpeechModel(encoder, network, basis, activity, delay, chunk, read_closing_net(closing))
