"""A whole canonical answer, written as clients of Chat Completions expect it.

What OpenAI has no field for stands where compatible servers put it: thoughts in `reasoning_content` and `reasoning_details`,
pictures in `images`. Official SDKs keep such fields, and send them back with the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Answer, Ask, Choice, Finish, Image, Signature, Token, Tool, ToolCall
from app.formats.base import Stamp
from app.formats.framing import write_json
from app.formats.openai_chat.turn import Turn, sort_blocks, write_citation, write_signature, write_url
from app.formats.openai_chat.usage import write_usage
from app.formats.refusals import load_json

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

WRAPPED = "input"
"""The one argument of a custom tool at upstreams that know only functions."""


def write_answer(answer: Answer, model: str, ask: Ask, stamp: Stamp) -> bytes:
    """`model`: what the client asked for."""
    customs = custom_tools(ask)
    body: dict[str, Any] = {
        "id": f"chatcmpl-{stamp.id}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": model,
        "choices": [_write_choice(choice, customs) for choice in answer.choices],
    }
    if answer.usage is not None:
        body["usage"] = write_usage(answer.usage)
    return write_json(body)


def custom_tools(ask: Ask) -> frozenset[str]:
    """Names of the client's tools that take plain text."""
    return frozenset([tool.name for tool in ask.tools if isinstance(tool, Tool) and tool.custom])


def _write_choice(choice: Choice, customs: frozenset[str]) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": _write_message(sort_blocks(choice.blocks), customs),
        "logprobs": write_logprobs(choice.logprobs) if choice.logprobs else None,
        "finish_reason": FINISHES[choice.finish or Finish.STOP],
    }


def _write_message(turn: Turn, customs: frozenset[str]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text, "refusal": turn.refusal}
    if turn.reasoning is not None:
        message["reasoning_content"] = turn.reasoning
    if turn.details:
        message["reasoning_details"] = turn.details
    if turn.citations:
        message["annotations"] = [write_citation(citation) for citation in turn.citations]
    if turn.calls:
        message["tool_calls"] = [write_call(call, signature, customs) for call, signature in turn.calls]
    if turn.images:
        message["images"] = write_images(turn.images)
    return message


def write_images(images: Iterable[Image]) -> list[dict[str, Any]]:
    """In OpenRouter's shape."""
    return [
        {"type": "image_url", "image_url": {"url": write_url(image.media)}, "index": at}
        for at, image in enumerate(images)
    ]


def write_call(call: ToolCall, signature: Signature | None, customs: frozenset[str]) -> dict[str, Any]:
    """A whole call. What a client declared as a custom tool comes back as one, whatever the upstream made of it."""
    written: dict[str, Any] = {"id": call.id}
    if call.custom or call.name in customs:
        text = call.arguments if call.custom else unwrap(call.arguments)
        written |= {"type": "custom", "custom": {"name": call.name, "input": text}}
    else:
        written |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
    if signature is not None:
        written["extra_content"] = write_signature(signature)
    return written


def unwrap(arguments: str) -> str:
    """The text that stands as one argument in JSON; all of the JSON where it doesn't."""
    value = load_json(arguments.encode("utf-8", "surrogatepass"))
    text = value.get(WRAPPED) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


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
