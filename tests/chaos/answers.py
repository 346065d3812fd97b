"""The bytes of answers that aren't what was asked for."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from email.utils import formatdate
from time import time

from tests.chaos.faults import Fault

PAGE = b"<html><head><title>Bad gateway</title></head><body><h1>Upstream trouble</h1></body></html>\n"
NOT_HTTP = b"\x00\x01\x02 this was never HTTP \xff\xfe\r\n\r\n"
MAIL_GREETING = b"220 mail.example ESMTP ready\r\n"
REASONS = {200: "OK", 401: "Unauthorized", 402: "Payment Required", 429: "Too Many Requests"}
JSON = "application/json"

_REFUSALS: Mapping[str, tuple[int, dict[str, str | None]]] = {
    "auth": (
        401,
        {"message": "Incorrect API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"},
    ),
    "payment": (402, {"message": "Payment required.", "type": "billing_error", "code": None}),
    "quota": (
        429,
        {"message": "You exceeded your quota.", "type": "insufficient_quota", "code": "insufficient_quota"},
    ),
}


def head(status: int, content_type: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """A status line and headers; without a length the body comes in chunks."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'X')}", f"content-type: {content_type}", framing]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a body without a length; empty: its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole_fault(fault: Fault, draw: random.Random) -> bytes | None:
    """The whole of an answer that goes out in one piece; None: this fault's doesn't."""
    match fault.kind:
        case "error":
            return _error(draw.choice(fault.statuses), draw)
        case "rate_limit":
            return _rate_limit(fault)
        case "auth" | "payment" | "quota":
            status, error = _REFUSALS[fault.kind]
            return _whole(status, JSON, json.dumps({"error": {**error, "param": None}}).encode())
        case "broken_json":
            return _whole(200, JSON, b'{"id":"c","object":"chat.completion","choices":[{"index":0,"mess')
        case "html":
            return _whole(200, "text/html", PAGE)
        case "wrong_type":
            return _whole(200, "application/octet-stream", bytes(range(256)))
        case "empty":
            return _whole(200, JSON, b"")
        case "error_200":
            return _whole(200, JSON, b'{"error":{"message":"Provider returned error","code":502}}')
        case "not_http":
            return NOT_HTTP
        case _:
            return None


def _error(status: int, draw: random.Random) -> bytes:
    if draw.random() < 0.5:
        return _whole(status, "text/html", PAGE)
    error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
    return _whole(status, JSON, json.dumps({"error": error}).encode())


def _rate_limit(fault: Fault) -> bytes:
    seconds = fault.ms / 1000
    headers = {
        "plain": {},
        "retry_after": {"retry-after": f"{seconds:g}"},
        "retry_after_ms": {"retry-after-ms": str(fault.ms)},
        "retry_after_date": {"retry-after": formatdate(time() + seconds, usegmt=True)},
        "reset_headers": {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{seconds:g}s",
        },
    }[fault.style]
    error = {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    return _whole(429, JSON, json.dumps({"error": error}).encode(), headers)


def _whole(status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    return head(status, content_type, headers or {}, len(body)) + body
