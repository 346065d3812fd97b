"""What tests of providers share: a recorder of requests, and the gateway's own way of making a described call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from app.catalog.load import open_channel
from app.media.caller import Caller
from app.providers import discover
from app.providers.media import Call, Reply
from tests.providers.recorder import Recorder, run_recorder

Send = Callable[[str, str, Call], Awaitable[Reply]]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A server that keeps what it gets."""
    with run_recorder() as running:
        yield running


@pytest.fixture
async def send() -> AsyncIterator[Send]:
    """`await send(provider, base_url, call)`: the call as the gateway makes it, over a channel with the key `sk-test`."""
    caller = Caller(connect_timeout=5.0)
    caller.start()

    async def make(provider: str, base_url: str, call: Call) -> Reply:
        return await caller.call(open_channel(1, "test", discover(), provider, base_url, "sk-test", 0, 1, {}), call)

    yield make
    await caller.close()
