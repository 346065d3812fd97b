"""Errors in OpenAI's shape, which all of its formats share: `{"error": {"message", "type", "param", "code"}}`.

Source of the types: OpenAI's error-codes guide and what its SDKs map by status.
"""

from __future__ import annotations

from app.errors import GatewayError, Kind
from app.formats.framing import write_json

TYPE_BY_KIND = {
    Kind.INVALID: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "invalid_request_error",
    Kind.CONFLICT: "invalid_request_error",
    Kind.TOO_LARGE: "invalid_request_error",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "insufficient_quota",
    Kind.UPSTREAM: "upstream_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.UNAVAILABLE: "server_error",
    Kind.INTERNAL: "server_error",
}


def error_fields(error: GatewayError) -> dict[str, str | None]:
    """The error object itself."""
    return {
        "message": error.message,
        "type": TYPE_BY_KIND[error.kind],
        "param": error.param,
        "code": error.code,
    }


def write_error(error: GatewayError) -> bytes:
    """The body of an error response."""
    return write_json({"error": error_fields(error)})
