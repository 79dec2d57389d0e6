"""As much of a TURN server as a client needs to get a relayed address or to be refused one; it relays nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aioice import stun
from aioice.turn import make_integrity_key

REALM, NONCE = "livedub.test", b"nonce-of-the-test"
RELAYED = ("192.0.2.7", 5000)


class TurnServer(asyncio.DatagramProtocol):
    """Knows one user."""

    def __init__(self, user: str, password: str) -> None:
        self.user, self.key = user, make_integrity_key(user, REALM, password)
        self.refused = self.allocated = self.freed = 0
        self.port = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = stun.parse_message(data)
        known = asked.attributes.get("USERNAME") == self.user and asked.check_message_integrity(self.key)
        answer = stun.Message(
            asked.message_method, stun.Class.RESPONSE if known else stun.Class.ERROR, asked.transaction_id
        )
        if not known:
            self.refused += 1
            answer.attributes.update({"ERROR-CODE": (401, "Unauthorized"), "REALM": REALM, "NONCE": NONCE})
        elif asked.message_method is stun.Method.ALLOCATE:
            self.allocated += 1
            given = {"XOR-RELAYED-ADDRESS": RELAYED, "XOR-MAPPED-ADDRESS": addr, "LIFETIME": 600}
            answer.attributes.update(given)
        elif asked.message_method is stun.Method.REFRESH:
            self.freed += asked.attributes["LIFETIME"] == 0
            answer.attributes["LIFETIME"] = asked.attributes["LIFETIME"]
        if known:
            answer.add_message_integrity(self.key)
        self.transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def turn_server(user: str, password: str) -> AsyncIterator[TurnServer]:
    """Such a server on a free port of this machine."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: TurnServer(user, password), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
