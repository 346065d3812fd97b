"""Inputs as completions and embeddings take them: a text, several, the tokens of one, or those of several."""

from dataclasses import dataclass
from typing import Any

from app.demo.answers import Writer
from app.demo.openai_errors import Refusal

MOST_INPUTS = 2_048


@dataclass(frozen=True, slots=True)
class Input:
    """One input and what it counts."""

    text: str
    tokens: int


def read_inputs(writer: Writer, value: Any, name: str) -> list[Input]:
    """The inputs in order; raises Refusal."""
    if isinstance(value, str):
        return [Input(value, writer.count(value))]
    if not isinstance(value, list):
        raise _refuse_type(name, "a string, an array of strings, or an array of tokens")
    if not value:
        raise Refusal(400, f"Invalid '{name}': empty array.", code="empty_array", param=name)
    if _is_tokens(value):
        return [_spell(writer, value, name)]
    if len(value) > MOST_INPUTS:
        raise Refusal(400, f"Invalid '{name}': at most {MOST_INPUTS} items.", code="array_above_max_length", param=name)
    return [_read_item(writer, item, f"{name}[{index}]") for index, item in enumerate(value)]


def _read_item(writer: Writer, item: Any, path: str) -> Input:
    if isinstance(item, str):
        return Input(item, writer.count(item))
    if isinstance(item, list) and item and _is_tokens(item):
        return _spell(writer, item, path)
    raise _refuse_type(path, "a string or an array of tokens")


def _is_tokens(value: list[Any]) -> bool:
    return all(isinstance(token, int) and not isinstance(token, bool) for token in value)


def _spell(writer: Writer, tokens: list[int], path: str) -> Input:
    try:
        return Input(writer.spell(tokens), len(tokens))
    except (KeyError, OverflowError) as error:
        raise Refusal(400, f"Invalid '{path}': unknown token.", code="invalid_value", param=path) from error


def _refuse_type(path: str, wanted: str) -> Refusal:
    return Refusal(400, f"Invalid type for '{path}': expected {wanted}.", code="invalid_type", param=path)
