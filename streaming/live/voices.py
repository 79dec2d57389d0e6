"""The voices of one session: makes the one that is asked for and feeds it with what comes for it."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.media import VideoFrame
from streaming.clock import Clock
from streaming.ingest.network import FfmpegStream, NetworkState, Stream, receive
from streaming.live.sources import PAUSE_S, VoiceSpec, read_voice
from streaming.live.voice import LiveVoice, NoVoice, PlayOut, RecordedVoice, Voice
from streaming.stage import TaskOwner
from streaming.worker import Worker

_LIVE_NAMES: Final = {"whip": "microphone", "source": "the source's sound", "url": "network"}


class Voices:
    """Makes a session's voice, one at a time.

    Args:
        clock: for pauses before a lost address is opened again.
        media: a thread that reads recordings.
        make_worker: makes the thread of a network voice.
        opener: opens a network voice.
    """

    def __init__(
        self,
        clock: Clock,
        media: Worker,
        make_worker: Callable[[], Worker],
        opener: Callable[[str], Stream] = FfmpegStream,
    ) -> None:
        """No voice yet."""
        self.play_out: PlayOut | None = None
        """The buffer of a voice that programs send."""
        self.network: NetworkState | None = None
        """How a voice from an address goes."""
        self._clock, self._media, self._make_worker, self._opener = clock, media, make_worker, opener
        self._live: LiveVoice | None = None
        self._kind = "none"
        self._recorded: dict[VoiceSpec, NDArray[np.float32]] = {}
        self._tasks = TaskOwner("voice")

    async def prepare(self, spec: VoiceSpec) -> None:
        """Read what has to be read before `make` can be called.

        Raises:
            MediaError: a recording cannot be read.
        """
        if spec.kind == "file" and spec.path is None:
            raise BadInputError("voice of kind file: got no file; expected an upload's name")
        if spec.is_recorded:
            self._recorded = {spec: await self._media.run(lambda: read_voice(spec))}

    async def make(self, spec: VoiceSpec) -> Voice:
        """The voice that is asked for; what fed the one before is ended."""
        await self._tasks.end()
        self._live = self.play_out = self.network = None
        self._kind = spec.kind
        if spec.is_recorded:
            return RecordedVoice(self._recorded[spec], PAUSE_S if spec.repeat else None)
        if spec.kind in _LIVE_NAMES:
            self._live = LiveVoice(_LIVE_NAMES[spec.kind])
            if spec.kind == "url":
                self._tasks.begin("network", self._receive(spec.url or "", self._live))
            return self._live
        if spec.kind == "stream":
            self.play_out = PlayOut()
            return self.play_out
        return NoVoice()

    def heard(self, kind: str, samples: NDArray[np.float32]) -> None:
        """Sound [N] at 48 kHz from a microphone ("whip") or with the pictures ("source"); used if it is asked for."""
        if self._live is not None and kind == self._kind:
            self._live.push(samples)

    async def aclose(self) -> None:
        """End everything; may be called again."""
        await self._tasks.end()

    async def _receive(self, url: str, voice: LiveVoice) -> None:
        """Feed a voice from an address, for ever."""
        self.network = NetworkState()
        async for item in receive(url, self._clock, self._make_worker(), self.network, lambda: None, self._opener):
            if not isinstance(item, VideoFrame):
                voice.push(item)
