"""Errors in Google's shape: `{"error": {"code", "message", "status", "details"}}`.

Source of the words and their HTTP statuses: google.rpc.Code; of the details: google.rpc's error_details.proto. google-genai
raises for a frame of a stream whose first field is `error`, by its `code`.
"""

from __future__ import annotations

import re

from app.errors import GatewayError
from app.formats.framing import write_json

STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

DOMAIN = "relaygate"
_TYPE = "type.googleapis.com/google.rpc."
_NO_REASON = re.compile(r"[^A-Z0-9]+")


def write_error(error: GatewayError) -> bytes:
    """The body of an error response. `details` tell the gateway's own code apart, as Google's tell theirs."""
    details: list[dict[str, object]] = [
        {"@type": f"{_TYPE}ErrorInfo", "reason": _NO_REASON.sub("_", error.code.upper()), "domain": DOMAIN}
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{error.retry_after:g}s"})
    word = STATUS_WORDS.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    return write_json({"error": {"code": error.status, "message": error.message, "status": word, "details": details}})


def write_stream_error(error: GatewayError, framing: str) -> bytes:
    """The last frame of a stream, or the last element of an array of which something has been sent."""
    body = write_error(error)
    return b",\r\n" + body + b"]" if framing == "array" else b"data: " + body + b"\n\n"
