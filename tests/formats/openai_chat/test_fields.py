"""The tables of Chat Completions: every documented field has a fate, and the code does what they say."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase, CompletionCreateParamsStreaming

from app.core.conversation import Cache, Reasoning
from app.errors import GatewayError
from app.formats.fields import ATTRIBUTES, TOP_LEVEL, Verdict
from app.formats.openai_chat import FORMAT
from app.formats.openai_chat.fields import CLIENT_NAMES
from tests.formats.openai_chat.conversions import foreign, read, target

TOLD = {field.name.split(".")[0].split(":")[0] for field in FORMAT.fields}


def test_every_field_of_the_sdk_has_a_fate() -> None:
    documented = {*CompletionCreateParamsBase.__annotations__, *CompletionCreateParamsStreaming.__annotations__}

    assert documented <= TOLD
    assert len(documented) > 35


def test_every_attribute_has_a_fate() -> None:
    assert set(FORMAT.carries) == set(ATTRIBUTES)


def test_a_field_is_an_attribute_or_has_a_fate() -> None:
    for field in FORMAT.fields:
        assert (field.attribute is None) != (field.fate is None), field.name
        assert field.attribute is None or field.attribute in ATTRIBUTES, field.name
    assert set(CLIENT_NAMES) <= set(ATTRIBUTES)


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in FORMAT.fields
        if field.fate is not None and field.name.isidentifier() and field.fate.verdict is Verdict.REFUSED
    ],
)
def test_what_the_table_refuses_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(None, **{name: {"any": "thing"}})

    assert (caught.value.code, caught.value.param) == ("field_not_supported", name)


VALUES: dict[str, Any] = {
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 40,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 7,
    "stop": ("x",),
    "logprobs": True,
    "top_logprobs": 2,
    "verbosity": "low",
    "service_tier": "flex",
    "user": "u",
    "metadata": {"a": "b"},
    "cache": Cache(),
    "cache_key": "k",
    "modalities": ("text", "image"),
    "reasoning": Reasoning("low"),
}


@pytest.mark.parametrize("attribute", sorted({*TOP_LEVEL, "reasoning"}))
def test_what_the_table_says_of_a_wish_is_done(attribute: str) -> None:
    ask = foreign(**{attribute: VALUES[attribute]}, fields={attribute: "theirs"})
    match FORMAT.carries[attribute].verdict:
        case Verdict.REFUSED:
            with pytest.raises(GatewayError) as caught:
                FORMAT.write_ask(ask, target())
            assert caught.value.param == "theirs"
        case Verdict.DROPPED:
            assert FORMAT.write_ask(ask, target()).dropped == ("theirs",)
        case Verdict.MAPPED:
            assert FORMAT.write_ask(ask, target()).dropped == ()
        case other:
            typing.assert_never(other)
