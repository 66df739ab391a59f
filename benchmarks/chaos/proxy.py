"""A TCP proxy whose connections can be held, slowed and reset."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

from tests.kafka_broker import free_port

CHUNK = 16 * 1024


class Proxy:
    """Listens on loopback and passes on to ``target``; it runs in a thread of its own.

    ``held``: connections stay, but nothing gets through. ``delay_s``: for each chunk, either way. Both may be set at any time.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.held = False
        self.delay_s = 0.0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._connected, "127.0.0.1", self.port), self._loop).result(5)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def reset(self) -> None:
        """End every connection by RST, with whatever was on its way."""
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, target_writer}
        self._writers |= both
        ways = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, target_writer), (target_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._writers -= both
        for one in both:
            one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.held:
                    await asyncio.sleep(0.05)
                writer.write(chunk)
                await writer.drain()

    def hold(self, seconds: float) -> None:
        """Let nothing through for so long; blocks."""
        self.held = True
        time.sleep(seconds)
        self.held = False
