"""The HTTP half of Realtime: secrets for browsers, and calls. Sessions are WebSockets, and branch off before this."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.accounts.secrets import digest_of
from app.api.admin.shapes import ErrorBody
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.api.media.bodies import is_form, read_form, read_whole
from app.api.media.requests import request_id_of
from app.errors import GatewayError, Kind, invalid_request
from app.realtime.calls import SDP, Offer
from app.realtime.client_secrets import LONGEST, SHORTEST, USUAL, ClientSecret
from app.realtime.identity import Identity, identify
from app.realtime.serve import model_of
from app.realtime.way import find_way
from app.relay.authenticate import presented_credential

_REFUSALS = {
    400: "The body isn't what it should be.",
    401: "No key, or one that is no good.",
    403: "The key may not be used for this.",
    404: "There is no such model, or no such call of this account.",
    413: "The body is too large.",
    429: "The money or a limit is short.",
    502: "The upstream failed to answer.",
    503: "The gateway can't reach its database, or no channel serves the model.",
    504: "The upstream took too long.",
}

router = APIRouter(
    tags=["realtime"],
    responses={status: {"model": ErrorBody, "description": text} for status, text in _REFUSALS.items()},
)


class ExpiresAfter(BaseModel):
    """When a secret ends: so many seconds after it was made."""

    model_config = ConfigDict(extra="forbid")
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(USUAL, ge=SHORTEST, le=LONGEST)


class ClientSecretOrder(BaseModel):
    """OpenAI's body: how long the secret is good for, and how its sessions begin."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "expires_after": {"anchor": "created_at", "seconds": 600},
                    "session": {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."},
                }
            ]
        },
    )
    expires_after: ExpiresAfter = Field(default_factory=ExpiresAfter)
    session: dict[str, Any] | None = None


class ClientSecretBody(BaseModel):
    """The secret, until when it is good (Unix seconds), and the session as it will begin."""

    value: str
    expires_at: int
    session: dict[str, Any]


async def _identity(request: Request, services: ServicesDep) -> Identity:
    return await identify(
        request.scope, services.principals, services.realtime.secrets, services.settings.trusted_proxies
    )


IdentityDep = Annotated[Identity, Depends(_identity)]
"""For what a client secret is good for too."""


@router.get("/v1/realtime", summary="Open a Realtime session (WebSocket)", responses={426: {"model": ErrorBody}})
@router.get("/realtime", include_in_schema=False)
async def open_session(principal: PrincipalDep) -> None:
    """A WebSocket, with `?model=`. The key stands in a header, in `?key=`, or in the subprotocol
    `openai-insecure-api-key.<key>` beside `realtime`. Plain HTTP gets a 426. See docs/realtime.md.
    """
    message = "Realtime sessions are WebSockets: connect with wss:// (or ws://) and the upgrade that goes with it."
    raise GatewayError(Kind.INVALID, "websocket_required", message, status=426)


@router.post(
    "/v1/realtime/client_secrets",
    summary="Make a client secret",
    response_model=ClientSecretBody,
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": ClientSecretOrder.model_json_schema()}},
        }
    },
)
@router.post("/realtime/client_secrets", include_in_schema=False)
async def make_client_secret(principal: PrincipalDep, request: Request, services: ServicesDep) -> Response:
    """A short-lived key for a browser: good for `/v1/realtime` and `/v1/realtime/calls` alone, at this key's expense, and
    for the model of `session` if it names one. The session is sent to the upstream as the first `session.update`.
    """
    order = _read_order(await read_whole(request, services))
    session = order.session or {}
    if session.get("type", "realtime") not in ("realtime", "transcription"):
        raise invalid_request("session.type must be realtime or transcription.", "session.type")
    model = session.get("model")
    if model is not None:
        if not isinstance(model, str):
            raise invalid_request("session.model must be a text.", "session.model")
        await find_way(services.catalog, principal, model)
    expires_at = int(time.time()) + order.expires_after.seconds
    digest = digest_of(presented_credential(request.scope))
    value = services.realtime.secrets.seal(ClientSecret(digest, expires_at, model, session or None))
    kind = session.get("type", "realtime")
    shown = {
        "type": kind,
        "object": f"realtime.{'session' if kind == 'realtime' else 'transcription_session'}",
        **session,
    }
    return _json({"value": value, "expires_at": expires_at, "session": shown})


