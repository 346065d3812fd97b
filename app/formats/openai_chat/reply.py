"""Reading a complete Chat Completions answer, and an upstream's refusal in any of the shapes that exist."""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import UpstreamError, bad_upstream_response
from app.formats.base import Reply
from app.formats.openai_chat.usage import read_usage
from app.formats.refusals import describe, load_json, read_late_error, read_refusal

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
        peek = _peek.decode(body.decode())  # text that isn't UTF-8 would pass unseen in a field that is skipped
        usage: object = peek.usage
        tier: object = peek.service_tier
        error = None if peek.error is _ABSENT else _value.decode(peek.error)
        has_choices = peek.choices is not _ABSENT
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = load_json(body)  # escaped lone surrogates, which the fast decoder refuses
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
    message, code, param = describe(error)
    status = int(code) if code is not None and code.isdecimal() else 502
    return read_late_error(status, message, code, param)


def read_error(status: int, body: bytes) -> UpstreamError:
    """A refusal by HTTP status."""
    value = load_json(body)
    if isinstance(value, list) and len(value) == 1:  # Gemini wraps the object in an array
        value = value[0]
    message, code, param = describe(value.get("error", value) if isinstance(value, dict) else None)
    return read_refusal(status, message, code, param)


def reply_text(body: bytes) -> str:
    """All text, reasoning and tool-call arguments of a complete answer."""
    value = load_json(body)
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
