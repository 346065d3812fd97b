"""Reading a Responses request, and patching it without touching the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.conversation import Signature
from app.core.images import LOW, MOST
from app.core.signatures import seal
from app.errors import GatewayError
from app.formats.body import MAX_OUTPUT_CAP
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import body, request, thought


def refused(raw: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_request(raw)
    assert caught.value.status == 400
    return caught.value


def patched(raw: bytes, *, model: str = "up", output_cap: int | None = None) -> bytes:
    return FORMAT.write_request(FORMAT.read_request(raw), model=model, output_cap=output_cap, cap_field="max_tokens")


def test_a_plain_request() -> None:
    asked = request()

    assert (asked.model, asked.stream, asked.wants_usage, asked.choices) == ("m", False, True, 1)
    assert (asked.output_cap, asked.builds_on, asked.background) == (None, (), False)
    assert bytes(asked.conversation) == b'"hi"'


@pytest.mark.parametrize(
    ("store", "kept"), [({}, True), ({"store": None}, True), ({"store": True}, True), ({"store": False}, False)]
)
def test_an_upstream_keeps_a_response_unless_told_otherwise(store: dict[str, Any], kept: bool) -> None:
    assert request(**store).kept is kept


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"previous_response_id": "resp_1"}, ("resp_1",)),
        ({"conversation": "conv_1"}, ("conv_1",)),
        ({"conversation": {"id": "conv_1"}}, ("conv_1",)),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, ("resp_1", "conv_1")),
        ({"previous_response_id": None, "conversation": None}, ()),
        (
            {"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "x", "id": "u"}]},
            ("msg_1",),
        ),
        ({"input": [{"id": "rs_1"}, {"type": "message", "role": "assistant", "id": "m", "content": []}]}, ("rs_1",)),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, ()),
    ],
)
def test_what_a_request_builds_on(fields: dict[str, Any], ids: tuple[str, ...]) -> None:
    assert request(**fields).builds_on == ids


def test_everything_at_once() -> None:
    asked = request(stream=True, background=True, max_output_tokens=7, input=[{"role": "user", "content": "x"}])

    assert (asked.stream, asked.background, asked.output_cap) == (True, True, 7)


@pytest.mark.parametrize(
    "given", [{"prompt": {"id": "pmpt_1"}}, {"previous_response_id": "resp_1", "input": None}], ids=str
)
def test_a_request_may_have_no_input(given: dict[str, Any]) -> None:
    raw = json.dumps({"model": "m", **given}).encode()

    assert json.loads(patched(raw)) == {**given, "model": "up"}


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b'{"input":"x","prompt":{"id":"pmpt_1"}}', "missing_required_parameter", "model"),
        (b'{"model":"m","input":{"a":1}}', "invalid_type", "input"),
        (b'{"model":"m","input":5}', "invalid_type", "input"),
        (b'{"model":"m","stream":1}', "invalid_type", "stream"),
        (b'{"model":"m","store":"no"}', "invalid_type", "store"),
        (b'{"model":"m","background":1}', "invalid_type", "background"),
        (b'{"model":"m","conversation":{"name":"x"}}', "invalid_type", "conversation"),
        (b'{"model":"m","previous_response_id":5}', "invalid_type", "previous_response_id"),
        (b'{"model":"m","max_output_tokens":0}', "invalid_value", "max_output_tokens"),
        (b'{"model":"m","max_output_tokens":%d}' % (MAX_OUTPUT_CAP + 1), "invalid_value", "max_output_tokens"),
        (b'{"model":"m","max_output_tokens":"5"}', "invalid_type", "max_output_tokens"),
        (b"[]", "invalid_json", None),
        (b"", "missing_body", None),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, code: str, param: str | None) -> None:
    error = refused(raw)

    assert (error.code, error.param) == (code, param)


# -- patches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "cap", "sent"), [(None, None, None), (None, 50, 50), (100, 50, 50), (20, 50, 20), (20, None, 20)]
)
def test_the_cap_is_lowered_never_raised(asked: int | None, cap: int | None, sent: int | None) -> None:
    fields = {} if asked is None else {"max_output_tokens": asked}

    assert json.loads(patched(body(**fields), output_cap=cap)).get("max_output_tokens") == sent


SPELLINGS = st.sampled_from(
    [
        b"1e2",
        b"1.0",
        b"-0.0",
        b"12345678901234567890123",
        b'"\\u00e9\\ud83d"',
        b'"\\/"',
        b"[1, 2 ]",
        b'{ "a":null}',
        b"null",
    ]
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).filter(
    lambda name: name not in ("model", "input", "stream", "store", "background", "conversation")
)


@given(st.dictionaries(NAMES, SPELLINGS, max_size=5))
def test_what_isnt_named_goes_out_as_it_came(unknown: dict[str, bytes]) -> None:
    extra = b"".join(b',"%b":%b' % (name.encode(), raw) for name, raw in unknown.items())
    raw = b'{"model":"m","input":[ {"role" : "user","content":"\\u0041"} ]%b}' % extra

    assert patched(raw) == raw.replace(b'"m"', b'"up"', 1)


def test_thoughts_sealed_for_another_vendor_stay_here() -> None:
    foreign = thought(encrypted=seal(Signature("anthropic", "sig"), "openai"))
    own, words = thought(encrypted="gAAA"), {"role": "user", "content": foreign["encrypted_content"]}

    kept = json.loads(patched(body(input=[foreign, own, words, foreign])))["input"]

    assert kept == [own, words]


def test_a_text_that_speaks_of_a_seal_changes_nothing() -> None:
    raw = body(input=f"what is {seal(Signature('google', 'x'), 'openai')}?")

    assert patched(raw) == raw.replace(b'"m"', b'"up"').replace(b": ", b":").replace(b", ", b",")


# -- estimates ---------------------------------------------------------------------------------------------------------


def test_a_prompt_is_its_texts_and_images() -> None:
    prompt = FORMAT.read_prompt(
        body(
            instructions="be nice",
            input=[
                {"role": "user", "content": "one"},
                {"role": "user", "content": [{"type": "input_text", "text": "two"}]},
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "https://x.test/a", "detail": "low"}],
                },
                {"role": "user", "content": [{"type": "input_image", "file_id": "file_1", "detail": "high"}]},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"at":1}'},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "three"}]},
                {"type": "function_call_output", "call_id": "c", "output": "four"},
            ],
            tools=[{"type": "function", "name": "look"}],
            text={"format": {"type": "json_schema", "name": "shape"}},
        )
    )

    for words in ("be nice", "one", "two", "three", "four", '{"at":1}', "look", "shape"):
        assert words in prompt.text
    assert prompt.image_tokens == LOW + MOST


@pytest.mark.parametrize("raw", [b"[]", b"null", b'{"input":[5,{"content":7}]}'], ids=bytes.decode)
def test_a_prompt_of_nothing(raw: bytes) -> None:
    assert FORMAT.read_prompt(raw).text == ""
