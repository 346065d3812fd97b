"""`/v1/responses/{id}` and what hangs on it: answers that an upstream keeps, for the account alone that asked for them.

A call goes to the channel that made the answer, with nothing of the client's but the id and the query; another account's id
is a 404 before any upstream hears of it. Nothing is charged: what made the answer has been.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from yarl import URL

from app.accounts.principals import Principal
from app.api.admin.shapes import ErrorBody
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.catalog.snapshot import Channel
from app.errors import Blame, GatewayError, Kind
from app.relay.attempt import connection_error, read_start, redact
from app.relay.kept import Kept, no_such_answer
from app.services import Services

_REFUSALS = {
    400: "The query is too long, or the upstream says what is wrong with the request.",
    401: "No key, or one that is no good.",
    403: "The key may not be used from this address.",
    404: "There is no such response of this account.",
    502: "The upstream failed to answer.",
    503: "The channel that keeps it is gone, or the gateway can't reach its database.",
    504: "The upstream took too long.",
}

router = APIRouter(
    tags=["responses"],
    responses={status: {"model": ErrorBody, "description": text} for status, text in _REFUSALS.items()},
)

FORMAT = "openai_responses"
MAX_ERROR = 64 * 1024
MAX_QUERY = 2000

_PATH = "/v1/responses/{response_id}"
_SHORT_PATH = "/responses/{response_id}"


@router.get(_PATH, summary="Get a response")
@router.get(_SHORT_PATH, include_in_schema=False)
async def get_response(response_id: str, request: Request, principal: PrincipalDep, services: ServicesDep) -> Response:
    """As its upstream keeps it; with `stream=true` the events of one that runs in the background."""
    return await _pass("GET", response_id, "", request, principal, services)


@router.get(_PATH + "/input_items", summary="List what a response was made of")
@router.get(_SHORT_PATH + "/input_items", include_in_schema=False)
async def list_input_items(
    response_id: str, request: Request, principal: PrincipalDep, services: ServicesDep
) -> Response:
    """Its input items, page by page, as its upstream keeps them."""
    return await _pass("GET", response_id, "/input_items", request, principal, services)


@router.post(_PATH + "/cancel", summary="Cancel a response that runs in the background")
@router.post(_SHORT_PATH + "/cancel", include_in_schema=False)
async def cancel_response(
    response_id: str, request: Request, principal: PrincipalDep, services: ServicesDep
) -> Response:
    """What was produced until then is charged."""
    return await _pass("POST", response_id, "/cancel", request, principal, services)


@router.delete(
    _PATH, summary="Delete a response", responses={409: {"model": ErrorBody, "description": "It isn't done."}}
)
@router.delete(_SHORT_PATH, include_in_schema=False)
async def delete_response(
    response_id: str, request: Request, principal: PrincipalDep, services: ServicesDep
) -> Response:
    """Its upstream forgets it, and so does the gateway; its entry stays. 409 while one works in the background."""
    if any(kept.unfinished for kept in await services.kept.find(principal, response_id)):
        message = "What this background response used isn't known yet. Cancel it, or try again when it is done."
        raise GatewayError(Kind.CONFLICT, "response_in_progress", message, retry_after=20.0)
    answer = await _pass("DELETE", response_id, "", request, principal, services)
    await services.kept.forget(principal, response_id)
    return answer


async def _pass(
    method: str, id: str, rest: str, request: Request, principal: Principal, services: Services
) -> Response:
    found = await services.kept.find(principal, id)
    if not found or not principal.allows_model(found[0].model):
        raise no_such_answer(id)
    kept = found[0]
    channel = services.catalog.snapshot.channels.get(kept.channel_id)
    key = None if channel is None else next((key for key in channel.keys if key.number == kept.channel_key), None)
    if channel is None or key is None or FORMAT not in channel.endpoints:
        message = "The channel that keeps this response is gone."
        raise GatewayError(Kind.UNAVAILABLE, "no_channel", message, blame=Blame.GATEWAY)
    url = _url_of(channel, kept, rest, request)
    try:
        answer = await services.upstreams.send(key, method, url)
    except (aiohttp.ClientError, OSError) as error:
        raise connection_error(error) from error
    if answer.status != 200:
        try:
            refusal = services.formats[FORMAT].read_error(answer.status, await read_start(answer.content, MAX_ERROR))
        finally:
            answer.close()
        raise no_such_answer(id) if answer.status == 404 else redact(refusal, channel)
    return StreamingResponse(_body(answer), media_type=answer.headers.get("content-type", "application/json"))


def _url_of(channel: Channel, kept: Kept, rest: str, request: Request) -> URL:
    url = channel.endpoints[FORMAT].url("", stream=False)
    below = url / kept.id
    for part in rest.strip("/").split("/") if rest else ():
        below = below / part
    asked = [(name, value) for name, value in request.query_params.multi_items() if name not in ("key", *url.query)]
    if sum(len(name) + len(value) for name, value in asked) > MAX_QUERY:
        raise GatewayError(Kind.INVALID, "invalid_request", "The query is too long.")
    return below.with_query([*asked, *url.query.items()])


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()
