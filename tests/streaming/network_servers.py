"""Small servers of network sources on this machine, and receivers of pushes: real sockets, one client each."""

import socket
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc.codecs.h264 import H264Encoder

from tests.streaming.clips import coded_frame, gradient

WIDTH, HEIGHT = 160, 120
_CHUNK = 4096


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def coded() -> Iterator["av.Packet[Any]"]:
    """A clip without end: H.264 with a key picture every five, each with its parameters."""
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"g": "5", "tune": "zerolatency", "preset": "ultrafast"}
    index = 0
    while True:
        frame = coded_frame(gradient(index, WIDTH, HEIGHT), "yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        yield from context.encode(frame)
        index += 1


class Server:
    """Serves one client after the other in a thread, until it is left."""

    scheme = ""

    def __init__(self) -> None:
        """Listen."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.clients = 0
        """Those that came."""
        self.requests: list[str] = []
        """What they asked for."""
        self.most_pictures = 10**9
        """Pictures after which a client is left."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self._listening.getsockname()[1]}/live/x"

    def __enter__(self) -> "Server":
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the client go, and end."""
        self._stop.set()
        self._listening.close()
        self._thread.join()

    def _run(self) -> None:
        self._listening.settimeout(0.05)
        while not self._stop.is_set():
            try:
                client, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.clients += 1
            client.settimeout(2)
            with client:
                try:
                    self._serve(client)
                except OSError:
                    continue

    def _serve(self, client: socket.socket) -> None:
        """One client; ends with OSError when it goes."""

    def _paced(self) -> Iterator["av.Packet[Any]"]:
        """Pictures at their times, as many as the client shall see."""
        for count, packet in enumerate(coded()):
            if self._stop.wait(0.04) or count >= self.most_pictures:
                return
            yield packet


class RtspServer(Server):
    """RTSP 1.0 with RTP inside its TCP connection, as cameras behind firewalls are asked."""

    scheme = "rtsp"

    def _serve(self, client: socket.socket) -> None:
        file = client.makefile("rb")
        playing = False
        while not playing:
            request = file.readline().decode()
            if not request:
                return
            headers = dict(iter(lambda: file.readline().decode().strip().partition(": ")[::2], ("", "")))
            method = request.split()[0]
            self.requests.append(method)
            client.sendall(self._answer(method, headers["CSeq"]))
            playing = method == "PLAY"
        packer, sequence = H264Encoder(), 0
        for packet in self._paced():
            payloads, _ = packer.pack(packet)
            for index, payload in enumerate(payloads):
                last = index == len(payloads) - 1
                assert packet.pts is not None
                header = struct.pack("!BBHII", 0x80, 96 | 0x80 * last, sequence & 0xFFFF, 3600 * packet.pts, 7)
                client.sendall(struct.pack("!BBH", 0x24, 0, len(header) + len(payload)) + header + payload)
                sequence += 1

    def _answer(self, method: str, number: str) -> bytes:
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        sdp += "a=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
        more, body = "", ""
        if method == "DESCRIBE":
            more, body = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n", sdp
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n"
        elif method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n"
        return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n{body}".encode()


class RtmpServer(Server):
    """RTMP for players: handshake, the commands up to `play`, then pictures as FLV holds them."""

    scheme = "rtmp"

    def _serve(self, client: socket.socket) -> None:
        file = client.makefile("rb")
        greeting = file.read(1 + 1536)
        client.sendall(b"\x03" + bytes(1536) + greeting[1:])
        file.read(1536)
        client.sendall(_message(2, 1, 0, struct.pack("!I", _CHUNK)))
        for command in _commands(file):
            name = command[3 : 3 + command[2]].decode()
            self.requests.append(name)
            number = command[3 + command[2] : 12 + command[2]]
            if name == "connect":
                client.sendall(_message(3, 20, 0, _text("_result") + number + b"\x05\x05"))
            elif name == "createStream":
                client.sendall(_message(3, 20, 0, _text("_result") + number + b"\x05" + b"\x00" + struct.pack("!d", 1)))
            elif name == "play":
                status = b"\x03\x00\x05level" + _text("status") + b"\x00\x04code" + _text("NetStream.Play.Start")
                client.sendall(_message(5, 20, 0, _text("onStatus") + number + b"\x05" + status + b"\x00\x00\x09"))
                break
        self._play(client)

    def _play(self, client: socket.socket) -> None:
        """Pictures with their times, the decoder's description before the first."""
        for count, packet in enumerate(self._paced()):
            units = bytes(packet)
            nals = [unit for unit in units.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01") if unit]
            assert packet.pts is not None
            if count == 0:
                sps, pps = (next(n for n in nals if n[0] & 31 == kind) for kind in (7, 8))
                record = b"\x01" + sps[1:4] + b"\xff\xe1" + struct.pack("!H", len(sps)) + sps
                record += b"\x01" + struct.pack("!H", len(pps)) + pps
                client.sendall(_message(6, 9, 0, b"\x17\x00\x00\x00\x00" + record, 1))
            body = b"".join(struct.pack("!I", len(n)) + n for n in nals)
            first = 0x17 if packet.is_keyframe else 0x27
            client.sendall(_message(6, 9, 40 * packet.pts, bytes([first, 1, 0, 0, 0]) + body, 1))


def _text(text: str) -> bytes:
    """A string of RTMP's commands."""
    return b"\x02" + struct.pack("!H", len(text)) + text.encode()


def _message(channel: int, kind: int, time: int, body: bytes, stream: int = 0) -> bytes:
    """A message in chunks; before the chunk size is told, messages are smaller than the least one."""
    head = bytes([channel]) + struct.pack("!I", time)[1:] + struct.pack("!I", len(body))[1:] + bytes([kind])
    parts = [body[i : i + _CHUNK] for i in range(0, len(body), _CHUNK)]
    return head + struct.pack("<I", stream) + bytes([0xC0 | channel]).join(parts)


def _commands(file: Any) -> Iterator[bytes]:
    """The commands of a client, which sends chunks of 128 bytes; other messages are left out."""
    lengths: dict[int, tuple[int, int]] = {}
    held: dict[int, bytes] = {}
    while first := file.read(1):
        form, channel = first[0] >> 6, first[0] & 63
        header = file.read((11, 7, 3, 0)[form])
        if form < 2:
            lengths[channel] = (int.from_bytes(header[3:6], "big"), header[6])
        length, kind = lengths[channel]
        body = held.get(channel, b"")
        held[channel] = body + file.read(min(128, length - len(body)))
        if len(held[channel]) == length:
            body = held.pop(channel)
            if kind == 20:
                yield body


class Receiver:
    """Takes one push and notes its pictures and sound, in a thread."""

    def __init__(self, url: str, kind: str, options: dict[str, str], pictures: int = 12) -> None:
        """Listen when entered; so many pictures are taken."""
        self.url, self._kind, self._options, self._wanted = url, kind, options, pictures
        self.times: list[float] = []
        """Of the pictures, in s."""
        self.bright: list[float] = []
        """Mean luma of each."""
        self.sound: list[np.ndarray[Any, Any]] = []
        """Pieces of sound."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Receiver":
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until it has what it wanted."""
        self._thread.join()

    @property
    def done(self) -> bool:
        """Whether it has what it wanted, or was left."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        with av.open(self.url, "r", format=self._kind, options=self._options, timeout=10) as container:
            streams = [container.streams.video[0], *container.streams.audio[:1]]
            for frame in container.decode(*streams):
                if isinstance(frame, av.VideoFrame):
                    self.times.append(float(frame.time or 0.0))
                    self.bright.append(float(frame.to_ndarray(format="gray").mean()))
                elif isinstance(frame, av.AudioFrame):
                    self.sound.append(frame.to_ndarray())
                if len(self.times) >= self._wanted and self.sound:
                    return
