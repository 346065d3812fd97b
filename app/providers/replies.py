"""Reads what upstreams of media answer: JSON, and the errors of all vendors as one kind of error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from app.errors import Kind, UpstreamError, bad_upstream_response
from app.providers.media import Reply

MAX_MESSAGE = 500

REFUSED = frozenset({400, 404, 405, 409, 410, 411, 413, 414, 415, 422, 451})
"""The request itself is at fault: another try, or another channel, would be told the same."""

LOST = frozenset({408, 499, 502, 504, 520, 521, 522, 523, 524})
"""Something between us and the upstream gave up: the upstream itself may have accepted the request."""


def read_json(reply: Reply) -> Mapping[str, Any]:
    """The object of a reply below 300. Raises UpstreamError for any other status, and for what isn't a JSON object."""
    if reply.status >= 300:
        raise error_of(reply)
    body = _parse(reply.body)
    if not isinstance(body, dict):
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    return body


def error_of(reply: Reply) -> UpstreamError:
    """What an upstream's refusal means. `retryable`: another try or another channel may do; its message is the upstream's
    own where the client is at fault, and never otherwise: it may speak of the operator's account.
    """
    message, code = read_error(_parse(reply.body))
    if reply.status in REFUSED:
        return UpstreamError(
            Kind.INVALID,
            "upstream_refused",
            message or f"The upstream refused the request ({reply.status}).",
            upstream_status=reply.status,
            upstream_code=code,
            status=400,
            retryable=False,
        )
    kind = Kind.RATE_LIMIT if reply.status == 429 else Kind.UPSTREAM
    return UpstreamError(
        kind,
        "upstream_error",
        f"The upstream answered {reply.status}.",
        upstream_status=reply.status,
        upstream_code=code,
        retry_after=_seconds(reply.headers.get("retry-after")),
    )


def read_error(body: Any) -> tuple[str | None, str | None]:
    """Message and code out of the shapes that vendors use: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`,
    `{"detail": …}`, `{"code", "msg"}`, and any of them inside a list of one.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        return None, None
    error = body.get("error", body)
    if isinstance(error, str):
        return _short(error), _short(body.get("code"))
    if not isinstance(error, dict):
        return None, None
    found = (error.get(name) for name in ("message", "msg", "detail", "fail_reason", "error_msg"))
    message = next((value for value in found if isinstance(value, str) and value), None)
    code = next((error[name] for name in ("code", "status", "type") if error.get(name)), None)
    return _short(message), _short(code)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _short(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:MAX_MESSAGE] or None


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None
