"""Reading and patching a Responses request without materialising its input.

Source of the fields: OpenAI's API reference, "Create a model response", and `response_create_params.py` of its SDK.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from app.formats.base import Request
from app.formats.body import (
    MAX_OUTPUT_CAP,
    is_set,
    read_boolean,
    read_count,
    read_field,
    read_fields,
    read_model,
    read_required,
)
from app.formats.openai_responses.sealed import without_foreign_thoughts
from app.formats.refusals import load_json

CAP_FIELD = "max_output_tokens"

_NO_INPUT = msgspec.Raw(b'""')


class _Conversation(msgspec.Struct):
    id: str


_encode = msgspec.json.Encoder().encode
_string = msgspec.json.Decoder(str | None)
_boolean = msgspec.json.Decoder(bool | None)
_items = msgspec.json.Decoder(list[dict[str, Any]])
_conversation = msgspec.json.Decoder(str | _Conversation | None)


def read_request(body: bytes) -> Request:
    """Checks exactly the fields that the gateway acts on; the rest is between the client and the upstream.

    A request may have no input where it goes on with what its upstream keeps. A prompt template may name a model of its own;
    the gateway needs one all the same, to price and to route by.
    """
    fields = read_fields(body)
    model = read_model(fields)
    given = _NO_INPUT
    if is_set(fields.get("input")):
        given = read_required(fields, "input", b'"[', "a string or an array")
    return Request(
        model=model,
        stream=read_boolean(fields, "stream"),
        wants_usage=True,
        output_cap=read_count(fields, CAP_FIELD, MAX_OUTPUT_CAP),
        choices=1,
        fields=fields,
        body=body,
        conversation=given,
        builds_on=_builds_on(fields, given),
        kept=read_field(fields, "store", _boolean, "a boolean") is not False,
        background=read_boolean(fields, "background"),
    )


def _builds_on(fields: dict[str, msgspec.Raw], given: msgspec.Raw) -> tuple[str, ...]:
    """What an upstream keeps and this request goes on with: an earlier response, a conversation, items of its input."""
    previous = read_field(fields, "previous_response_id", _string, "a string")
    conversation = read_field(fields, "conversation", _conversation, "a string or an object with an id")
    if isinstance(conversation, _Conversation):
        conversation = conversation.id
    return tuple(id for id in (previous, conversation, *_references(given)) if id)


def _references(given: msgspec.Raw) -> Iterator[str]:
    """The ids of items that stand in the input by their id alone; the type of such an item may be left out."""
    raw = bytes(given)
    if b'"id"' not in raw or not raw.startswith(b"["):
        return
    try:
        items = _items.decode(given)
    except msgspec.MsgspecError:  # lone surrogates, or what its upstream will refuse
        items = [item for item in load_json(raw) or () if isinstance(item, dict)]
    for item in items:
        kind = item.get("type")
        if kind == "item_reference" or (kind is None and "role" not in item):
            yield str(item.get("id") or "")


def write_request(request: Request, *, model: str, output_cap: int | None) -> bytes:
    """The request for an upstream: `model` replaced, the output cap lowered if asked, others' sealed thoughts left out."""
    fields = dict(request.fields)
    fields["model"] = msgspec.Raw(_encode(model))
    if output_cap is not None:
        asked = request.output_cap
        fields[CAP_FIELD] = msgspec.Raw(b"%d" % (output_cap if asked is None else min(asked, output_cap)))
    if "input" in fields:
        fields["input"] = without_foreign_thoughts(fields["input"])
    return _encode(fields)
