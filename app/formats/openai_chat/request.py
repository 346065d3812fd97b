"""Reading and patching a Chat Completions request without materialising its messages.

Source of the fields: OpenAI's API reference, "Create chat completion".
"""

from __future__ import annotations

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

CAP_FIELDS = ("max_completion_tokens", "max_tokens")
MAX_CHOICES = 128

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

_TRUE = msgspec.Raw(b"true")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_stream_options = msgspec.json.Decoder(_StreamOptions | None)


def read_request(body: bytes) -> Request:
    """Checks exactly the fields that the gateway acts on; the rest is between the client and the upstream."""
    fields = read_fields(body)
    model = read_model(fields)
    messages = read_required(fields, "messages", b"[", "an array")
    # With both set, an upstream that knows only one of them heeds that one: the larger is what may have to be paid.
    caps = [cap for name in CAP_FIELDS if (cap := read_count(fields, name, MAX_OUTPUT_CAP)) is not None]
    return Request(
        model=model,
        stream=read_boolean(fields, "stream"),
        wants_usage=include_usage(fields),
        output_cap=max(caps, default=None),
        choices=read_count(fields, "n", MAX_CHOICES) or 1,
        fields=fields,
        body=body,
        conversation=messages,
    )


def write_request(request: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
    """The request for an upstream: `model` replaced, usage forced on for streams, the output cap lowered if asked."""
    fields = dict(request.fields)
    fields["model"] = msgspec.Raw(_encode(model))
    if request.stream and not request.wants_usage:
        fields["stream_options"] = with_usage(fields.get("stream_options"))
    if output_cap is not None:
        for name in [name for name in CAP_FIELDS if is_set(fields.get(name))] or [cap_field]:
            asked = read_count(fields, name, MAX_OUTPUT_CAP)
            fields[name] = msgspec.Raw(b"%d" % (output_cap if asked is None else min(asked, output_cap)))
    return _encode(fields)


def include_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether a stream's client asked for its usage. Raises GatewayError 400."""
    options = read_field(fields, "stream_options", _stream_options, "an object")
    return options is not None and bool(options.include_usage)


def with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """`stream_options` that ask for usage, whatever else they hold."""
    kept = _fields.decode(options) if options is not None and is_set(options) else {}
    kept["include_usage"] = _TRUE
    return msgspec.Raw(_encode(kept))
