"""Output items and the response object around them, as clients of this format get them, whole or at a stream's end.

Source of the fields: `response.py` and `response_output_item.py` of OpenAI's SDK.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core.conversation import Ask, Citation, Finish, Image, Refusal, Text, Thinking, Token, ToolCall
from app.core.usage import Usage
from app.formats.base import Request, Stamp
from app.formats.body import decode_json
from app.formats.openai_responses.sealed import seal_thought
from app.formats.openai_responses.usage import write_usage
from app.formats.openai_responses.write_tools import write_tool

Item = dict[str, Any]

COMPLETED, INCOMPLETE, IN_PROGRESS = "completed", "incomplete", "in_progress"

_REASONS = {
    Finish.LENGTH: "max_output_tokens",
    Finish.FILTERED: "content_filter",
    Finish.PAUSED: "max_messages",
}

_ECHOED: tuple[tuple[str, Any], ...] = (
    ("instructions", None),
    ("max_output_tokens", None),
    ("max_tool_calls", None),
    ("metadata", {}),
    ("parallel_tool_calls", True),
    ("prompt_cache_key", None),
    ("reasoning", {"effort": None, "summary": None}),
    ("safety_identifier", None),
    ("temperature", 1.0),
    ("text", {"format": {"type": "text"}, "verbosity": "medium"}),
    ("tool_choice", "auto"),
    ("top_logprobs", 0),
    ("top_p", 1.0),
    ("truncation", "disabled"),
    ("user", None),
)
"""Fields of a request that its response repeats, and what stands there where the request said nothing."""


def open_response(request: Request, ask: Ask, stamp: Stamp) -> dict[str, Any]:
    """What of the response object is known before the answer is. What isn't asked for stands at its default."""
    response: dict[str, Any] = {
        "id": f"resp_{stamp.id}",
        "object": "response",
        "created_at": stamp.created,
        "model": request.model,
        "background": False,
        "error": None,
        "previous_response_id": None,
        "store": False,
        "tools": [write_tool(tool) for tool in ask.tools],
    }
    for name, otherwise in _ECHOED:
        raw = request.fields.get(name)
        value = None if raw is None else decode_json(raw)
        response[name] = otherwise if value is None else value
    return response


def open_fields() -> dict[str, Any]:
    """The rest of a response that is under way."""
    return {"status": IN_PROGRESS, "incomplete_details": None, "output": [], "usage": None}


def status_of(finish: Finish | None) -> str:
    """A response's status by why its answer ended."""
    return INCOMPLETE if finish in _REASONS else COMPLETED


def closing_fields(finish: Finish | None, usage: Usage | None) -> dict[str, Any]:
    """The rest of a response that is done, but for its output."""
    reason = None if finish is None else _REASONS.get(finish)
    return {
        "status": status_of(finish),
        "incomplete_details": None if reason is None else {"reason": reason},
        "service_tier": "default" if usage is None or usage.service_tier is None else usage.service_tier,
        "usage": None if usage is None else write_usage(usage),
    }


def message_item(stamp: Stamp, index: int, parts: list[Item], status: str) -> Item:
    return {
        "id": f"msg_{stamp.id}_{index}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def text_part(text: Text, tokens: Iterable[Token] = ()) -> Item:
    """A text with its sources and log probabilities."""
    return {
        "type": "output_text",
        "text": text.text,
        "annotations": [annotation(cited, text.text) for cited in text.citations],
        "logprobs": [write_token(token) for token in tokens],
    }


def refusal_part(refusal: Refusal) -> Item:
    return {"type": "refusal", "refusal": refusal.text}


def annotation(cited: Citation, text: str) -> Item:
    """A source. Where its place isn't told, it is the source of all the text so far: this format wants numbers."""
    return {
        "type": "url_citation",
        "url": cited.url,
        "title": cited.title or "",
        "start_index": cited.start or 0,
        "end_index": len(text) if cited.end is None else cited.end,
    }


def write_token(token: Token) -> Item:
    return {
        "token": token.token,
        "bytes": _bytes(token.token),
        "logprob": token.logprob,
        "top_logprobs": [{"token": other, "bytes": _bytes(other), "logprob": logprob} for other, logprob in token.top],
    }


def _bytes(token: str) -> list[int]:
    return list(token.encode("utf-8", "surrogatepass"))


def thought_item(stamp: Stamp, index: int, thought: Thinking) -> Item:
    """A thought. The signature stands in `encrypted_content`, sealed if it is another vendor's."""
    return {
        "id": thought.id or f"rs_{stamp.id}_{index}",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": thought.text}] if thought.text else [],
        "encrypted_content": seal_thought(thought),
        "status": COMPLETED,
    }


def call_item(stamp: Stamp, index: int, call: ToolCall, status: str) -> Item:
    """A call. Clients parse a function's arguments as JSON: none at all is an empty object."""
    if call.custom:
        words = {"type": "custom_tool_call", "input": call.arguments}
    else:
        words = {"type": "function_call", "arguments": call.arguments or ("{}" if status == COMPLETED else "")}
    id = f"{'ctc' if call.custom else 'fc'}_{stamp.id}_{index}"
    return {"id": id, **words, "call_id": call.id, "name": call.name, "status": status}


def image_item(stamp: Stamp, index: int, image: Image) -> Item | None:
    """A picture that the model made; None for one that isn't here."""
    if image.media.data is None:
        return None
    kind = (image.media.media_type or "image/png").removeprefix("image/")
    return {
        "id": f"ig_{stamp.id}_{index}",
        "type": "image_generation_call",
        "status": COMPLETED,
        "output_format": kind,
        "result": image.media.data,
    }
