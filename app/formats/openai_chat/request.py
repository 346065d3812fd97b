"""Reading and patching a Chat Completions request without materialising its messages.

The body is decoded one level deep, into raw JSON by field. What isn't patched goes out as the very bytes that came in,
unknown fields, number spellings and escapes included. Source of the fields: OpenAI's API reference, "Create chat
completion".
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from app.errors import invalid_request
from app.formats.base import Request

CAP_FIELDS = ("max_completion_tokens", "max_tokens")
MAX_CHOICES = 128
MAX_OUTPUT_CAP = 10_000_000

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
T = TypeVar("T")

_TRUE = msgspec.Raw(b"true")
_BLANKS = " \t\n\r"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_string = msgspec.json.Decoder(str)
_boolean = msgspec.json.Decoder(bool | None)
_integer = msgspec.json.Decoder(int | None)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)


def read_request(body: bytes) -> Request:
    """Checks exactly the fields that the gateway acts on; the rest is between the client and the upstream."""
    fields = read_fields(body)
    model = _read(fields, "model", _string, "a string")
    if not model:
        raise invalid_request("You must name a model.", "model", code="missing_required_parameter")
    messages = fields.get("messages")
    if messages is None:
        raise invalid_request("'messages' is required.", "messages", code="missing_required_parameter")
    if not bytes(messages).startswith(b"["):
        raise invalid_request("'messages' must be an array.", "messages", code="invalid_type")
    # With both set, an upstream that knows only one of them heeds that one: the larger is what may have to be paid.
    caps = [cap for name in CAP_FIELDS if (cap := _read_count(fields, name, MAX_OUTPUT_CAP)) is not None]
    options = _read(fields, "stream_options", _stream_options, "an object")
    return Request(
        model=model,
        stream=bool(_read(fields, "stream", _boolean, "a boolean")),
        wants_usage=options is not None and bool(options.include_usage),
        output_cap=max(caps, default=None),
        choices=_read_count(fields, "n", MAX_CHOICES) or 1,
        fields=fields,
        body=body,
    )


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object, raw. Raises GatewayError 400 for anything else."""
    if not body:
        raise invalid_request("The request has no body; send a JSON object.", code="missing_body")
    try:
        if not body.isascii():
            body.decode("utf-8")
        return _fields.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_request("The request body must be a JSON object.", code="invalid_json") from error
    except UnicodeDecodeError as error:
        raise invalid_request("The request body isn't valid UTF-8.", code="invalid_json") from error
    except RecursionError as error:
        raise invalid_request("The request body is nested too deeply.", code="invalid_json") from error
    except msgspec.DecodeError as error:
        return _read_lenient(body, error)


def _read_lenient(body: bytes, cause: msgspec.DecodeError) -> dict[str, msgspec.Raw]:
    # A truncated emoji leaves an escaped lone surrogate (`\ud83d`) in a client's history: JSON allows it, the fast
    # decoder does not. Python's own does, and says where each value ends, so that the bytes can go out as they came.
    if b"\\ud" not in body.lower():
        raise invalid_request(f"The request body isn't valid JSON: {_reason(cause)}.", code="invalid_json") from cause
    try:
        return _slice_fields(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"The request body isn't valid JSON: {_reason(cause)}.", code="invalid_json") from error


def _slice_fields(text: str) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, cut out of its text. Raises ValueError for anything else."""
    scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
    fields: dict[str, msgspec.Raw] = {}
    at = _skip(text, 0, "{")
    while text[at : at + 1] != "}":
        if fields:
            at = _skip(text, at, ",")
        name, end = scan(text, at)
        start = _skip(text, end, ":")
        _, end = scan(text, start)
        if not isinstance(name, str):
            raise ValueError("a field's name is no string")
        name.encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate: no upstream could be sent that name
        fields[name] = msgspec.Raw(text[start:end].encode())
        at = _past_blanks(text, end)
    if text[at + 1 :].strip(_BLANKS):
        raise ValueError("something follows the object")
    return fields


def _skip(text: str, at: int, token: str) -> int:
    """The index of what comes after blanks, `token`, and blanks again. Raises ValueError without the token."""
    at = _past_blanks(text, at)
    if not text.startswith(token, at):
        raise ValueError(f"{token} is missing")
    return _past_blanks(text, at + len(token))


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _reason(error: msgspec.DecodeError) -> str:
    return str(error).removeprefix("JSON is malformed: ").rstrip(".").lower()


def _is_set(value: msgspec.Raw | None) -> bool:
    return value is not None and bytes(value) != b"null"


def _read(fields: dict[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T], wanted: str) -> Any:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise invalid_request(f"'{name}' must be {wanted}.", name, code="invalid_type") from error


def _read_count(fields: dict[str, msgspec.Raw], name: str, most: int) -> int | None:
    value = _read(fields, name, _integer, "an integer")
    if value is not None and not 1 <= value <= most:
        raise invalid_request(f"'{name}' must be between 1 and {most}.", name, code="invalid_value")
    return None if value is None else int(value)


def write_request(request: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
    """The request for an upstream: `model` replaced, usage forced on for streams, the output cap lowered if asked."""
    fields = dict(request.fields)
    fields["model"] = msgspec.Raw(_encode(model))
    if request.stream and not request.wants_usage:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    if output_cap is not None:
        for name in [name for name in CAP_FIELDS if _is_set(fields.get(name))] or [cap_field]:
            asked = _read_count(fields, name, MAX_OUTPUT_CAP)
            fields[name] = msgspec.Raw(b"%d" % (output_cap if asked is None else min(asked, output_cap)))
    return _encode(fields)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    kept = _fields.decode(options) if options is not None and _is_set(options) else {}
    kept["include_usage"] = _TRUE
    return msgspec.Raw(_encode(kept))
