"""What the demo answers in Anthropic's format: blocks that know how they are written whole and how they stream."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answers import Answer
from app.demo.anthropic_request import Question
from app.demo.anthropic_turns import SIGNATURE_KIND
from app.demo.options import Options
from app.demo.saying import REFUSAL_TEXT, Call, Said, spoil
from app.demo.signing import seal, sign

STOP_REASONS = {
    "end": "end_turn",
    "stop": "stop_sequence",
    "length": "max_tokens",
    "tools": "tool_use",
    "refusal": "refusal",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One content block: `whole`, or `start` and then deltas: `pieces` in their `kind` of field, and `ends`."""

    whole: dict[str, Any]
    start: dict[str, Any]
    kind: tuple[str, str] = ("", "")
    pieces: tuple[bytes, ...] = ()
    ends: tuple[dict[str, Any], ...] = ()


def write_blocks(said: Said, question: Question, options: Options, extra: str = "") -> list[Block]:
    """The content blocks of an answer; with `extra` after its text."""
    blocks = []
    if said.thought is not None:
        blocks.append(_write_thought(said.thought, question, options))
    if said.text is not None and said.stop != "refusal" and (said.text.text or extra or said.stop != "length"):
        blocks.append(_write_text(said.text, question, options, extra))
    return blocks + [_write_call(call) for call in said.calls]


def write_ending(said: Said, options: Options) -> dict[str, Any]:
    """Why the answer ends."""
    details = None
    if said.stop == "refusal":
        details = {"type": "refusal", "category": "general_harms", "explanation": REFUSAL_TEXT}
    return {
        "stop_reason": options.finish or STOP_REASONS[said.stop],
        "stop_sequence": said.matched,
        "stop_details": details,
    }


def write_usage(options: Options, prompt: int, said: Said) -> dict[str, Any] | None:
    """The usage object: `input_tokens` leaves out what a cache had or got, `output_tokens` holds the thinking."""
    cached, written = options.cached, options.cache_written
    usage = {
        "input_tokens": max(prompt - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": said.tokens + said.thought_tokens,
        "output_tokens_details": {"thinking_tokens": said.thought_tokens},
        "service_tier": "standard",
    }
    return spoil(options, usage)


def _write_thought(thought: Answer, question: Question, options: Options) -> Block:
    if options.redacted:
        block = {"type": "redacted_thinking", "data": seal(SIGNATURE_KIND, thought.text)}
        return Block(block, block)
    omitted = question.thinking.get("display") == "omitted"
    text = "" if omitted else thought.text
    signature = sign(SIGNATURE_KIND, text)
    return Block(
        whole={"type": "thinking", "thinking": text, "signature": signature},
        start={"type": "thinking", "thinking": "", "signature": ""},
        kind=("thinking_delta", "thinking"),
        pieces=() if omitted else thought.pieces,
        ends=({"type": "signature_delta", "signature": signature},),
    )


def _write_text(text: Answer, question: Question, options: Options, extra: str) -> Block:
    citations = _cite(question) if options.citations else []
    cited = {"citations": citations} if citations else {}
    return Block(
        whole={"type": "text", "text": text.text + extra, **cited},
        start={"type": "text", "text": "", **({"citations": []} if citations else {})},
        kind=("text_delta", "text"),
        pieces=text.pieces,
        ends=tuple({"type": "citations_delta", "citation": citation} for citation in citations),
    )


def _cite(question: Question) -> list[dict[str, Any]]:
    """A citation of the first document that may be cited."""
    for index, document in enumerate(question.documents):
        if not (document.get("citations") or {}).get("enabled"):
            continue
        common = {"document_index": index, "document_title": document.get("title"), "file_id": None}
        if document["source"]["type"] == "text":
            cited = document["source"]["data"][:20]
            place = {"type": "char_location", "start_char_index": 0, "end_char_index": len(cited)}
        else:
            cited, place = "demo", {"type": "page_location", "start_page_number": 1, "end_page_number": 2}
        return [{**place, "cited_text": cited, **common}]
    return []


def _write_call(call: Call) -> Block:
    head = {"type": "tool_use", "id": f"toolu_demo_{call.id}", "name": call.name, "caller": {"type": "direct"}}
    # What a whole answer holds of a call that the cap cut off is unverified.
    arguments = orjson.loads(call.arguments.text) if call.arguments.complete else {}
    return Block(
        whole={**head, "input": arguments},
        start={**head, "input": {}},
        kind=("input_json_delta", "partial_json"),
        pieces=call.arguments.pieces,
    )
