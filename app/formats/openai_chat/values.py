"""Values of a request that is converted, checked by type: a 400 that names the place where one is wrong."""

from __future__ import annotations

from typing import Any

from app.errors import GatewayError, invalid_request
from app.formats.fields import unknown_field
from app.formats.openai_chat.fields import TITLE


def wrong_type(path: str, wanted: str) -> GatewayError:
    return invalid_request(f"'{path}' must be {wanted}.", path, "invalid_type")


def wrong_value(path: str, wanted: str) -> GatewayError:
    """A 400 for a value that is of the right type, and none of those that are allowed."""
    return invalid_request(f"'{path}' must be {wanted}.", path, "invalid_value")


def missing(path: str) -> GatewayError:
    return invalid_request(f"'{path}' is required.", path, "missing_required_parameter")


def refuse(path: str, why: str = "") -> GatewayError:
    """A 400 for what no other format has."""
    reason = f": {why}" if why else ""
    message = f"'{path}' can't be converted from {TITLE}, and this model's upstream speaks another format{reason}."
    return invalid_request(message, path, "field_not_supported")


def as_object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise missing(path) if value is None else wrong_type(path, "an object")
    return value


def as_list(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise missing(path) if value is None else wrong_type(path, "an array")
    return value


def as_text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise missing(path) if value is None else wrong_type(path, "a string")
    return value


def as_optional_text(value: object, path: str) -> str | None:
    return None if value is None else as_text(value, path)


def as_boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean")
    return value


def as_integer(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(path, "an integer")
    return value


def as_number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(path, "a number")
    try:
        return float(value)
    except OverflowError as error:
        raise wrong_value(path, "a number of ordinary size") from error


def note_others(value: dict[str, Any], known: frozenset[str], place: str, path: str, left_out: list[str]) -> None:
    """Notes the fields of an object that aren't known: they are left out by name, `place` before it.

    Null, and what is empty, says nothing. Raises for a name that is no plain one: it would stand in a header. `path`: the
    object's own place in the request.
    """
    if value.keys() <= known:
        return
    for name in value.keys() - known:
        if value[name] in (None, [], {}, "", False):
            continue
        if not (name.isascii() and name.isidentifier()):
            raise unknown_field(path, TITLE)
        left_out.append(f"{place}.{name}")
