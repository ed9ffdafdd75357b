"""A TURN client that nobody here wrote: aioice, taken through the life of an allocation.

Its one argument is an object of JSON: how to reach the server, a user of it, and the file of the server's clock, which
this puts forward. It ends with 0 if all went as it should, and with what did not otherwise.
"""

import asyncio
import json
import logging
import ssl
import sys
from pathlib import Path

from aioice import stun, turn

LIMIT = 20
LENGTHS = [1, 2, 3, 4, 5, 101, 1200]


class Heard(asyncio.DatagramProtocol):
    """Keeps what comes, and what goes wrong."""

    def __init__(self):
        self.data = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.lost = asyncio.Event()

    def datagram_received(self, data, address):
        self.data.put_nowait((data, address))

    def error_received(self, error):
        self.errors.put_nowait(error)

    def connection_lost(self, error):
        self.lost.set()

    async def next(self):
        return await asyncio.wait_for(self.data.get(), LIMIT)

    async def next_code(self):
        error = await asyncio.wait_for(self.errors.get(), LIMIT)
        return error.response.error_code


class Refreshed(logging.Handler):
    """Notices that aioice has refreshed its allocation, which it only logs."""

    def __init__(self):
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record):
        if "allocation refreshed" in record.getMessage():
            self.event.set()


async def allocate(given):
    tls = ssl.create_default_context(cafile=given["authority"]) if given["transport"] == "tls" else None
    return await turn.create_turn_endpoint(
        Heard,
        ("127.0.0.1", given["port"]),
        username=given["username"],
        password=given["password"],
        # Each packet renews its channel, whatever the clock here says.
        channel_refresh_time=0,
        ssl=tls,
        transport="udp" if given["transport"] == "udp" else "tcp",
    )


async def peer():
    loop = asyncio.get_running_loop()
    transport, heard = await loop.create_datagram_endpoint(Heard, local_addr=("127.0.0.1", 0))
    return transport, heard, transport.get_extra_info("sockname")


async def live(given):
    put_forward = lambda seconds: Path(given["clock"]).write_text(f"+{seconds}")
    transport, client = await allocate(given)
    inner = transport._TurnTransport__inner_protocol
    # The server says that its address is another one.
    _, port = transport.get_extra_info("sockname")
    relayed = (given["relayed"], port)
    near, near_heard, near_address = await peer()
    other, _, other_address = await peer()

    # A permission, and data in an indication.
    permission = stun.Message(stun.Method.CREATE_PERMISSION, stun.Class.REQUEST)
    permission.attributes["XOR-PEER-ADDRESS"] = near_address
    await inner.request_with_retry(permission)
    indication = stun.Message(stun.Method.SEND, stun.Class.INDICATION)
    indication.attributes["XOR-PEER-ADDRESS"] = near_address
    indication.attributes["DATA"] = b"in an indication"
    inner.send_stun(indication, None)
    assert await near_heard.next() == (b"in an indication", relayed)

    # A channel, and data of each length both ways.
    for length in LENGTHS:
        transport.sendto(bytes(length), near_address)
        assert await near_heard.next() == (bytes(length), relayed)
        near.sendto(bytes(length), relayed)
        assert await client.next() == (bytes(length), near_address)
    # Another port of that host has no channel.
    other.sendto(b"from next door", relayed)
    assert await client.next() == (b"from next door", other_address)

    # Who may not be reached is not.
    transport.sendto(b"x", ("127.0.0.9", 9))
    assert await client.next_code() == 403

    # It lives as long as it is refreshed.
    put_forward(500)
    refreshed = Refreshed()
    turn.logger.addHandler(refreshed)
    turn.logger.setLevel(logging.INFO)
    inner.refresh_task.cancel()
    inner.refresh_task = asyncio.create_task(inner.refresh(0))
    await asyncio.wait_for(refreshed.event.wait(), LIMIT)
    put_forward(1000)
    transport.sendto(b"still there", near_address)
    assert await near_heard.next() == (b"still there", relayed)

    # And no longer.
    put_forward(1700)
    code = None
    while code is None:
        transport.sendto(b"gone?", near_address)
        heard = asyncio.create_task(near_heard.next())
        refused = asyncio.create_task(client.next_code())
        done, waiting = await asyncio.wait([heard, refused], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        code = refused.result() if refused in done else None
    assert code == 437, code
    near.sendto(b"anybody?", relayed)

    # Another one ends when its client says so.
    transport, client = await allocate(given)
    transport.close()
    await asyncio.wait_for(client.lost.wait(), LIMIT)


asyncio.run(live(json.loads(sys.argv[1])))
