"""A Unix socket in front of PostgreSQL's own that loses answers, falls silent, or cuts its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET = ".s.PGSQL.5432"


@dataclass(eq=False)
class _Link:
    """One client's connection and ours to the server; each direction passes while its event is set."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    questions: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards both directions until told otherwise. Use `async with`; `url` leads through it."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._upstream = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / SOCKET
        self._folder = folder
        self.url = f"{database_url.partition('?')[0]}?host={quote(str(folder))}&port=5432"
        self._frozen = False
        self._marker: bytes | None = None
        self._links: list[_Link] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._folder.mkdir(exist_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._folder / SOCKET)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def mute(self) -> None:
        """The server still hears its clients, but they hear nothing of it."""
        for link in self._links:
            link.answers.clear()

    def mute_after(self, marker: bytes) -> None:
        """Mutes the connection on which these bytes are sent: that question is heard, but not answered."""
        self._marker = marker

    def freeze(self, *, newcomers: bool = True) -> None:
        """Nothing passes, and nobody is told: a network that drops packets, for new connections too unless told not to."""
        self._frozen = newcomers
        for link in self._links:
            link.questions.clear()
            link.answers.clear()

    def resume(self) -> None:
        """What was kept back passes now."""
        self._frozen, self._marker = False, None
        for link in self._links:
            link.questions.set()
            link.answers.set()

    def cut(self) -> None:
        """Ends every connection; what was kept back is lost."""
        for link in self._links:
            link.client.transport.abort()
            link.server.transport.abort()
        self._links.clear()

    async def _accept(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server_reader, server = await asyncio.open_unix_connection(self._upstream)
        link = _Link(client, server)
        self._links.append(link)
        if not self._frozen:
            link.questions.set()
            link.answers.set()
        for forwarding in (self._ask(client_reader, link), self._answer(server_reader, link)):
            task = asyncio.create_task(forwarding)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, reader: asyncio.StreamReader, link: _Link) -> None:
        async for data in _read(reader):
            await link.questions.wait()
            if self._marker is not None and self._marker in data:
                link.answers.clear()
            link.server.write(data)
        await link.questions.wait()
        link.server.close()

    async def _answer(self, reader: asyncio.StreamReader, link: _Link) -> None:
        async for data in _read(reader):
            await link.answers.wait()
            link.client.write(data)
        link.client.close()


async def _read(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            yield data
