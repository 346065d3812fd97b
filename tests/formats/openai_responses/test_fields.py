"""The tables of what becomes of each field: whole, and what the conversion does."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from app.core.conversation import Ask, Message, Text
from app.errors import GatewayError
from app.formats.fields import ATTRIBUTES, TOP_LEVEL, Verdict
from app.formats.openai_responses import FORMAT
from app.formats.openai_responses.fields import CLIENT_NAMES
from tests.formats.openai_responses.examples import TARGET, ask

VALUES: dict[str, Any] = {
    "max_tool_calls": 3,
    "prompt_cache_retention": "24h",
    "store": True,
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "prompt": {"id": "pmpt_1"},
    "background": True,
    "background_options": {"completion_window": "2h"},
    "context_management": [{"type": "compaction"}],
    "moderation": {"model": "m"},
    "access_programs": {"cyber": "standard"},
    "truncation": "auto",
    "include": ["file_search_call.results"],
    "stream_options.include_obfuscation": True,
    "reasoning.context": "all_turns",
    "reasoning.mode": "pro",
    "prompt_cache_options.mode": "explicit",
    "prompt_cache_options.comparison_response_id": "resp_1",
    "prompt_cache_options.prewarm": True,
    "image.context_compression": "enabled",
}
"""A value that asks for something, for every top-level field that no other format has."""

LOST = [field for field in FORMAT.fields if field.fate is not None and "[" not in field.name and ":" not in field.name]


def test_every_field_of_the_sdk_is_in_the_table() -> None:
    told = {field.name.split(".")[0].split("[")[0].split(":")[0] for field in FORMAT.fields}

    assert set(ResponseCreateParamsBase.__annotations__) | {"stream"} == told


def test_every_attribute_has_a_fate() -> None:
    assert set(FORMAT.carries) == set(ATTRIBUTES)
    assert {field.attribute for field in FORMAT.fields} - {None} <= set(ATTRIBUTES)
    assert all((field.attribute is None) != (field.fate is None) for field in FORMAT.fields)
    assert set(CLIENT_NAMES) <= {*ATTRIBUTES, *Ask.__struct_fields__}


@pytest.mark.parametrize(
    "field", [pytest.param(field, id=field.name) for field in LOST if field.name != "tool_choice.type"]
)
def test_a_field_without_equal_meets_its_fate(field: Any) -> None:
    name, _, inner = field.name.partition(".")
    value = VALUES[field.name]
    fields = {name: {inner: value} if inner else value}

    if field.fate.verdict is Verdict.DROPPED:
        assert ask(**fields).dropped == (field.name,)
    else:
        with pytest.raises(GatewayError) as caught:
            ask(**fields)
        assert caught.value.code == "field_not_supported"
        assert str(caught.value.param).startswith(field.name)


ASKED: dict[str, Any] = {
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 1,
    "stop": ("x",),
    "logprobs": True,
    "top_logprobs": 2,
    "verbosity": "low",
    "service_tier": "flex",
    "user": "u",
    "metadata": {"a": "b"},
    "cache_key": "k",
    "modalities": ("audio",),
}


@pytest.mark.parametrize("attribute", sorted(set(TOP_LEVEL) - {"cache"}))
def test_an_attribute_meets_its_fate(attribute: str) -> None:
    plain = Ask(format="x", model="m", messages=(Message("user", (Text("hi"),)),), logprobs=attribute == "top_logprobs")
    asked = Ask(**{name: getattr(plain, name) for name in Ask.__struct_fields__} | {attribute: ASKED[attribute]})

    match FORMAT.carries[attribute].verdict:
        case Verdict.REFUSED:
            with pytest.raises(GatewayError) as caught:
                FORMAT.write_ask(asked, TARGET)
            assert (caught.value.code, caught.value.param) == ("field_not_supported", attribute)
        case Verdict.DROPPED:
            assert FORMAT.write_ask(asked, TARGET).dropped == (attribute,)
        case Verdict.MAPPED:
            written = FORMAT.write_ask(asked, TARGET)
            assert written.dropped == ()
            assert written.body != FORMAT.write_ask(plain, TARGET).body
