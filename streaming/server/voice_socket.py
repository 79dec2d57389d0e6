"""A voice by WebSocket, for speech synthesisers: raw PCM in, faster than real time if they like; positions back.

Binary messages are mono samples (16-bit little endian) at the rate of the query (`?rate=24000`). Text messages are
JSON: {"type": "interrupt"} silences the voice at once, {"type": "end"} says that no more comes. The server answers with
{"type": "played", "seconds", "held_ms"} four times a second while something plays, "interrupted" with what was let go,
"full" when a message did not fit (it was not taken: send it again later), and "ended" when all is played.
"""

import asyncio
import json
from typing import Any, Final

import av
import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web
from numpy.typing import NDArray

from engine.errors import BadInputError
from streaming.clock import NS, Clock
from streaming.live.media import SOUND_RATE
from streaming.live.session import LiveDubSession
from streaming.live.voice import PlayOut, played_seconds

RATES: Final = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that may be sent."""

MAX_MESSAGE: Final = 1 << 20
"""Largest message in bytes."""

_REPORT_NS: Final = NS // 4


class PcmReader:
    """Turns messages of 16-bit samples into sound at the session's rate, whatever the messages' lengths."""

    def __init__(self, rate: int) -> None:
        """Samples come at this rate."""
        if rate not in RATES:
            raise BadInputError(f"rate is {rate}; expected one of {', '.join(str(each) for each in RATES)}")
        self.rate = rate
        """Samples a second that are sent."""
        self._resampler = av.AudioResampler("flt", "mono", SOUND_RATE)

    def read(self, data: bytes) -> NDArray[np.float32]:
        """The sound of one message: [N] at 48 kHz.

        Raises:
            BadInputError: half a sample was sent.
        """
        if len(data) % 2:
            raise BadInputError(f"got {len(data)} bytes; expected whole 16-bit samples, an even number")
        samples: NDArray[np.float32] = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        if self.rate == SOUND_RATE or not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "flt", "mono")
        frame.sample_rate = self.rate
        parts = [np.asarray(part.to_ndarray(), np.float32).reshape(-1) for part in self._resampler.resample(frame)]
        return np.concatenate([np.zeros(0, np.float32), *parts])


async def serve_voice(request: web.Request, session: LiveDubSession, clock: Clock) -> web.WebSocketResponse:
    """Take a voice until the sender leaves.

    Raises:
        BadInputError: the session's voice is of another kind, or the rate is unknown.
    """
    rate = request.query.get("rate", "16000")
    reader = PcmReader(int(rate) if rate.isdecimal() else 0)
    if session.config.voice.kind != "stream":
        kind = session.config.voice.kind
        raise BadInputError(f"this session's voice is of kind {kind}; expected stream. Change it first.")
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=20.0)
    await socket.prepare(request)
    ended = asyncio.Event()
    reports = asyncio.get_running_loop().create_task(_report(socket, session, clock, ended), name="voice reports")
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await _take(socket, session, reader, message.data)
            elif message.type is WSMsgType.TEXT:
                await _obey(socket, session, message.data, ended)
    except BadInputError as error:
        await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=str(error).encode()[:120])
    finally:
        reports.cancel()
        await asyncio.gather(reports, return_exceptions=True)
    return socket


def _buffer(session: LiveDubSession) -> PlayOut:
    if session.play_out is None:
        raise BadInputError("the session is not running yet, or its voice was changed; expected kind stream")
    return session.play_out


async def _take(socket: web.WebSocketResponse, session: LiveDubSession, reader: PcmReader, data: bytes) -> None:
    buffer = _buffer(session)
    if len(data) // 2 * 1000 / reader.rate > buffer.room_ms:
        await socket.send_json({"type": "full", "held_ms": round(buffer.held_ms)})
        return
    buffer.push(reader.read(data))


async def _obey(socket: web.WebSocketResponse, session: LiveDubSession, text: str, ended: asyncio.Event) -> None:
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError("a text message is not JSON; expected an object of type interrupt or end") from error
    kind: Any = asked.get("type") if isinstance(asked, dict) else None
    if kind == "interrupt":
        buffer = _buffer(session)
        before = buffer.cleared
        session.interrupt()
        cleared = played_seconds(buffer.cleared - before)
        await socket.send_json(
            {"type": "interrupted", "played_seconds": played_seconds(buffer.played), "cleared_seconds": cleared}
        )
    elif kind == "end":
        ended.set()
    else:
        raise BadInputError(f"message of type {str(kind)[:20]!r}; expected interrupt or end")


async def _report(socket: web.WebSocketResponse, session: LiveDubSession, clock: Clock, ended: asyncio.Event) -> None:
    """Tell how much was played, while it changes; say goodbye when the session ends."""
    told = -1
    while not socket.closed:
        await clock.sleep_until(clock.now() + _REPORT_NS)
        if session.state == "closed":
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the session has ended")
            return
        buffer = session.play_out
        if buffer is None:
            continue
        if buffer.played != told:
            told = buffer.played
            seconds = played_seconds(buffer.played)
            await socket.send_json({"type": "played", "seconds": seconds, "held_ms": round(buffer.held_ms)})
        elif ended.is_set() and buffer.held_ms == 0:
            await socket.send_json({"type": "ended", "seconds": played_seconds(buffer.played)})
            return
