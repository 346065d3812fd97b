"""Reading a complete Chat Completions answer, and an upstream's refusal in any of the shapes that exist."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from app.errors import Blame, Kind, UpstreamError, bad_upstream_response
from app.formats.base import Reply
from app.formats.openai_chat.usage import read_usage

MAX_MESSAGE = 1_000


class _Peek(msgspec.Struct):
    choices: msgspec.Raw | None = None
    usage: msgspec.Raw | None = None
    error: msgspec.Raw | None = None


_peek = msgspec.json.Decoder(_Peek)
_value = msgspec.json.Decoder()


def read_reply(body: bytes, quirks: frozenset[str]) -> Reply:
    """Usage and error of an answer. Raises UpstreamError for what is no answer at all (HTML, broken JSON)."""
    try:
        peek = _peek.decode(body)
        usage = None if peek.usage is None else _value.decode(peek.usage)
        error = None if peek.error is None else _value.decode(peek.error)
        has_choices = peek.choices is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = _load(body)  # escaped lone surrogates, which the fast decoder refuses
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.") from None
        usage, error, has_choices = value.get("usage"), value.get("error"), "choices" in value
    if error:
        return Reply(None, error_in_body(error))
    if not has_choices:
        raise bad_upstream_response("The upstream's answer has no choices.")
    return Reply(read_usage(usage, quirks), None)


def error_in_body(error: object) -> UpstreamError:
    """An error that came with status 200, or inside a stream; OpenRouter puts a status into `code`."""
    message, code, param = _describe(error)
    status = int(code) if code is not None and code.isdigit() else 502
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
        return error[:MAX_MESSAGE], None, None
    if not isinstance(error, dict):
        return None, None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return (
        message[:MAX_MESSAGE] if isinstance(message, str) else None,
        str(code)[:100] if isinstance(code, str | int) and not isinstance(code, bool) else None,
        param[:200] if isinstance(param, str) else None,
    )


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
