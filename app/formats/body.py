"""A JSON request decoded one level deep, into raw JSON by field: what isn't patched goes out as the bytes that came in.

Unknown fields, number spellings and escapes are kept that way, and a long conversation is never materialised.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from app.errors import invalid_request

MAX_OUTPUT_CAP = 10_000_000

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder().decode
_integer = msgspec.json.Decoder(int | None)
_string = msgspec.json.Decoder(str)
_boolean = msgspec.json.Decoder(bool | None)
T = TypeVar("T")

_BLANKS = " \t\n\r"


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


def decode_json(raw: bytes | msgspec.Raw) -> Any:
    """The value of a field, or of a whole body. Raises GatewayError 400 for what is no JSON.

    Escaped lone surrogates, which clients cut out of emojis, are no reason to refuse it.
    """
    try:
        return _value(raw)
    except RecursionError as error:
        raise invalid_request("The request body is nested too deeply.", code="invalid_json") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError) as error:
        raise invalid_request("The request body isn't valid JSON.", code="invalid_json") from error


def is_set(value: msgspec.Raw | None) -> bool:
    return value is not None and bytes(value) != b"null"


def read_field(fields: dict[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T], wanted: str) -> Any:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise invalid_request(f"'{name}' must be {wanted}.", name, code="invalid_type") from error


def read_count(fields: dict[str, msgspec.Raw], name: str, most: int, *, least: int = 1) -> int | None:
    value = read_field(fields, name, _integer, "an integer")
    if value is not None and not least <= value <= most:
        raise invalid_request(f"'{name}' must be between {least} and {most}.", name, code="invalid_value")
    return None if value is None else int(value)


def read_model(fields: dict[str, msgspec.Raw]) -> str:
    """The model's name. Raises GatewayError 400 without one."""
    model = read_field(fields, "model", _string, "a string")
    if not model:
        raise invalid_request("You must name a model.", "model", code="missing_required_parameter")
    return str(model)


def read_boolean(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """A boolean; absent and null are false. Raises GatewayError 400 naming the field for anything else."""
    return bool(read_field(fields, name, _boolean, "a boolean"))


def read_required(fields: dict[str, msgspec.Raw], name: str, start: bytes, wanted: str) -> msgspec.Raw:
    """A field that must be there, and begin with one of `start` (`b"["` is an array). Raises GatewayError 400 naming it."""
    value = fields.get(name)
    if value is None:
        raise invalid_request(f"'{name}' is required.", name, code="missing_required_parameter")
    if bytes(value)[:1] not in (start[i : i + 1] for i in range(len(start))):
        raise invalid_request(f"'{name}' must be {wanted}.", name, code="invalid_type")
    return value
