"""Reading and patching a Messages request without materialising its messages.

Source of the fields: Anthropic's API reference, "Create a Message" and "Count tokens in a Message".
"""

from __future__ import annotations

import msgspec

from app.errors import invalid_request
from app.formats.anthropic_messages.thoughts import without_foreign_thoughts
from app.formats.base import Request
from app.formats.body import (
    MAX_OUTPUT_CAP,
    is_set,
    read_boolean,
    read_field,
    read_fields,
    read_model,
    read_required,
)

LEAST_BUDGET = 1024
"""Tokens of thinking that Anthropic takes as a budget at least; a budget must also be below `max_tokens`."""

_encode = msgspec.json.Encoder().encode
_integer = msgspec.json.Decoder(int | None)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Thread(msgspec.Struct):
    type: str | None = None
    previous_message_id: str | None = None


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None


_thread = msgspec.json.Decoder(_Thread | None)
_thinking = msgspec.json.Decoder(_Thinking | None)


def read_request(body: bytes) -> Request:
    """Checks exactly the fields that the gateway acts on; the rest is between the client and the upstream."""
    fields = read_fields(body)
    model = read_model(fields)
    messages = read_required(fields, "messages", b"[", "an array")
    cap = _read_cap(fields)
    if cap is None:
        raise invalid_request("'max_tokens' is required.", "max_tokens", code="missing_required_parameter")
    if is_set(fields.get("fallbacks")):
        message = "'fallbacks' name other models than the one that this request is allowed and priced by."
        raise invalid_request(message, "fallbacks", code="field_not_supported")
    thread = read_field(fields, "thread", _thread, "an object")
    return Request(
        model=model,
        stream=read_boolean(fields, "stream"),
        wants_usage=True,
        output_cap=cap,
        choices=1,
        fields=fields,
        body=body,
        conversation=messages,
        builds_on=() if thread is None or thread.previous_message_id is None else (thread.previous_message_id,),
        kept=thread is not None,
    )


def read_count(body: bytes) -> Request:
    """A request for a count of input tokens: no answer, so no cap and no stream."""
    fields = read_fields(body)
    return Request(
        model=read_model(fields),
        stream=False,
        wants_usage=True,
        output_cap=None,
        choices=1,
        fields=fields,
        body=body,
        conversation=read_required(fields, "messages", b"[", "an array"),
    )


def write_count(tokens: int) -> bytes:
    return _encode({"input_tokens": tokens})


def write_request(request: Request, *, model: str, output_cap: int | None) -> bytes:
    """The request for an upstream: `model` replaced, the output cap lowered if asked, with the budget of thinking inside it.

    Thoughts of other vendors are left out, which only the gateway itself can have put there.
    """
    fields = dict(request.fields)
    fields["model"] = msgspec.Raw(_encode(model))
    fields["messages"] = without_foreign_thoughts(request.conversation)
    asked = request.output_cap
    if output_cap is not None and (asked is None or output_cap < asked):
        fields["max_tokens"] = msgspec.Raw(b"%d" % output_cap)
        if asked is not None and is_set(fields.get("thinking")):
            fields["thinking"] = _fit_budget(fields["thinking"], asked, output_cap)
    return _encode(fields)


def _read_cap(fields: dict[str, msgspec.Raw]) -> int | None:
    """Zero is a cap too: it fills the prompt cache and answers nothing."""
    cap = read_field(fields, "max_tokens", _integer, "an integer")
    if cap is not None and not 0 <= cap <= MAX_OUTPUT_CAP:
        raise invalid_request(
            f"'max_tokens' must be between 0 and {MAX_OUTPUT_CAP}.", "max_tokens", code="invalid_value"
        )
    return None if cap is None else int(cap)


def _fit_budget(thinking: msgspec.Raw, asked: int, cap: int) -> msgspec.Raw:
    """A budget keeps its share of a cap that was lowered, so that some of it is left for the answer.

    Where not even the least budget fits, it stays: the upstream refuses it in words that name both numbers, while an answer
    without the thinking that was asked for would be another product, unnoticed.
    """
    try:
        budget = (_thinking.decode(thinking) or _Thinking()).budget_tokens
    except msgspec.MsgspecError:
        return thinking  # the upstream says what is wrong with it
    if budget is None or budget < cap or cap <= LEAST_BUDGET:
        return thinking
    fields = _fields.decode(thinking)
    fields["budget_tokens"] = msgspec.Raw(b"%d" % min(max(budget * cap // asked, LEAST_BUDGET), cap - 1))
    return msgspec.Raw(_encode(fields))
