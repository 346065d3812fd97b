"""A whole response object, read into the canonical answer, and the pieces of one that streams have as well."""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Answer,
    Block,
    Choice,
    Finish,
    Image,
    Media,
    Opaque,
    Refusal,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.errors import UpstreamError, bad_upstream_response
from app.formats.openai_responses.fields import NAME
from app.formats.openai_responses.read_parts import read_citations
from app.formats.openai_responses.reply import FAILED, error_in_body
from app.formats.openai_responses.sealed import unseal_thought
from app.formats.openai_responses.usage import read_usage
from app.formats.refusals import load_json

DONE = frozenset({"completed", "incomplete"})


def read_answer(body: bytes) -> Answer:
    """See `app.formats.base.Format.read_answer`."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    if value.get("error") or value.get("status") == FAILED:
        raise error_in_body(value.get("error"))
    output = value.get("output")
    if not isinstance(output, list):
        raise bad_upstream_response("The upstream's answer has no output.")
    if read_text(value, "status", "completed") not in DONE:
        raise bad_upstream_response("The upstream hasn't finished its answer.")
    blocks: list[Block] = []
    tokens: list[Token] = []
    for item in output:
        blocks += read_item(item)
        tokens += _tokens_of(item)
    called = any(isinstance(block, ToolCall) for block in blocks)
    choice = Choice(tuple(blocks), read_finish(value, called), logprobs=tuple(tokens))
    return Answer(
        id=read_text(value, "id", ""),
        model=read_text(value, "model", ""),
        choices=(choice,),
        created=read_time(value),
        usage=read_usage(value.get("usage"), value.get("service_tier")),
    )


def read_time(response: dict[str, Any]) -> int | None:
    created = response.get("created_at")
    return int(created) if isinstance(created, int | float) and 0 <= created < 2**40 else None


def read_finish(response: dict[str, Any], called: bool) -> Finish:
    """Why a response ended, by its status. One that was cut short is never taken for whole, whatever the reason."""
    if response.get("status") != "incomplete":
        return Finish.TOOL_CALLS if called else Finish.STOP
    details = response.get("incomplete_details")
    match details.get("reason") if isinstance(details, dict) else None:
        case "content_filter":
            return Finish.FILTERED
        case "max_messages" | "steered":
            return Finish.PAUSED
        case _:
            return Finish.LENGTH


def read_item(item: object) -> list[Block]:
    """The blocks of one output item. Raises UpstreamError for one that can't be read."""
    if not isinstance(item, dict):
        raise _unreadable("an output item")
    match item.get("type"):
        case "message":
            parts = item.get("content")
            return [read_part(part) for part in parts] if isinstance(parts, list) else []
        case "reasoning":
            thought = read_thought(item)
            return [thought] if thought.text or thought.signature is not None else []
        case "function_call" | "custom_tool_call":
            return [read_call(item)]
        case "image_generation_call" if isinstance(item.get("result"), str):
            kind = item.get("output_format")
            return [Image(Media(f"image/{kind if isinstance(kind, str) else 'png'}", item["result"]))]
        case kind:
            return [Opaque(NAME, f"output[].{kind}", item)]


def read_part(part: Any) -> Block:
    """One part of a message."""
    match part:
        case {"type": "output_text"}:
            return Text(read_text(part, "text"), read_citations(part.get("annotations")))
        case {"type": "refusal"}:
            return Refusal(read_text(part, "refusal"))
        case {"type": str(kind)}:
            return Opaque(NAME, f"output[].content[].{kind}", part)
        case _:
            raise _unreadable("a part of a message")


def read_thought(item: dict[str, Any]) -> Thinking:
    """A reasoning item: its words, or their summary; both where there are both."""
    texts: list[str] = []
    for name in ("content", "summary"):
        parts = item.get(name)
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict):
                raise _unreadable("a thought")
            texts.append(read_text(part, "text"))
    text = "\n\n".join(filter(None, texts))
    id = (item["id"] or None) if isinstance(item.get("id"), str) else None
    encrypted = item.get("encrypted_content")
    if isinstance(encrypted, str) and encrypted:
        return unseal_thought(encrypted, text, id)
    return Thinking(text, id=id)


def read_call(item: dict[str, Any]) -> ToolCall:
    """A call of a function or of a custom tool, with what it is given as far as that is told."""
    custom = item["type"] == "custom_tool_call"
    words = read_text(item, "input" if custom else "arguments", "")
    id = item.get("call_id") or item.get("id")
    if not isinstance(id, str):
        raise _unreadable("a tool call")
    return ToolCall(id, read_text(item, "name"), words, custom)


def read_tokens(logprobs: object) -> tuple[Token, ...]:
    """Log probabilities as parts and deltas have them; what can't be read is left out."""
    if not logprobs or not isinstance(logprobs, list):
        return ()
    return tuple([token for entry in logprobs if (token := _token(entry)) is not None])


def _token(entry: Any) -> Token | None:
    match entry:
        case {"token": str(token), "logprob": int() | float() as logprob}:
            others = entry.get("top_logprobs")
            pairs = [_token(other) for other in others] if isinstance(others, list) else []
            return Token(token, float(logprob), tuple((other.token, other.logprob) for other in pairs if other))
        case _:
            return None


def _tokens_of(item: object) -> list[Token]:
    parts = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
    tokens: list[Token] = []
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict):
            tokens += read_tokens(part.get("logprobs"))
    return tokens


def read_text(value: dict[str, Any], name: str, otherwise: str | None = None) -> str:
    """A string of an answer. Raises UpstreamError for anything else; where it is missing too, unless there's another."""
    text = value.get(name)
    if isinstance(text, str):
        return text
    if text is None and otherwise is not None:
        return otherwise
    raise _unreadable(f"'{name}'")


def _unreadable(what: str) -> UpstreamError:
    return bad_upstream_response(f"The upstream's answer can't be read: {what}.")
