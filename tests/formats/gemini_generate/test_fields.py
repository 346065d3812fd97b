"""The table of fields: every documented one stands in it, and the code does what it says."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from google.genai import models, types

from app.core.conversation import Ask
from app.errors import GatewayError
from app.formats.fields import ATTRIBUTES, TOP_LEVEL, Fate, Verdict
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.spelling import respell, snake
from tests.formats.gemini_generate.shapes import ask

NAMES = {field.name for field in FORMAT.fields}
TOP = re.compile(r"[a-zA-Z]+")
SET = re.compile(r"\b(to_object|parent_object),\s*\['(\w+)'\]")


def set_by(converter: Any) -> tuple[set[str], set[str]]:
    """What a converter of the SDK writes into its own object, and into the one around it."""
    found = SET.findall(inspect.getsource(converter))
    return {name for place, name in found if place == "to_object"}, {
        n for place, n in found if place == "parent_object"
    }


def named(prefix: str) -> set[str]:
    return {
        rest for name in NAMES if name.startswith(prefix) and (rest := re.split(r"[\[.: ]", name[len(prefix) :])[0])
    }


def test_every_field_of_the_sdk_is_in_the_table() -> None:
    config: set[str] = set()
    top = {"contents"}
    for converter in (models._GenerateContentConfig_to_mldev, models._GenerateContentConfig_to_vertex):
        own, around = set_by(converter)
        config |= own
        top |= around
    parts = set_by(models._Part_to_mldev)[0]
    tools = set_by(models._Tool_to_mldev)[0]

    assert config <= named("generationConfig.")
    assert top <= {TOP.match(name)[0] for name in NAMES}  # type: ignore[index]
    assert parts <= named("contents[].parts[].")
    assert tools <= named("tools[].")
    assert set_by(models._ToolConfig_to_mldev)[0] <= named("toolConfig.")
    for kind, prefix in (
        (types.FunctionDeclaration, "tools[].functionDeclarations[]."),
        (types.FunctionResponse, "contents[].parts[].functionResponse."),
    ):
        known = named(prefix) | {"name", "description", "id", "response"}
        assert {field.alias for field in kind.model_fields.values()} <= known


def test_every_name_has_its_other_spelling() -> None:
    for name in NAMES:
        for word in re.findall(r"[a-z][a-zA-Z]+", name.partition(":")[0].partition(" ")[0]):
            assert respell({snake(word): 1}) == {word: 1}, name


def test_each_field_says_where_it_goes() -> None:
    assert len(NAMES) == len(FORMAT.fields)
    for field in FORMAT.fields:
        assert (field.attribute is None) != (field.fate is None), field.name
        assert field.attribute is None or field.attribute in ATTRIBUTES


def test_every_attribute_has_a_fate() -> None:
    assert set(FORMAT.carries) == set(ATTRIBUTES)


def nested(name: str, value: Any) -> dict[str, Any]:
    """A request with one field, by its path."""
    head, _, rest = name.partition(".")
    inner = nested(rest, value) if rest else value
    if head.startswith("contents") and rest:
        return {"contents": [inner]}
    return {head.removesuffix("[]"): [inner] if head.endswith("[]") else inner}


@pytest.mark.parametrize(
    ("name", "fate"),
    [(f.name, f.fate) for f in FORMAT.fields if f.fate and ":" not in f.name and "functionResponse" not in f.name],
)
def test_the_code_does_what_the_table_says(name: str, fate: Fate) -> None:
    request = nested(name, "x" if name.endswith("behavior") else {"x": 1})
    if "functionDeclarations" in name:
        request["tools"][0]["functionDeclarations"][0]["name"] = "f"
    place = name.replace("[]", "[0]")
    if fate.verdict is Verdict.DROPPED:
        assert FORMAT.read_ask(ask(**request)).dropped == (place,)
        return
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_ask(ask(**request))
    assert (caught.value.param, caught.value.code) == (place, "field_not_supported")


@pytest.mark.parametrize("attribute", TOP_LEVEL)
def test_the_attributes_of_the_table_are_those_of_a_request(attribute: str) -> None:
    assert attribute in Ask.__struct_fields__
