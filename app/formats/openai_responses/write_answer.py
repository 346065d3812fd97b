"""A canonical answer, written as a whole response object."""

from __future__ import annotations

from app.core.conversation import Answer, Ask, Block, Choice, Image, Opaque, Refusal, Text, Thinking, ToolCall
from app.formats.base import Request, Stamp
from app.formats.framing import write_json
from app.formats.openai_responses.fields import NAME
from app.formats.openai_responses.items import (
    COMPLETED,
    Item,
    call_item,
    closing_fields,
    image_item,
    message_item,
    open_response,
    refusal_part,
    status_of,
    text_part,
    thought_item,
)

_NOTHING = Choice((), None)


def write_answer(answer: Answer, request: Request, ask: Ask, stamp: Stamp) -> bytes:
    """See `app.formats.base.Format.write_answer`. One choice can be asked for, so one is told."""
    choice = answer.choices[0] if answer.choices else _NOTHING
    response = open_response(request, ask, stamp)
    response.update(closing_fields(choice.finish, answer.usage))
    response["output"] = _write_output(choice, stamp)
    return write_json(response)


def _write_output(choice: Choice, stamp: Stamp) -> list[Item]:
    output: list[Item] = []
    parts: list[Item] = []
    tokens = choice.logprobs
    for block in choice.blocks:
        if isinstance(block, Text | Refusal):
            parts.append(text_part(block, tokens) if isinstance(block, Text) else refusal_part(block))
            tokens = () if isinstance(block, Text) else tokens
            continue
        item = _write_item(block, stamp, len(output) + bool(parts))
        if item is None:
            continue
        if parts:
            output.append(message_item(stamp, len(output), parts, COMPLETED))
            parts = []
        output.append(item)
    if parts:
        output.append(message_item(stamp, len(output), parts, status_of(choice.finish)))
    return output


def _write_item(block: Block, stamp: Stamp, index: int) -> Item | None:
    """An item of its own; None for what this format's answers have no place for: sound, and others' working notes."""
    match block:
        case Thinking():
            return thought_item(stamp, index, block)
        case ToolCall():
            return call_item(stamp, index, block, COMPLETED)
        case Image():
            return image_item(stamp, index, block)
        case Opaque(format=format, value=value) if format == NAME and isinstance(value, dict):
            return value
        case _:
            return None
