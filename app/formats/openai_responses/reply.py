"""Reading a complete response object, one that an upstream keeps too, and an upstream's refusal."""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import UpstreamError, bad_upstream_response
from app.formats.base import Reply
from app.formats.openai_responses.usage import read_usage
from app.formats.refusals import describe, load_json, read_code, read_late_error, read_refusal

PENDING = frozenset({"queued", "in_progress"})
FAILED = "failed"

MAX_ID = 500

_STATUS_BY_CODE = {
    "server_error": 502,
    "vector_store_timeout": 504,
    "rate_limit_exceeded": 429,
    "data_residency_mismatch": 502,
    "invalid_prompt": 400,
    "bio_policy": 400,
    "misalignment_policy_violation": 400,
    "failed_to_download_image": 400,
    "image_file_not_found": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "image_parse_error": 400,
    "image_content_policy_violation": 400,
}
"""Whose fault a failed response is, by its error's code; those that begin with `invalid_` or `image_` are the client's too.
Source of the codes: openai-python's `response_error.py`."""

_ABSENT = msgspec.Raw()


class _Peek(msgspec.Struct):
    id: Any = None
    status: Any = None
    model: Any = None
    output: msgspec.Raw = _ABSENT
    usage: Any = None
    service_tier: Any = None
    error: Any = None


_peek = msgspec.json.Decoder(_Peek)


def read_reply(body: bytes, quirks: frozenset[str] = frozenset()) -> Reply:
    """Usage, error and id of a response. Raises UpstreamError for what is none at all (HTML, broken JSON)."""
    peek = _look(body)
    id = read_code(peek.id, MAX_ID)
    usage = read_usage(peek.usage, peek.service_tier)
    if peek.error or peek.status == FAILED:
        return Reply(usage, error_in_body(peek.error), id)
    if peek.output is _ABSENT and not _is_pending(peek.status):
        raise bad_upstream_response("The upstream's answer has no output.")
    output = [] if peek.output is _ABSENT else load_json(bytes(peek.output))
    return Reply(usage, None, id, ids_of_items(output), done=not _is_pending(peek.status))


def _is_pending(status: object) -> bool:
    return isinstance(status, str) and status in PENDING


def ids_of_items(output: object) -> tuple[str, ...]:
    """The ids of what an answer is made of, by which later requests may name its items."""
    ids = (
        [read_code(item.get("id"), MAX_ID) for item in output if isinstance(item, dict)]
        if isinstance(output, list)
        else []
    )
    return tuple(id for id in ids if id)


def _look(body: bytes) -> _Peek:
    try:
        return _peek.decode(body.decode())  # text that isn't UTF-8 would pass unseen in a field that is skipped
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = load_json(body)  # escaped lone surrogates, which the fast decoder refuses
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.") from None
    output = msgspec.Raw(b"[]") if "output" in value else _ABSENT
    known = {name: value.get(name) for name in ("id", "status", "model", "usage", "service_tier", "error")}
    return _Peek(**known, output=output)


def error_in_body(error: object) -> UpstreamError:
    """An error that came with status 200, or inside a stream; null where a response failed without a word."""
    message, code, param = describe(error)
    kind = error.get("type") if isinstance(error, dict) else None
    return read_late_error(_status_of(code, kind), message, code, param)


def _status_of(code: str | None, kind: object) -> int:
    if code is None:
        return 400 if kind == "invalid_request_error" else 502
    if code.isdecimal():
        return int(code)
    return _STATUS_BY_CODE.get(code, 400 if code.startswith(("invalid_", "image_")) else 502)


def read_error(status: int, body: bytes) -> UpstreamError:
    """A refusal by HTTP status."""
    value = load_json(body)
    message, code, param = describe(value.get("error", value) if isinstance(value, dict) else None)
    return read_refusal(status, message, code, param)


def reply_text(body: bytes) -> str:
    """All text, reasoning and tool-call arguments of a response."""
    value = load_json(body)
    output = value.get("output") if isinstance(value, dict) else None
    return "".join(text_of_item(item) for item in output) if isinstance(output, list) else ""


def text_of_item(item: object) -> str:
    """The text that an output item carries."""
    if not isinstance(item, dict):
        return ""
    texts = [item[name] for name in ("name", "arguments", "input") if isinstance(item.get(name), str)]
    for name in ("content", "summary"):
        parts = item.get(name)
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict):
                texts += [part[word] for word in ("text", "refusal") if isinstance(part.get(word), str)]
    return "".join(texts)
