"""Realtime sessions with a gateway, frame by frame, and what they must have cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import serve_model, upstream_name

PATIENCE = 10.0

PRICE = {
    "input_mtok": "4",
    "output_mtok": "16",
    "cache_read_mtok": "0.4",
    "input_audio_mtok": "32",
    "output_audio_mtok": "64",
    "input_image_mtok": "5",
    "cache_audio_read_mtok": "0.4",
}
"""What gpt-realtime costs, as of its launch; the cached amounts differ from the others on purpose."""


def realtime_model(operator: Operator, *options: str, **fields: Any) -> str:
    """A new model of the kind, with a demo channel for each of these options, first to last."""
    channels = [{"upstream_model": upstream_name(text)} for text in options]
    return serve_model(operator, *channels, **{"kind": "realtime", "price": PRICE, "max_output_tokens": 4096, **fields})


@dataclass
class Talk:
    """One open session."""

    socket: ClientConnection

    async def say(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def hear(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(PATIENCE):
            event: dict[str, Any] = json.loads(await self.socket.recv())
            return event

    async def until(self, type: str) -> dict[str, Any]:
        """The next event of this type; what comes before is skipped."""
        while (event := await self.hear())["type"] != type:
            assert event["type"] != "error", event
        return event

    async def turn(self) -> dict[str, Any]:
        """Asks for a response; its `response.done`."""
        await self.say("response.create")
        return await self.until("response.done")

    async def end(self) -> tuple[int, str, list[dict[str, Any]]]:
        """How it is closed from the other side: the code, the reason, and what came before."""
        events = []
        frame = None
        try:
            while True:
                events.append(await self.hear())
        except ConnectionClosed as closed:
            frame = closed.rcvd
        if frame is None:
            raise AssertionError("no close frame")
        return frame.code, frame.reason, events


@asynccontextmanager
async def talk(
    gateway: Gateway,
    customer: Customer | None,
    model: str | None,
    *,
    path: str = "/v1/realtime",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] | None = None,
    **options: Any,
) -> AsyncIterator[Talk]:
    """A session; raises websockets' InvalidStatus where the handshake is refused."""
    asked = {**({} if model is None else {"model": model}), **(query or {})}
    url = f"ws://127.0.0.1:{gateway.port}{path}" + (f"?{urlencode(asked)}" if asked else "")
    given = {**({} if customer is None else customer.headers), **(headers or {})}
    names = None if subprotocols is None else [Subprotocol(name) for name in subprotocols]
    options = {"compression": None, "max_size": None, "proxy": None, "ping_interval": None, **options}
    async with connect(url, additional_headers=given, subprotocols=names, **options) as socket:
        yield Talk(socket)


async def refused(gateway: Gateway, customer: Customer | None, model: str | None, **options: Any) -> tuple[int, Any]:
    """Status and error object of a handshake that must be refused."""
    try:
        async with talk(gateway, customer, model, **options):
            raise AssertionError("a session was opened")
    except InvalidStatus as answer:
        response = answer.response
    assert response.headers["x-request-id"]
    assert response.body is not None
    return response.status_code, json.loads(response.body)["error"]


async def entries(operator: Operator, customer: Customer, count: int) -> list[dict[str, Any]]:
    """The customer's entries, oldest first, once no hold is open and there are so many."""
    found = await asyncio.to_thread(operator.entries, customer, count=count)
    return found[::-1]


async def frames(demo: DemoProcess, model_part: str) -> dict[str, Any]:
    """What the demo upstream saw of the one session for a model: `frames` and `close`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await asyncio.to_thread(demo.received, model_part)
            if found:
                body: dict[str, Any] = found[-1]["body"]
                return {**body, "headers": dict(found[-1]["headers"]), "query": found[-1]["query"]}
            await asyncio.sleep(0.02)


def upstream_of(operator: Operator, model: str, rank: int = 0) -> str:
    """The upstream's name for a model."""
    channels = operator.call("GET", "/channels", params={"model": model})["data"]
    name: str = next(item["upstream_model"] for item in channels[rank]["models"] if item["model"] == model)
    return name


def dollars(
    text_in: int, audio_in: int, text_out: int, audio_out: int, cached: int = 0, cached_audio: int = 0
) -> Decimal:
    """At PRICE; the cached ones beside the others."""
    total = 4 * text_in + 32 * audio_in + 16 * text_out + 64 * audio_out
    return (Decimal(total) + Decimal("0.4") * (cached + cached_audio)) / 1_000_000
