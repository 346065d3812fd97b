"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}}`, and what its error types mean.

Source of the types and their statuses: Anthropic's "Errors" page, and what its SDKs map by status.
"""

from __future__ import annotations

from app.errors import GatewayError, Kind, UpstreamError
from app.formats.framing import write_event, write_json

TYPE_BY_KIND = {
    Kind.INVALID: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.CONFLICT: "conflict_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "billing_error",
    Kind.UPSTREAM: "api_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.UNAVAILABLE: "api_error",
    Kind.INTERNAL: "api_error",
}

STATUS_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

OVERLOADED = "overloaded_error"


def status_of(error: GatewayError) -> int:
    """The HTTP status in this dialect: 402 for an empty account, 529 for an overloaded upstream."""
    if error.kind is Kind.QUOTA:
        return 402
    return 529 if _is_overload(error) else error.status


def write_error(error: GatewayError) -> bytes:
    """The body of an error response. `details.error_code` is where Anthropic names causes too."""
    return write_json(_body(error))


def write_stream_error(error: GatewayError) -> bytes:
    """A frame that makes official SDKs raise; no `message_stop` follows, so that nobody takes the answer for whole."""
    return write_event(_body(error))


def _body(error: GatewayError) -> dict[str, object]:
    kind = OVERLOADED if _is_overload(error) else TYPE_BY_KIND[error.kind]
    told = {"type": kind, "message": error.message, "details": {"error_code": error.code}}
    return {"type": "error", "error": told}


def _is_overload(error: GatewayError) -> bool:
    return isinstance(error, UpstreamError) and error.upstream_status in (503, 529)
