"""Results of functions: an object to Google, text to everybody else.

Source: google-genai's `FunctionResponse`: "output" and "error" are the keys it knows; without them all of it is output.
"""

from __future__ import annotations

from typing import Any

from app.formats.gemini_generate.parts import load_object, write_arguments


def write_response(text: str, is_error: bool) -> dict[str, Any]:
    """The object that a result must be: the one that its text is, or one around it."""
    value = load_object(text)
    if is_error:
        return {"error": text if value is None or not text else value}
    return {"output": text} if value is None else value


def read_response(response: dict[str, Any]) -> tuple[str, bool]:
    """Text and error flag of a result, so that `write_response` makes the same object of them."""
    if len(response) == 1:
        for name, is_error in (("output", False), ("error", True)):
            inner = response.get(name)
            if isinstance(inner, str) and load_object(inner) is None:
                return inner, is_error
            if is_error and isinstance(inner, dict):
                return write_arguments(inner), True
    return (write_arguments(response), False) if response else ("", False)
