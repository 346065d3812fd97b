"""A whole Messages answer, read into the canonical one.

Source of the blocks and stop reasons: Anthropic's API reference and `message.py` of its SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import Answer, Block, Choice, Finish, Opaque, Refusal, Text, ToolCall
from app.errors import UpstreamError, bad_upstream_response
from app.formats.anthropic_messages.blocks import read_citations, write_arguments
from app.formats.anthropic_messages.fields import NAME
from app.formats.anthropic_messages.reply import error_in_body
from app.formats.anthropic_messages.thoughts import read_redacted, read_thinking
from app.formats.anthropic_messages.usage import read_usage
from app.formats.refusals import load_json

FINISHES: Mapping[str, Finish] = MappingProxyType(
    {
        "end_turn": Finish.STOP,
        "stop_sequence": Finish.STOP_SEQUENCE,
        "max_tokens": Finish.LENGTH,
        "model_context_window_exceeded": Finish.LENGTH,
        "tool_use": Finish.TOOL_CALLS,
        "refusal": Finish.FILTERED,
        "pause_turn": Finish.PAUSED,
        "compaction": Finish.PAUSED,
    }
)

_decode = msgspec.json.Decoder().decode


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamError for an error in the body, and for what is no answer."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = load_json(body)  # escaped lone surrogates, which the fast decoder refuses
    if not isinstance(value, dict):
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    if value.get("error") or value.get("type") == "error":
        raise error_in_body(value.get("error"))
    content = value.get("content")
    if not isinstance(content, list):
        raise bad_upstream_response("The upstream's answer has no content.")
    blocks = [read_block(block) for block in content]
    refusal = read_refusal(value.get("stop_details"))
    if refusal is not None:
        blocks.append(refusal)
    stop = value.get("stop_sequence")
    choice = Choice(
        tuple(blocks),
        read_finish(value.get("stop_reason"), called=any(type(block) is ToolCall for block in blocks)),
        stop_sequence=stop if isinstance(stop, str) else None,
    )
    return Answer(
        id=read_text(value, "id", optional=True),
        model=read_text(value, "model", optional=True),
        choices=(choice,),
        usage=read_usage(value.get("usage")),
    )


def read_finish(reason: object, *, called: bool) -> Finish:
    """Why an answer ended. No word, or one that isn't known, is an end like any other. `called`: it has tool calls."""
    finish = FINISHES.get(reason, Finish.STOP) if isinstance(reason, str) else Finish.STOP
    return Finish.TOOL_CALLS if finish is Finish.STOP and called else finish


def read_refusal(details: object) -> Refusal | None:
    """What a model says about why it declined."""
    words = details.get("explanation") if isinstance(details, dict) else None
    return Refusal(words) if isinstance(words, str) and words else None


def read_block(value: object) -> Block:
    """One block of content. Raises UpstreamError if it isn't what its type promises.

    What only Anthropic knows (its server tools' calls and results) stays as it is.
    """
    if not isinstance(value, dict):
        raise broken("content")
    kind = value.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return Opaque(NAME, str(kind), value) if read is None else read(value)


def _read_text_block(value: dict[str, Any]) -> Block:
    return Text(read_text(value, "text"), read_citations(value.get("citations")))


def _read_thinking(value: dict[str, Any]) -> Block:
    return read_thinking(read_text(value, "thinking"), read_text(value, "signature", optional=True))


def _read_redacted(value: dict[str, Any]) -> Block:
    return read_redacted(read_text(value, "data"))


def _read_tool_use(value: dict[str, Any]) -> Block:
    arguments = value.get("input")
    if not isinstance(arguments, dict):
        raise broken("input")
    return ToolCall(read_text(value, "id"), read_text(value, "name"), write_arguments(arguments))


_READERS: Mapping[str, Callable[[dict[str, Any]], Block]] = MappingProxyType(
    {
        "text": _read_text_block,
        "thinking": _read_thinking,
        "redacted_thinking": _read_redacted,
        "tool_use": _read_tool_use,
    }
)


def read_text(value: dict[str, Any], name: str, *, optional: bool = False) -> str:
    """A string of an upstream's object; "" for an optional one that is missing or null."""
    text = value.get(name)
    if isinstance(text, str):
        return text
    if optional and text is None:
        return ""
    raise broken(name)


def broken(field: str) -> UpstreamError:
    return bad_upstream_response(f"The upstream's answer has a '{field}' that isn't what its format promises.")
