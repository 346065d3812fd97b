"""What an upstream's refusal means to a client, whichever words and shape it came in: by its HTTP status above all."""

from __future__ import annotations

import json
from typing import Any

from app.errors import Blame, Kind, UpstreamError

MAX_CODE = 100
MAX_PARAM = 200


def read_refusal(status: int, message: str | None, code: str | None = None, param: str | None = None) -> UpstreamError:
    """A refusal by HTTP status.

    What the client itself got wrong (400, 409, 413, 415, 422) is told in the upstream's words; the rest is between the
    operator and the upstream, and retryable on another channel.
    """
    if status in (400, 409, 413, 415, 422):
        return _refused(status, message, code, param)
    return _trouble(status, code)


def read_late_error(
    status: int, message: str | None, code: str | None = None, param: str | None = None
) -> UpstreamError:
    """An error that came with status 200, or inside a stream. `status`: what it says itself, 502 where it says nothing."""
    if 400 <= status < 500 and status not in (401, 402, 403, 404, 408, 429):
        return _refused(status, message, code, param)
    return UpstreamError(
        Kind.UPSTREAM,
        "upstream_error",
        "The upstream reported an error." if message is None else f"The upstream reported an error: {message}",
        upstream_status=status,
        upstream_code=code,
    )


def _refused(status: int, message: str | None, code: str | None, param: str | None) -> UpstreamError:
    kind = {413: Kind.TOO_LARGE, 415: Kind.UNSUPPORTED, 409: Kind.CONFLICT}.get(status, Kind.INVALID)
    return UpstreamError(
        kind,
        code or "upstream_rejected_request",
        message or "The upstream rejected the request.",
        param=param,
        status=status,
        upstream_status=status,
        upstream_code=code,
        blame=Blame.CLIENT,
        retryable=False,
    )


def _trouble(status: int, code: str | None) -> UpstreamError:
    kind, our_code, message = Kind.UPSTREAM, "upstream_error", "The upstream failed to answer."
    match status:
        case 429:
            kind, our_code, message = Kind.RATE_LIMIT, "upstream_rate_limited", "The upstream is over its rate limit."
        case 401 | 402 | 403:
            our_code, message = "upstream_refused_credentials", "The upstream refused the gateway's credentials."
        case 404:
            our_code, message = "upstream_model_not_found", "The upstream doesn't serve this model."
        case 503 | 529:
            kind, our_code, message = Kind.UNAVAILABLE, "upstream_overloaded", "The upstream is overloaded."
        case 408 | 504:
            kind, our_code, message = Kind.TIMEOUT, "upstream_timeout", "The upstream took too long."
    return UpstreamError(kind, our_code, message, upstream_status=status, upstream_code=code)


def load_json(body: bytes) -> Any:
    """The value of what an upstream sent; None for what is no JSON."""
    try:
        # The standard library's decoder: upstreams split characters into escaped lone surrogates, which others refuse.
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def describe(error: object) -> tuple[str | None, str | None, str | None]:
    """Message, code and param of an error object; Ollama's error is a bare string."""
    if isinstance(error, str):
        return read_words(error), None, None
    if not isinstance(error, dict):
        return None, None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 1_000_000:
        code = str(code)
    return (read_words(message), read_code(code, MAX_CODE), read_code(param, MAX_PARAM))


def read_words(value: object) -> str | None:
    # Escaped lone surrogates are valid JSON, but nothing that could be written again.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def read_code(value: object, longest: int) -> str | None:
    """Codes go into the ledger and the log: only plain ones do, and no part of a longer one."""
    plain = isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
    return str(value) if plain else None
