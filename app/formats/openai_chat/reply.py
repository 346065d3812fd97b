"""Reading a complete Chat Completions answer, and an upstream's refusal in any of the shapes that exist."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from app.errors import Blame, Kind, UpstreamError, bad_upstream_response
from app.formats.base import Reply
from app.formats.openai_chat.usage import read_usage

MAX_CODE = 100
MAX_PARAM = 200

_ABSENT = msgspec.Raw()


class _Peek(msgspec.Struct):
    choices: msgspec.Raw = _ABSENT
    usage: Any = None
    service_tier: Any = None
    error: msgspec.Raw = _ABSENT


_peek = msgspec.json.Decoder(_Peek)
_value = msgspec.json.Decoder()


def read_reply(body: bytes, quirks: frozenset[str]) -> Reply:
    """Usage and error of an answer. Raises UpstreamError for what is no answer at all (HTML, broken JSON)."""
    try:
        peek = _peek.decode(body)
        usage: object = peek.usage
        tier: object = peek.service_tier
        error = None if peek.error is _ABSENT else _value.decode(peek.error)
        has_choices = peek.choices is not _ABSENT
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = _load(body)  # escaped lone surrogates, which the fast decoder refuses
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.") from None
        usage, tier = value.get("usage"), value.get("service_tier")
        error, has_choices = value.get("error"), "choices" in value
    if error:
        return Reply(None, error_in_body(error))
    if not has_choices:
        raise bad_upstream_response("The upstream's answer has no choices.")
    return Reply(read_usage(usage, quirks, tier), None)


def error_in_body(error: object) -> UpstreamError:
    """An error that came with status 200, or inside a stream; OpenRouter puts a status into `code`."""
    message, code, param = _describe(error)
    status = int(code) if code is not None and code.isdecimal() else 502
    if 400 <= status < 500 and status not in (401, 402, 403, 404, 408, 429):
        return _refusal(status, message, code, param)
    return UpstreamError(
        Kind.UPSTREAM,
        "upstream_error",
        "The upstream reported an error." if message is None else f"The upstream reported an error: {message}",
        upstream_status=status,
        upstream_code=code,
    )


def read_error(status: int, body: bytes) -> UpstreamError:
    """A refusal by HTTP status.

    What the client itself got wrong (400, 404 for a parameter, 413, 415, 422) is told in the upstream's words; the rest is
    between the operator and the upstream, and retryable on another channel.
    """
    value = _load(body)
    if isinstance(value, list) and len(value) == 1:  # Gemini wraps the object in an array
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else None
    message, code, param = _describe(error)
    if status in (400, 409, 413, 415, 422):
        return _refusal(status, message, code, param)
    return _trouble(status, code)


def _refusal(status: int, message: str | None, code: str | None, param: str | None) -> UpstreamError:
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


def _load(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _describe(error: object) -> tuple[str | None, str | None, str | None]:
    """Message, code and param of an error object; Ollama's error is a bare string."""
    if isinstance(error, str):
        return _read_words(error), None, None
    if not isinstance(error, dict):
        return None, None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 1_000_000:
        code = str(code)
    return (_read_words(message), _read_name(code, MAX_CODE), _read_name(param, MAX_PARAM))


def _read_words(value: object) -> str | None:
    # Escaped lone surrogates are valid JSON, but nothing that could be written again.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _read_name(value: object, longest: int) -> str | None:
    """Codes go into the ledger and the log: only plain ones do, and no part of a longer one."""
    plain = isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
    return str(value) if plain else None


def reply_text(body: bytes) -> str:
    """All text, reasoning and tool-call arguments of a complete answer."""
    value = _load(body)
    choices = value.get("choices") if isinstance(value, dict) else None
    return "".join(text_of_choice(choice, "message") for choice in choices) if isinstance(choices, list) else ""


def text_of_choice(choice: object, where: str) -> str:
    """The text that a choice's `message` or `delta` carries, reasoning and tool-call arguments included."""
    part = choice.get(where) if isinstance(choice, dict) else None
    if not isinstance(part, dict):
        return ""
    texts = [
        part[name]
        for name in ("content", "reasoning_content", "reasoning", "refusal")
        if isinstance(part.get(name), str)
    ]
    calls = part.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            texts += [function[n] for n in ("name", "arguments") if isinstance(function.get(n), str)]
    return "".join(texts)
