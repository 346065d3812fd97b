"""The table of fields: every documented one stands in it, and the code does what it says."""

from __future__ import annotations

from typing import get_args

import pytest
from anthropic.types import MessageParam, message_create_params
from anthropic.types.beta import message_create_params as beta
from anthropic.types.tool_param import ToolParam

from app.core.conversation import Ask
from app.errors import GatewayError
from app.formats.anthropic_messages import FORMAT
from app.formats.fields import ATTRIBUTES, TOP_LEVEL, Fate, Verdict
from tests.formats.anthropic_messages.shapes import ask

# Of the Python SDK alone: a header's values.
HEADERS = {"betas"}
# Of API version 2023-06-01 alone, which the SDK has no types for any more.
OLD = {"temperature", "top_p", "top_k"}
NAMES = {field.name for field in FORMAT.fields}
ROOTS = {name.split("[")[0].split(".")[0] for name in NAMES}


def test_every_field_of_the_sdk_is_in_the_table() -> None:
    documented = {"stream"}
    for params in (message_create_params.MessageCreateParamsBase, beta.MessageCreateParamsBase):
        documented |= set(params.__annotations__)

    assert documented - HEADERS == ROOTS - OLD
    assert {f"tools[].{name}" for name in ToolParam.__annotations__} - NAMES == {
        "tools[].name", "tools[].description", "tools[].input_schema"}  # fmt: skip
    assert len(get_args(MessageParam)) == 3


def test_each_field_says_where_it_goes() -> None:
    assert len(NAMES) == len(FORMAT.fields)
    for field in FORMAT.fields:
        assert (field.attribute is None) != (field.fate is None), field.name
        assert field.attribute is None or field.attribute in ATTRIBUTES


def test_every_attribute_has_a_fate() -> None:
    assert set(FORMAT.carries) == set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("name", "fate"), [(f.name, f.fate) for f in FORMAT.fields if f.fate and "[" not in f.name and "." not in f.name]
)
def test_the_code_does_what_the_table_says(name: str, fate: Fate) -> None:
    if fate.verdict is Verdict.DROPPED:
        assert FORMAT.read_ask(ask(**{name: {}})).dropped == (name,)
        return
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_ask(ask(**{name: {}}))
    assert caught.value.param == name


@pytest.mark.parametrize("attribute", TOP_LEVEL)
def test_the_attributes_of_the_table_are_those_of_a_request(attribute: str) -> None:
    assert attribute in Ask.__struct_fields__
