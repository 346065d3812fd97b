"""Reading a complete Messages answer, and an upstream's refusal."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from app.errors import UpstreamError, bad_upstream_response
from app.formats.anthropic_messages.errors import STATUS_BY_TYPE
from app.formats.anthropic_messages.usage import read_usage
from app.formats.base import Reply
from app.formats.refusals import MAX_CODE, describe, load_json, read_code, read_late_error, read_refusal

_ABSENT = msgspec.Raw()


class _Peek(msgspec.Struct):
    type: Any = None
    id: Any = None
    content: msgspec.Raw = _ABSENT
    usage: Any = None
    error: msgspec.Raw = _ABSENT


_peek = msgspec.json.Decoder(_Peek)
_value = msgspec.json.Decoder()


def read_reply(body: bytes) -> Reply:
    """Usage, id and error of an answer. Raises UpstreamError for what is no answer at all (HTML, broken JSON)."""
    try:
        peek = _peek.decode(body.decode())  # text that isn't UTF-8 would pass unseen in a field that is skipped
        kind, id, usage = peek.type, peek.id, peek.usage
        error = None if peek.error is _ABSENT else _value.decode(peek.error)
        has_content = peek.content is not _ABSENT
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = load_json(body)  # escaped lone surrogates, which the fast decoder refuses
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.") from None
        kind, id, usage = value.get("type"), value.get("id"), value.get("usage")
        error, has_content = value.get("error"), "content" in value
    if error or kind == "error":
        return Reply(None, error_in_body(error))
    if not has_content:
        raise bad_upstream_response("The upstream's answer has no content.")
    return Reply(read_usage(usage), None, id if isinstance(id, str) else None)


def error_in_body(error: object) -> UpstreamError:
    """An error that came with status 200, or inside a stream: its type tells the status."""
    message, code = _describe(error)
    kind = error.get("type") if isinstance(error, dict) else None
    status = STATUS_BY_TYPE.get(kind, 502) if isinstance(kind, str) else 502
    return read_late_error(status, message, code)


def read_error(status: int, body: bytes) -> UpstreamError:
    """A refusal by HTTP status."""
    value = load_json(body)
    message, code = _describe(value.get("error", value) if isinstance(value, dict) else None)
    return read_refusal(status, message, code)


def _describe(error: object) -> tuple[str | None, str | None]:
    """Message and code: the cause that `details` name, else the type."""
    message, code, _ = describe(error)
    if isinstance(error, dict):
        details = error.get("details")
        cause = details.get("error_code") if isinstance(details, dict) else None
        code = read_code(cause, MAX_CODE) or code or read_code(error.get("type"), MAX_CODE)
    return message, code


def reply_text(body: bytes) -> str:
    """All text, thinking and tool input of a complete answer."""
    value = load_json(body)
    content = value.get("content") if isinstance(value, dict) else None
    return "".join(text_of_block(block) for block in content) if isinstance(content, list) else ""


def text_of_block(block: object) -> str:
    """The text of a block of content, or of what is added to one in a stream."""
    if not isinstance(block, dict):
        return ""
    texts = [block[name] for name in ("name", "text", "thinking", "partial_json") if isinstance(block.get(name), str)]
    if block.get("input"):
        texts.append(json.dumps(block["input"], ensure_ascii=False))
    return "".join(texts)
