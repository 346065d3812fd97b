"""Parts of a client's request, checked: each function returns a value of one type, or says which field isn't that."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

from app.errors import GatewayError, invalid_request
from app.formats.fields import unknown_field


def wrong_type(path: str, wanted: str) -> GatewayError:
    """A 400 for a value of another type than `wanted` ("a string")."""
    return invalid_request(f"'{path}' must be {wanted}.", path, "invalid_type")


def wrong_value(path: str, wanted: str) -> GatewayError:
    """A 400 for a value out of its range."""
    return invalid_request(f"'{path}' must be {wanted}.", path, "invalid_value")


def missing(path: str) -> GatewayError:
    """A 400 for what must be there."""
    return invalid_request(f"'{path}' is required.", path, "missing_required_parameter")


def refuse(path: str, title: str, why: str = "", value: object = None) -> GatewayError:
    """A 400 for what no other format has. `title`: the client's format; `value`: the word at fault, where it is one."""
    told = f" {value[:100]!r}" if isinstance(value, str) else ""
    reason = f": {why}" if why else ""
    message = (
        f"'{path}'{told} can't be converted from {title}, and this model's upstream speaks another format{reason}."
    )
    return invalid_request(message, path, "field_not_supported")


def note_others(
    value: dict[str, Any], known: frozenset[str], place: str, path: str, title: str, left_out: list[str]
) -> None:
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
            raise unknown_field(path, title)
        left_out.append(f"{place}.{name}")


def as_object(value: object, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise missing(path) if value is None else wrong_type(path, "an object")


def as_array(value: object, path: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise missing(path) if value is None else wrong_type(path, "an array")


def as_number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(path, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise wrong_value(path, "a number of ordinary size")
    return number


def as_integer(value: object, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong_type(path, "an integer")


def as_boolean(value: object, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong_type(path, "a boolean")


def as_string(value: object, path: str) -> str:
    if isinstance(value, str):
        return value
    raise missing(path) if value is None else wrong_type(path, "a string")


def as_optional_string(value: object, path: str) -> str | None:
    return None if value is None else as_string(value, path)


def take_string(value: dict[str, Any], name: str, path: str) -> str:
    """A string that must be there."""
    text = value.get(name)
    if isinstance(text, str):
        return text
    raise missing(f"{path}.{name}") if text is None else wrong_type(f"{path}.{name}", "a string")


def find_string(value: dict[str, Any], name: str, path: str) -> str | None:
    text = value.get(name)
    return None if text is None else as_string(text, f"{path}.{name}")


def find_boolean(value: dict[str, Any], name: str, path: str) -> bool | None:
    flag = value.get(name)
    return None if flag is None else as_boolean(flag, f"{path}.{name}")
