"""Looking at objects and deleting them: at the channel that keeps them, for their account alone, free of charge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Channel
from app.errors import Blame, GatewayError, Kind, UpstreamError, invalid_request
from app.formats.framing import write_json
from app.formats.refusals import load_json
from app.relay.attempt import MAX_ERROR_BODY, Upstreams, connection_error, interrupted, read_start, redact
from app.relay.exchange import Exchange, Interrupt
from app.relay.objects.paths import ObjectPath
from app.relay.objects.sending import read_object_error, url_of
from app.relay.objects.store import KeptObject, ObjectStore
from app.relay.sending import JSON
from app.routing.trip import Pin

MOST_LISTED = 100
USUAL_LISTED = 20
STILL = frozenset({"files", "conversations"})
"""Families whose objects look the same whenever they are looked at: a list needs no look at each."""

AT_ONCE = 8
MAX_OBJECT = 8 * 1024 * 1024


class Looks:
    """GET and DELETE of objects of one process."""

    def __init__(self, catalog: Catalog, upstreams: Upstreams, store: ObjectStore) -> None:
        self._catalog = catalog
        self._upstreams = upstreams
        self._store = store

    async def serve(
        self,
        exchange: Exchange,
        principal: Principal,
        path: ObjectPath,
        owner: KeptObject | None,
        query: Sequence[tuple[str, str]],
    ) -> None:
        """Answers. Raises GatewayError."""
        method = exchange.scope["method"]
        exchange.body_read = True
        try:
            if owner is not None:
                await self._pass(exchange, principal, method, path, owner, query)
            elif method == "GET":
                await self._list(exchange, principal, path.family, dict(query))
            else:
                raise GatewayError(Kind.INVALID, "method_not_allowed", "This can't be deleted as a whole.", status=405)
        except asyncio.CancelledError as error:
            raise interrupted(exchange, error) from error

    # -- one -----------------------------------------------------------------------------------------------------------

    async def _pass(
        self,
        exchange: Exchange,
        principal: Principal,
        method: str,
        path: ObjectPath,
        owner: KeptObject,
        query: Sequence[tuple[str, str]],
    ) -> None:
        channel = keeper_of(self._catalog.snapshot.channels, path.family, owner.pin)
        exchange.allow(self._upstreams.timeouts.first_byte, Interrupt.FIRST_BYTE_TIMEOUT)
        try:
            answer = await self._upstreams.send(channel.keys[owner.channel_key], method, url_of(channel, path, query))
            try:
                await self._answer(exchange, principal, method, path, channel, answer)
            finally:
                answer.close()
        except (aiohttp.ClientError, OSError) as error:
            if exchange.committed:
                exchange.cut()
                return
            raise connection_error(error) from error

    async def _answer(
        self,
        exchange: Exchange,
        principal: Principal,
        method: str,
        path: ObjectPath,
        channel: Channel,
        answer: aiohttp.ClientResponse,
    ) -> None:
        if answer.status != 200:
            error = read_object_error(answer.status, await read_start(answer.content, MAX_ERROR_BODY))
            raise redact(error, channel)
        said = answer.headers.get("content-type", "application/octet-stream")
        if path.tail:
            await self._stream(exchange, answer, said)
            return
        body = await read_start(answer.content, MAX_OBJECT)
        value = load_json(body)
        if method == "DELETE":
            await self._store.forget(principal.account_id, path.id or "")
        elif isinstance(value, dict) and value.get("id") == path.id:
            await self._store.see(principal.account_id, value)
        exchange.allow(self._upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, body, [(b"content-type", said.encode("latin-1", "replace"))])

    async def _stream(self, exchange: Exchange, answer: aiohttp.ClientResponse, said: str) -> None:
        """What may be large, as it comes."""
        timeouts = self._upstreams.timeouts
        headers = [(b"content-type", said.encode("latin-1", "replace"))]
        if answer.content_length is not None:
            headers.append((b"content-length", b"%d" % answer.content_length))
        exchange.allow(timeouts.write, Interrupt.WRITE_TIMEOUT)
        await exchange.start(200, headers)
        while chunk := await self._read(exchange, answer):
            exchange.allow(timeouts.write, Interrupt.WRITE_TIMEOUT)
            await exchange.write(chunk, more=True)
        await exchange.write(b"", more=False)

    async def _read(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> bytes:
        exchange.allow(self._upstreams.timeouts.idle, Interrupt.IDLE_TIMEOUT)
        return await answer.content.readany()

    # -- many ----------------------------------------------------------------------------------------------------------

    async def _list(self, exchange: Exchange, principal: Principal, family: str, query: Mapping[str, str]) -> None:
        """The account's own: an upstream's list has every account's."""
        limit = _read_limit(query.get("limit"))
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid_request("'order' must be asc or desc.", "order", "invalid_value")
        found = await self._store.page(
            principal.account_id,
            family,
            limit=limit,
            after=query.get("after"),
            ascending=order == "asc",
            purpose=query.get("purpose"),
        )
        shown, more = found[:limit], len(found) > limit
        data = [dict(kept.body) for kept in shown]
        if family not in STILL:
            data = await self._refreshed(exchange, principal, family, shown)
        ids = [kept.id for kept in shown]
        body = {
            "object": "list",
            "data": data,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": more,
        }
        exchange.allow(self._upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, write_json(body), [(b"content-type", JSON)])

    async def _refreshed(
        self, exchange: Exchange, principal: Principal, family: str, shown: Sequence[KeptObject]
    ) -> list[dict[str, Any]]:
        exchange.allow(self._upstreams.timeouts.first_byte, Interrupt.FIRST_BYTE_TIMEOUT)
        room = asyncio.Semaphore(AT_ONCE)

        async def look(kept: KeptObject) -> dict[str, Any]:
            async with room:
                try:
                    value = await self.look(family, kept)
                    await self._store.see(principal.account_id, value)
                    return value
                except (GatewayError, aiohttp.ClientError, OSError):
                    return dict(kept.body)  # as it was seen last, rather than no list at all

        return list(await asyncio.gather(*map(look, shown)))

    async def look(self, family: str, kept: KeptObject) -> dict[str, Any]:
        """An object as it is now. Raises GatewayError, aiohttp.ClientError and OSError."""
        channel = keeper_of(self._catalog.snapshot.channels, family, kept.pin)
        url = url_of(channel, ObjectPath(family, kept.id), ())
        status, body = await self._upstreams.look_up(channel.keys[kept.channel_key], url)
        value = load_json(body)
        if status != 200 or not isinstance(value, dict) or value.get("id") != kept.id:
            raise UpstreamError(Kind.NOT_FOUND, "object_not_found", "The upstream doesn't have this object.")
        return value


def _read_limit(text: str | None) -> int:
    if text is None:
        return USUAL_LISTED
    if not text.isdecimal() or int(text[:9]) < 1:
        raise invalid_request("'limit' must be a number above 0.", "limit", "invalid_value")
    return min(int(text[:9]), MOST_LISTED)


def keeper_of(channels: Mapping[int, Channel], family: str, pin: Pin) -> Channel:
    """Raises GatewayError 503 where the channel, or its key, is gone, or passes this family on no more."""
    channel = channels.get(pin.channel_id)
    if channel is None or family not in channel.passes or pin.key >= len(channel.keys):
        message = "The channel that keeps this is gone, or passes it on no more."
        raise GatewayError(Kind.UNAVAILABLE, "no_channel", message, blame=Blame.GATEWAY)
    return channel
