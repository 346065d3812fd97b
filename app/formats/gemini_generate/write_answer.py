"""A whole canonical answer, written for a client of Google's.

Source: google-genai's `types.py` (GenerateContentResponse). A finish reason STOP stands beside calls too: the AI SDK goes on
with a tool loop after no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.core.assembly import mend_torn_calls
from app.core.conversation import (
    Answer,
    Audio,
    Block,
    Choice,
    File,
    Finish,
    Image,
    Opaque,
    Refusal,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.errors import bad_upstream_response
from app.formats.base import Stamp
from app.formats.framing import write_json
from app.formats.gemini_generate.citations import write_grounding
from app.formats.gemini_generate.fields import NAME
from app.formats.gemini_generate.parts import load_object, write_media
from app.formats.gemini_generate.thoughts import write_bare_signature, write_signature, write_thought
from app.formats.gemini_generate.usage import write_usage

REASONS: Mapping[Finish, str] = MappingProxyType(
    {
        Finish.STOP: "STOP",
        Finish.STOP_SEQUENCE: "STOP",
        Finish.TOOL_CALLS: "STOP",
        Finish.LENGTH: "MAX_TOKENS",
        Finish.FILTERED: "SAFETY",
        Finish.PAUSED: "OTHER",  # CONTINUATION promises a token to go on with
    }
)


def write_answer(answer: Answer, model: str, stamp: Stamp) -> bytes:
    """`model`: what the client asked for. Raises UpstreamError for a call whose arguments are no JSON object."""
    body: dict[str, Any] = {"candidates": [_write_choice(choice) for choice in answer.choices]}
    if answer.usage is not None:
        body["usageMetadata"] = write_usage(answer.usage)
    return write_json(body | {"modelVersion": model, "responseId": stamp.id})


def _write_choice(choice: Choice) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "model"}
    choice = mend_torn_calls(choice)
    parts = write_parts(choice.blocks)
    if parts:
        content["parts"] = parts
    candidate: dict[str, Any] = {"content": content, "index": choice.index}
    if choice.finish is not None:
        candidate["finishReason"] = REASONS[choice.finish]
    texts = [(block.text, block.citations) for block in choice.blocks if isinstance(block, Text)]
    return candidate | write_findings(texts, choice.logprobs)


def write_findings(texts: Sequence[tuple[str, Sequence[Any]]], tokens: Sequence[Token]) -> dict[str, Any]:
    """What a candidate says beside its content: where the texts come from, and how likely each token was."""
    found: dict[str, Any] = {}
    grounding = write_grounding(texts)
    if grounding is not None:
        found["groundingMetadata"] = grounding
    if tokens:
        found["avgLogprobs"] = sum(token.logprob for token in tokens) / len(tokens)
        found["logprobsResult"] = {
            "chosenCandidates": [_write_token(token.token, token.logprob) for token in tokens],
            "topCandidates": [{"candidates": [_write_token(*pair) for pair in token.top]} for token in tokens],
        }
    return found


def write_parts(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    """The parts of a content. A signature without a thought goes into the part that follows it."""
    parts: list[dict[str, Any]] = []
    pending: str | None = None
    for block in blocks:
        if isinstance(block, Thinking):
            if pending is not None:
                parts.append(write_bare_signature(pending))
            signature = write_signature(block)
            pending = None
            if block.text or block.redacted:
                parts.append(write_thought(block.text, signature))
            else:
                pending = signature
        elif (part := write_part(block)) is not None:
            parts.append(part if pending is None else {**part, "thoughtSignature": pending})
            pending = None
    if pending is not None:
        parts.append(write_bare_signature(pending))
    return parts


def write_part(block: Block) -> dict[str, Any] | None:
    """The part of a block that is no thought; None for one that says nothing in this format.

    Raises UpstreamError for a call whose arguments are no JSON object.
    """
    match block:
        case Text(text) | Refusal(text):
            return {"text": text} if text else None
        case ToolCall():
            return write_call(block)
        case Image() | Audio() | File():
            return write_media(block)
        case Opaque(format, _, value) if format == NAME:
            return {name: given for name, given in value.items() if name != "thoughtSignature"}
    return None


def write_call(call: ToolCall, *, cut: bool = False) -> dict[str, Any]:
    """`cut`: the answer ended in the middle of the call, whose arguments are lost then: the reason it ended says so."""
    arguments = {"input": call.arguments} if call.custom else load_object(call.arguments)
    if arguments is None and cut:
        arguments = {}
    if arguments is None:
        raise bad_upstream_response("The upstream called a tool with arguments that are no JSON object.")
    return {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}


def _write_token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logProbability": logprob}
