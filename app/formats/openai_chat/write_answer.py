"""A whole canonical answer, written as clients of Chat Completions expect it.

What OpenAI has no field for stands where compatible servers put it: thoughts in `reasoning_content` and `reasoning_details`,
pictures in `images`. Official SDKs keep such fields, and send them back with the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Answer, Choice, Finish, Image, Signature, Token, ToolCall
from app.formats.base import Stamp
from app.formats.framing import write_json
from app.formats.openai_chat.turn import Turn, sort_blocks, write_citation, write_signature, write_url
from app.formats.openai_chat.usage import write_usage

FINISHES: Mapping[Finish, str] = MappingProxyType(
    {
        Finish.STOP: "stop",
        Finish.STOP_SEQUENCE: "stop",
        Finish.LENGTH: "length",
        Finish.TOOL_CALLS: "tool_calls",
        Finish.FILTERED: "content_filter",
        Finish.PAUSED: "stop",
    }
)


def write_answer(answer: Answer, model: str, stamp: Stamp) -> bytes:
    """`model`: what the client asked for."""
    body: dict[str, Any] = {
        "id": f"chatcmpl-{stamp.id}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": model,
        "choices": [_write_choice(choice) for choice in answer.choices],
    }
    if answer.usage is not None:
        body["usage"] = write_usage(answer.usage)
    return write_json(body)


def _write_choice(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": _write_message(sort_blocks(choice.blocks)),
        "logprobs": write_logprobs(choice.logprobs) if choice.logprobs else None,
        "finish_reason": FINISHES[choice.finish or Finish.STOP],
    }


def _write_message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text, "refusal": turn.refusal}
    if turn.reasoning is not None:
        message["reasoning_content"] = turn.reasoning
    if turn.details:
        message["reasoning_details"] = turn.details
    if turn.citations:
        message["annotations"] = [write_citation(citation) for citation in turn.citations]
    if turn.calls:
        message["tool_calls"] = [write_call(call, signature) for call, signature in turn.calls]
    if turn.images:
        message["images"] = write_images(turn.images)
    return message


def write_images(images: Iterable[Image]) -> list[dict[str, Any]]:
    """In OpenRouter's shape."""
    return [
        {"type": "image_url", "image_url": {"url": write_url(image.media)}, "index": at}
        for at, image in enumerate(images)
    ]


def write_call(call: ToolCall, signature: Signature | None) -> dict[str, Any]:
    """A whole call."""
    written: dict[str, Any] = {"id": call.id}
    if call.custom:
        written |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        written |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
    if signature is not None:
        written["extra_content"] = write_signature(signature)
    return written


def write_logprobs(tokens: Iterable[Token]) -> dict[str, Any]:
    return {"content": [_write_token(token) for token in tokens], "refusal": None}


def _write_token(token: Token) -> dict[str, Any]:
    top = [_write_pair(text, logprob) for text, logprob in token.top]
    return {**_write_pair(token.token, token.logprob), "top_logprobs": top}


def _write_pair(text: str, logprob: float) -> dict[str, Any]:
    """A token that is half a character has no bytes of its own in UTF-8 here."""
    try:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    except UnicodeEncodeError:
        return {"token": text, "logprob": logprob, "bytes": None}
