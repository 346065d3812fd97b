"""Reads what OpenAI's media APIs take alike: fields as JSON or as a form, numbers as such or as text."""

from typing import Any

from app.demo.exchange import Exchange
from app.demo.forms import MULTIPART, Form, read_form
from app.demo.media.desk import Trouble, read_object


def read_fields(exchange: Exchange, body: bytes) -> Form:
    """The fields of a JSON object, or fields and files of a form; raises Trouble 400."""
    content_type = exchange.header(b"content-type")
    if not content_type.startswith(MULTIPART):
        return Form(read_object(body), {})
    try:
        return read_form(content_type, body)
    except ValueError as error:  # bad UTF-8 in a field included
        raise Trouble(400, f"We could not parse the form of your request: {error}") from error


def want_text(fields: dict[str, Any], name: str, longest: int = 32_000) -> str:
    """A text that has to be there; raises Trouble 400."""
    value = fields.get(name)
    if value is None or value == "":
        raise Trouble(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    if not isinstance(value, str):
        raise Trouble(400, f"Invalid type for '{name}': expected a string.", "invalid_type", name)
    if len(value) > longest:
        message = f"Invalid '{name}': string too long. Expected a string with maximum length {longest}."
        raise Trouble(400, message, "string_above_max_length", name)
    return value


def read_text(fields: dict[str, Any], name: str, default: str) -> str:
    """A text that may be missing; raises Trouble 400."""
    return default if fields.get(name) is None else want_text(fields, name)


def read_number(fields: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number, or a text that spells one, within bounds; raises Trouble 400."""
    value = fields.get(name)
    if value is None:
        return default
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None:
        raise Trouble(400, f"Invalid type for '{name}': expected a number.", "invalid_type", name)
    if not least <= number <= most:
        raise Trouble(400, f"Invalid '{name}': must be from {least:g} to {most:g}.", "invalid_value", name)
    return number


def read_choice(fields: dict[str, Any], name: str, default: str, choices: tuple[str, ...]) -> str:
    """One of some texts; raises Trouble 400."""
    value = read_text(fields, name, default)
    if value not in choices:
        listed = ", ".join(f"'{choice}'" for choice in choices)
        message = f"Invalid value: '{value}'. Supported values are: {listed}."
        raise Trouble(400, message, "invalid_value", name)
    return value
