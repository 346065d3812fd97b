"""Errors of everything that isn't relayed: in OpenAI's shape, but for clients that show themselves as another vendor's."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.api.context import services_of
from app.api.dialect import format_of
from app.db.engine import DATABASE_ERRORS
from app.errors import Blame, GatewayError, Kind, unavailable
from app.logs import get_log

log = get_log("relaygate.api")

_KIND_BY_STATUS = {401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 405: Kind.NOT_FOUND}


def render(request: Request, error: GatewayError) -> Response:
    """An error as a response, with `retry-after` where waiting helps."""
    format = format_of(request, services_of(request))
    status = format.status_of(error)
    response = Response(format.write_error(error), status_code=status, media_type="application/json")
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after)))
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def install(app: FastAPI) -> None:
    """Registers a handler for each kind of error that can reach the edge."""
    app.add_exception_handler(GatewayError, _on_gateway_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, _on_database_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return render(request, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """422 naming each field. What was sent isn't repeated: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    places = [".".join(str(part) for part in item["loc"] if part != "body") for item in error.errors()]
    messages = [
        f"{place}: {item['msg']}" if place else item["msg"] for place, item in zip(places, error.errors(), strict=True)
    ]
    fault = GatewayError(
        Kind.INVALID, "validation_error", "; ".join(messages[:20]), param=places[0] or None, status=422
    )
    return render(request, fault)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _KIND_BY_STATUS.get(error.status_code, Kind.INVALID)
    message = str(error.detail)
    code = "invalid_request"
    if error.status_code in (404, 405):
        code = "not_found" if error.status_code == 404 else "method_not_allowed"
        message = (
            f"{request.method} {request.scope['path'][:200]}: there is no such endpoint, and no channel passes it on."
        )
    response = render(request, GatewayError(kind, code, message, status=error.status_code))
    response.headers.update(error.headers or {})
    return response


async def _on_database_error(request: Request, error: Exception) -> Response:
    log.warning("database_error", error=type(error).__name__)
    return render(request, unavailable("The gateway can't reach its database."))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("api_bug", path=request.scope["path"][:200], exc_info=error)
    return render(request, GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed.", blame=Blame.GATEWAY))
