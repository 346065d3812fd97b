"""Calls: the client's SDP offer goes to an upstream, its answer comes back, and the media flows between the two.

What is said there never passes the gateway, so it can't be counted: only models that cost nothing but by the call, or nothing
at all, may be called like this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import orjson
from yarl import URL

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.prices import AMOUNTS, Price
from app.catalog.snapshot import Channel
from app.core.ids import request_label
from app.core.usage import Usage
from app.errors import GatewayError, Kind, bad_upstream_response
from app.realtime.connect import Dialer
from app.realtime.identity import Identity
from app.realtime.purse import Bank, Purse
from app.realtime.way import SURFACE, Way, find_way
from app.relay.attempt import connection_error, read_start
from app.relay.kept import KeptAnswers
from app.relay.plan import no_channel
from app.routing.board import Board, Pick

SDP = "application/sdp"
MAX_SDP = 1024 * 1024
MARK = "call:"
"""Before a call's id where what upstreams keep is remembered: no id of another thing begins so."""

VERBS = ("hangup", "refer", "reject")


@dataclass(frozen=True, slots=True)
class Offer:
    """`session`: the call's configuration, of the request or of a client secret; None: the model alone."""

    sdp: str
    session: Mapping[str, Any] | None


class Calls:
    """Makes calls of accounts, and ends them."""

    def __init__(self, bank: Bank, catalog: Catalog, board: Board, kept: KeptAnswers) -> None:
        self._bank = bank
        self._catalog = catalog
        self._board = board
        self._kept = kept

    async def make(
        self, dialer: Dialer, identity: Identity, name: str, offer: Offer, request_id: UUID
    ) -> tuple[str, bytes]:
        """The call's id and the SDP answer. Charged once, if the model has a price by the call.

        Raises GatewayError: 403 `calls_not_metered`, and whatever a session's handshake may raise.
        """
        way = await find_way(self._catalog, identity.principal, name)
        if not all(_is_by_call(candidate.price) for tier in way.leg.tiers for candidate in tier.candidates):
            message = (
                f"The model '{name[:200]}' is paid by what is said, and the media of a call flows past the gateway, "
                "which couldn't count it. Use a WebSocket. Operator: give it a price by the call alone, or set free."
            )
            raise GatewayError(Kind.PERMISSION, "calls_not_metered", message, param="model")
        purse = Purse(self._bank, identity, way, request_id)
        await purse.take()
        try:
            label = request_label(request_id)
            answer, pick, attempts = await dialer.first(way, label, lambda pick: _post(dialer, pick, offer))
        except BaseException as error:
            purse.release(error.code if isinstance(error, GatewayError) else "client_closed_request")
            raise
        self._board.completed(pick)
        self._board.end(pick, 0)
        purse.attempts = attempts
        purse.start(pick.candidate)
        purse.settle(Usage(), is_call=True)
        id, sdp = answer
        await self._remember(identity.principal, way, pick, id)
        return id, sdp

    async def end(self, dialer: Dialer, principal: Principal, id: str, verb: str, body: bytes) -> None:
        """Hangs up, refers or rejects a call that this account has made. Raises GatewayError 404 for any other."""
        found = await self._kept.find(principal, MARK + id)
        if verb not in VERBS or not found:
            message = f"There is no call '{id[:100]}' that this account has made, or it can't be asked to {verb[:20]}."
            raise GatewayError(Kind.NOT_FOUND, "call_not_found", message, param="call_id")
        channel = self._catalog.snapshot.channels.get(found[0].channel_id)
        key = None if channel is None else next((k for k in channel.keys if k.number == found[0].channel_key), None)
        if channel is None or key is None or SURFACE not in channel.surfaces:
            raise no_channel(found[0].model)
        url = _calls_url(channel, "") / id / verb
        headers = {"content-type": "application/json"} if body else {}
        response = await dialer.call_with(key, channel, url, headers=headers, data=body or None)
        response.close()

    async def _remember(self, principal: Principal, way: Way, pick: Pick, id: str) -> None:
        await self._kept.remember(principal, way.model, pick.channel.id, pick.key.number, [MARK + id], tokens=None)


async def _post(dialer: Dialer, pick: Pick, offer: Offer) -> tuple[str, bytes]:
    """The call's id and the answer of one upstream. Raises UpstreamError."""
    model = pick.candidate.upstream_model
    url = _calls_url(pick.channel, model)
    content: dict[str, Any]
    if offer.session is None:
        content = {"data": offer.sdp.encode(), "headers": {"content-type": SDP}}
        url = url.update_query(model=model)
    else:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("sdp", offer.sdp, content_type=SDP)
        session = orjson.dumps({**offer.session, "model": model}).decode()
        form.add_field("session", session, content_type="application/json")
        content = {"data": form}
    response = await dialer.call_with(pick.key, pick.channel, url, **content)
    try:
        async with asyncio.timeout(20):
            sdp = await read_start(response.content, MAX_SDP)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise connection_error(error) from error
    finally:
        response.close()
    id = response.headers.get("location", "").split("?")[0].rstrip("/").rpartition("/")[2]
    if not sdp.startswith(b"v=") or not id or not id.isascii():
        raise bad_upstream_response("The upstream's answer is no SDP of a call.")
    return id, sdp


def _calls_url(channel: Channel, model: str) -> URL:
    url = channel.surfaces[SURFACE].url(model)
    return (url / "calls").with_query(url.query)


def _is_by_call(price: Price) -> bool:
    """Whether nothing but calls costs anything."""
    amounts = [(name, getattr(price, name)) for name in AMOUNTS]
    amounts += [pair for variant in price.variants for pair in variant.amounts]
    return not any(amount for name, amount in amounts if name != "per_call")
