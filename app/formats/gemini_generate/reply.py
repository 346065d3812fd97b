"""Reading a complete generateContent answer, and Google's refusals."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from app.errors import UpstreamError, bad_upstream_response
from app.formats.base import Reply
from app.formats.gemini_generate.usage import read_usage
from app.formats.refusals import MAX_CODE, describe, load_json, read_code, read_late_error, read_refusal

_ABSENT = msgspec.Raw()
_ANSWERS = ("candidates", "promptFeedback", "usageMetadata")


class _Peek(msgspec.Struct):
    candidates: msgspec.Raw = _ABSENT
    feedback: msgspec.Raw = msgspec.field(default=_ABSENT, name="promptFeedback")
    usage: Any = msgspec.field(default=None, name="usageMetadata")
    error: Any = None


_peek = msgspec.json.Decoder(_Peek)


def read_reply(body: bytes) -> Reply:
    """Usage and error of an answer. Raises UpstreamError for what is no answer at all (HTML, broken JSON).

    A prompt that was blocked is an answer: it has feedback, and no candidates.
    """
    try:
        peek = _peek.decode(body.decode())  # text that isn't UTF-8 would pass unseen in a field that is skipped
        usage, error = peek.usage, peek.error
        answers = peek.candidates is not _ABSENT or peek.feedback is not _ABSENT or usage is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = unwrap(load_json(body))  # escaped lone surrogates, which the fast decoder refuses; an error in an array
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.") from None
        usage, error = value.get("usageMetadata"), value.get("error")
        answers = any(name in value for name in _ANSWERS)
    if error:
        return Reply(None, error_in_body(error))
    if not answers:
        raise bad_upstream_response("The upstream's answer has no candidates.")
    return Reply(read_usage(usage), None)


def unwrap(value: Any) -> Any:
    """Google puts some errors into an array of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def error_in_body(error: object) -> UpstreamError:
    """An error that came with status 200, or inside a stream: its `code` is an HTTP status."""
    message, code = _describe(error)
    status = error.get("code") if isinstance(error, dict) else None
    if not isinstance(status, int) or not 400 <= status < 600:
        return read_late_error(502, message, code)
    return read_late_error(_true_status(status, error), message, code)


def read_error(status: int, body: bytes) -> UpstreamError:
    """A refusal by HTTP status."""
    value = unwrap(load_json(body))
    error = value.get("error", value) if isinstance(value, dict) else None
    message, code = _describe(error)
    return read_refusal(_true_status(status, error), message, code)


def _describe(error: object) -> tuple[str | None, str | None]:
    """Message and code: the word of `status`, which says more than the number in `code`."""
    message, code, _ = describe(error)
    word = error.get("status") if isinstance(error, dict) else None
    return message, read_code(word, MAX_CODE) or code


def _true_status(status: int, error: object) -> int:
    """Google answers 400 where the operator's key is at fault, not the client: then it isn't the client's 400.

    Seen in users' reports: reason API_KEY_INVALID, and FAILED_PRECONDITION for a country or a project without billing.
    """
    if status != 400 or not isinstance(error, dict):
        return status
    if error.get("status") == "FAILED_PRECONDITION":
        return 403
    details = error.get("details")
    reasons = [entry.get("reason") for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    return 401 if "API_KEY_INVALID" in reasons else status


def reply_text(body: bytes) -> str:
    """All text, thoughts and calls of a complete answer."""
    return "".join(texts_of(load_json(body)))


def texts_of(value: object) -> list[str]:
    """The texts of an answer or a piece of one."""
    candidates = value.get("candidates") if isinstance(value, dict) else None
    texts: list[str] = []
    for candidate in candidates if isinstance(candidates, list) else []:
        content = candidate.get("content") if isinstance(candidate, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("text"), str):
                texts.append(part["text"])
            if isinstance(call := part.get("functionCall"), dict):
                texts += [str(call.get("name") or ""), json.dumps(call.get("args") or {}, ensure_ascii=False)]
    return texts