@router.post("/v1/realtime/sessions", include_in_schema=False)
@router.post("/realtime/sessions", include_in_schema=False)
@router.post("/v1/realtime/transcription_sessions", include_in_schema=False)
@router.post("/realtime/transcription_sessions", include_in_schema=False)
async def make_beta_session(principal: PrincipalDep) -> None:
    """The beta's way to a client secret."""
    message = "This belongs to the beta of Realtime. Use POST /v1/realtime/client_secrets."
    raise GatewayError(Kind.NOT_FOUND, "beta_not_supported", message)


@router.post(
    "/v1/realtime/calls",
    summary="Make a call (WebRTC)",
    status_code=201,
    response_class=Response,
    responses={201: {"description": "The SDP answer; `location` names the call.", "content": {SDP: {}}}},
    openapi_extra={
        "parameters": [{"name": "model", "in": "query", "required": False, "schema": {"type": "string"}}],
        "requestBody": {
            "required": True,
            "content": {
                SDP: {"schema": {"type": "string"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["sdp"],
                        "properties": {"sdp": {"type": "string"}, "session": {"type": "string"}},
                    }
                },
            },
        },
    },
)
@router.post("/realtime/calls", include_in_schema=False)
async def make_call(identity: IdentityDep, request: Request, services: ServicesDep) -> Response:
    """An SDP offer, raw with `?model=`, or as the form's `sdp` beside `session`. The media flows between client and
    upstream, past the gateway: only for models that are free, or have a price by the call alone, which is charged once.
    """
    body = await read_whole(request, services, again=False)  # its money is asked for later, and its key with it
    offer = await _read_offer(request, body, identity)
    named = None if offer.session is None else offer.session.get("model")
    asked = request.query_params.get("model")
    if named is not None and not isinstance(named, str):
        raise invalid_request("session.model must be a text.", "session.model")
    if asked is not None and named is not None and asked != named:
        raise invalid_request("model in the query and in the session differ.", "model")
    name = model_of(asked or named, identity)
    realtime = services.realtime
    id, sdp = await realtime.calls.make(realtime.dialer, identity, name, offer, request_id_of(request))
    return Response(sdp, 201, {"location": f"/v1/realtime/calls/{id}"}, media_type=SDP)


@router.post("/v1/realtime/calls/{call_id}/{verb}", summary="Hang up, refer or reject a call")
@router.post("/realtime/calls/{call_id}/{verb}", include_in_schema=False)
async def end_call(
    call_id: str, verb: str, principal: PrincipalDep, request: Request, services: ServicesDep
) -> Response:
    """`hangup`, `refer` or `reject`, of a call that this account has made; anything else is a 404."""
    body = await read_whole(request, services)
    await services.realtime.calls.end(services.realtime.dialer, principal, call_id, verb, body)
    return Response(status_code=200)


def _read_order(body: bytes) -> ClientSecretOrder:
    if not body.strip():
        return ClientSecretOrder()
    try:
        return ClientSecretOrder.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or None
        raise invalid_request(f"{place or 'body'}: {first['msg']}", place) from error


async def _read_offer(request: Request, body: bytes, identity: Identity) -> Offer:
    session: Mapping[str, Any] | None = None if identity.secret is None else identity.secret.session
    if not is_form(request):
        return Offer(_text(body), session)
    form = await read_form(request, body)
    sdp, given = _part(form.fields, form.files, "sdp"), _part(form.fields, form.files, "session")
    if sdp is None:
        raise invalid_request("The form has no sdp.", "sdp")
    if given is not None:
        try:
            read = orjson.loads(given)
        except orjson.JSONDecodeError:
            read = None
        if not isinstance(read, dict):
            raise invalid_request("session must be a JSON object.", "session")
        session = {**(session or {}), **read}
    return Offer(_text(sdp), session)


def _text(sdp: bytes) -> str:
    try:
        return sdp.decode()
    except UnicodeDecodeError as error:
        raise invalid_request("The SDP offer must be UTF-8.", "sdp") from error


def _part(fields: Mapping[str, Any], files: Mapping[str, tuple[bytes, str | None]], name: str) -> bytes | None:
    """A part of a form, whether its client sent it as a field or as a file."""
    if name in files:
        return files[name][0]
    value = fields.get(name)
    return value.encode() if isinstance(value, str) else None


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
