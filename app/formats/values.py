"""Parts of a client's request, checked: each function returns a value of one type, or says which field isn't that."""

from __future__ import annotations

from typing import Any

from app.errors import GatewayError, invalid_request


def wrong_type(path: str, wanted: str) -> GatewayError:
    """A 400 for a value of another type than `wanted` ("a string")."""
    return invalid_request(f"{path} must be {wanted}", path, "invalid_type")


def wrong_value(path: str, wanted: str) -> GatewayError:
    """A 400 for a value out of its range."""
    return invalid_request(f"{path} must be {wanted}", path, "invalid_value")


def missing(path: str) -> GatewayError:
    """A 400 for what must be there."""
    return invalid_request(f"{path} is required", path, "missing_required_parameter")


def as_object(value: object, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise wrong_type(path, "an object")


def as_array(value: object, path: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise wrong_type(path, "an array")


def as_number(value: object, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise wrong_type(path, "a number")


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
    raise wrong_type(path, "a string")


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
