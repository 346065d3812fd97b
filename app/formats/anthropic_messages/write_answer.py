"""A whole canonical answer, written as Anthropic's clients expect it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.assembly import mend_torn_calls
from app.core.conversation import (
    Answer,
    Block,
    Choice,
    Citation,
    Finish,
    Image,
    Media,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from app.core.usage import Usage
from app.formats.anthropic_messages.fields import NAME
from app.formats.anthropic_messages.read_answer import broken
from app.formats.anthropic_messages.thoughts import write_signature
from app.formats.anthropic_messages.usage import write_usage
from app.formats.base import Stamp
from app.formats.framing import write_json
from app.formats.refusals import load_json

STOP_REASONS: Mapping[Finish, str] = MappingProxyType(
    {
        Finish.STOP: "end_turn",
        Finish.STOP_SEQUENCE: "stop_sequence",
        Finish.LENGTH: "max_tokens",
        Finish.TOOL_CALLS: "tool_use",
        Finish.FILTERED: "refusal",
        Finish.PAUSED: "pause_turn",
    }
)

UNKNOWN = Usage()


def write_answer(answer: Answer, model: str, stamp: Stamp) -> bytes:
    """The first choice: a client of this format can't ask for more. Raises UpstreamError for arguments that are no JSON."""
    choice = mend_torn_calls(answer.choices[0]) if answer.choices else Choice((), None)
    refusal = "".join(block.text for block in choice.blocks if isinstance(block, Refusal))
    return write_json(
        {
            **write_head(model, stamp, answer.usage or UNKNOWN),
            "content": [written for block in choice.blocks if (written := write_block(block)) is not None],
            **write_stop(choice.finish, choice.stop_sequence, refusal),
        }
    )


def write_head(model: str, stamp: Stamp, usage: Usage) -> dict[str, Any]:
    """What an answer is before it says anything."""
    return {
        "id": f"msg_{stamp.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": write_usage(usage),
    }


def write_stop(finish: Finish | None, stop_sequence: str | None, refusal: str) -> dict[str, Any]:
    """Why an answer ended. Words of refusal stand in `stop_details`, as Anthropic's own do."""
    reason = "refusal" if refusal else STOP_REASONS[finish or Finish.STOP]
    stop: dict[str, Any] = {"stop_reason": reason, "stop_sequence": stop_sequence}
    if reason == "refusal":
        stop["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal or None}
    return stop


def write_block(block: Block) -> dict[str, Any] | None:
    """A block of content; None for what has none: a refusal (see `write_stop`), and another vendor's working notes."""
    match block:
        case Text():
            return write_text(block) if block.text or block.citations else None
        case Thinking():
            return write_thinking(block)
        case ToolCall():
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": _read_arguments(block)}
        case Image():
            return {"type": "text", "text": write_image(block.media)}
        case Opaque(format=format, value=value) if format == NAME:
            return dict(value)
        case _:
            return None


def write_text(block: Text) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "text", "text": block.text}
    if block.citations:
        text["citations"] = [write_citation(citation) for citation in block.citations]
    return text


def write_citation(citation: Citation) -> dict[str, Any]:
    """As a web search result's. What it quotes, and Anthropic's handle on it, aren't known."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": "",
        "encrypted_index": "",
    }


def write_thinking(block: Thinking) -> dict[str, Any] | None:
    """A thought of whatever vendor: its signature, sealed where it isn't Anthropic's, comes back with the next turn."""
    if block.signature is None and (block.redacted or not block.text):
        return None
    signature = write_signature(block.signature)
    if block.redacted:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": block.text, "signature": signature}


def write_image(media: Media) -> str:
    """An image in Markdown: this format has no block for one in an answer."""
    return f"![image]({media.url or f'data:{media.media_type};base64,{media.data}'})"


def _read_arguments(call: ToolCall) -> dict[str, Any]:
    if call.custom:
        return {"input": call.arguments}
    value = load_json(call.arguments.encode("utf-8", "surrogatepass")) if call.arguments else {}
    if value is None and call.arguments.strip() == "null":  # how some models call a tool without arguments
        return {}
    if not isinstance(value, dict):
        raise broken("arguments")
    return value
