"""A way between two WebRTC ends that loses datagrams or is narrow, as bad links are."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

Address = tuple[str, int]
HOST: Final = "127.0.0.1"


class LossyRelay:
    """Hands datagrams on between one client and one server on this machine, and loses a share of them, both ways.

    The way to the client may be narrow: datagrams queue up then, and what does not fit into the queue is lost.
    """

    def __init__(self, seed: int = 0) -> None:
        """Lose nothing yet."""
        self.loss = 0.0
        """Share of the datagrams that are lost."""
        self.bits_per_second: float | None = None
        """What the way to the client carries; None: everything, at once."""
        self.queue_s = 0.3
        """So much of that fits into the queue."""
        self._free_at = 0.0
        self.passed = self.lost = 0
        """Datagrams handed on, and not."""
        self.port = 0
        """Where the client sends to."""
        self._random = random.Random(seed)
        self._client: Address | None = None
        self._server: Address | None = None
        self._down: asyncio.DatagramTransport | None = None
        self._up: asyncio.DatagramTransport | None = None

    def offer(self, sdp: str) -> str:
        """An offer without candidates: the server cannot find another way than this one."""
        return "".join(line for line in sdp.splitlines(keepends=True) if "candidate" not in line)

    def answer(self, sdp: str) -> str:
        """An answer whose candidates lead here."""
        found = re.search(rf"^a=candidate:\S+ 1 udp \d+ {re.escape(HOST)} (\d+) ", sdp, re.MULTILINE | re.IGNORECASE)
        if found is None:
            raise ValueError(f"answer: has no UDP candidate on {HOST}")
        self._server = (HOST, int(found[1]))
        return sdp.replace(f" {HOST} {found[1]} ", f" {HOST} {self.port} ")

    @asynccontextmanager
    async def open(self) -> AsyncIterator["LossyRelay"]:
        """Relay inside the block."""
        loop = asyncio.get_running_loop()
        local = (HOST, 0)
        self._down, _ = await loop.create_datagram_endpoint(lambda: _End(self._from_client), local)
        self._up, _ = await loop.create_datagram_endpoint(lambda: _End(self._from_server), local)
        self.port = self._down.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            self._down.close()
            self._up.close()

    def _from_client(self, data: bytes, sender: Address) -> None:
        self._client = sender
        self._hand_on(self._up, data, self._server)

    def _from_server(self, data: bytes, sender: Address) -> None:
        loop, rate = asyncio.get_running_loop(), self.bits_per_second
        wait = self._free_at - loop.time()
        if rate is None and wait <= 0:
            self._hand_on(self._down, data, self._client)
        elif rate is not None and wait > self.queue_s:
            self.lost += 1
        else:
            self._free_at = max(self._free_at, loop.time()) + (0.0 if rate is None else 8 * len(data) / rate)
            loop.call_at(self._free_at, self._hand_on, self._down, data, self._client)

    def _hand_on(self, by: asyncio.DatagramTransport | None, data: bytes, to: Address | None) -> None:
        if by is None or to is None or by.is_closing():
            return
        if self._random.random() < self.loss:
            self.lost += 1
            return
        self.passed += 1
        by.sendto(data, to)


class _End(asyncio.DatagramProtocol):
    """One socket of the relay."""

    def __init__(self, take: Callable[[bytes, Address], None]) -> None:
        """Hand everything on to `take`."""
        self._take = take

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """A datagram came."""
        self._take(data, addr)
