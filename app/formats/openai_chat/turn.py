"""An assistant's turn of blocks, sorted into the fields that Chat Completions has for them, in requests as in answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.core.conversation import Block, Citation, Image, Media, Refusal, Signature, Text, Thinking, ToolCall
from app.formats.openai_chat.thoughts import is_bound, write_details

GAP = "\n\n"
"""Stands between texts, or thoughts, that something else stood between; those of one kind in a row are one."""


@dataclass(slots=True)
class Turn:
    """`text`: all of it; None without any. `calls`: each with Google's signature of it. `others`: what has no place here."""

    text: str | None = None
    citations: list[Citation] = field(default_factory=list)
    reasoning: str | None = None
    details: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[ToolCall, Signature | None]] = field(default_factory=list)
    refusal: str | None = None
    images: list[Image] = field(default_factory=list)
    others: list[Block] = field(default_factory=list)


def sort_blocks(blocks: Iterable[Block]) -> Turn:
    """The turn that blocks make. Order between thoughts, text and calls is lost: this format has none."""
    turn = Turn()
    last: type | None = None
    bound: Thinking | None = None
    for block in blocks:
        if bound is not None:
            id = block.id if isinstance(block, ToolCall) else None
            turn.details += write_details(bound, len(turn.details), id)
        signature, bound = None if bound is None else bound.signature, None
        match block:
            case Text():
                _add_text(turn, block, GAP if last is not Text and turn.text and block.text else "")
            case Thinking() if is_bound(block):
                bound = block
                continue  # it is of what comes next, and stands between nothing
            case Thinking(text):
                if text:
                    turn.reasoning = text if turn.reasoning is None else turn.reasoning + GAP + text
                turn.details += write_details(block, len(turn.details))
            case ToolCall():
                turn.calls.append((block, signature))
            case Refusal(text):
                turn.refusal = (turn.refusal or "") + text
            case Image():
                turn.images.append(block)
            case _:
                turn.others.append(block)
        last = type(block)
    if bound is not None:
        turn.details += write_details(bound, len(turn.details))
    return turn


def _add_text(turn: Turn, block: Text, gap: str) -> None:
    text = (turn.text or "") + gap
    turn.text = text + block.text
    turn.citations += [move_citation(citation, len(text), len(turn.text)) for citation in block.citations]


def move_citation(citation: Citation, start: int, end: int) -> Citation:
    """A citation of a block whose text stands from `start` to `end` in the whole; of all of it where it doesn't say."""
    return Citation(
        citation.url,
        citation.title,
        start if citation.start is None else citation.start + start,
        end if citation.end is None else citation.end + start,
    )


def write_citation(citation: Citation) -> dict[str, Any]:
    """An annotation. OpenAI's own always has a title and a place."""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": citation.start or 0,
            "end_index": citation.end or 0,
            "title": citation.title or "",
            "url": citation.url,
        },
    }


def write_url(media: Media) -> str:
    """A picture's address, or its data as one (RFC 2397)."""
    return media.url or f"data:{media.media_type};base64,{media.data}"


def write_signature(signature: Signature) -> dict[str, Any]:
    """What a tool's call carries of Google's, as Gemini's OpenAI-compatible endpoint has it."""
    return {"google": {"thought_signature": signature.value}}
