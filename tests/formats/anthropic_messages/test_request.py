"""Reading a Messages request, and patching it without touching the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.conversation import Signature
from app.core.signatures import seal
from app.errors import GatewayError
from app.formats.anthropic_messages import FORMAT
from app.formats.anthropic_messages.thoughts import UNSIGNED
from app.formats.body import MAX_OUTPUT_CAP
from tests.formats.anthropic_messages.shapes import JSON, TEXT, body


def raw(*extra: bytes, cap: bytes = b'"max_tokens":100') -> bytes:
    return b"{" + b",".join([b'"model":"m"', b'"messages":[]', *([cap] if cap else []), *extra]) + b"}"


def refused(request: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_request(request)
    assert caught.value.status == 400
    return caught.value


def written(request: bytes, *, output_cap: int | None = None) -> dict[str, Any]:
    patched = FORMAT.write_request(FORMAT.read_request(request), model="up", output_cap=output_cap, cap_field="x")
    found: dict[str, Any] = json.loads(patched)
    return found


def test_what_routing_and_money_need() -> None:
    request = FORMAT.read_request(raw(b'"stream":true'))

    assert (request.model, request.stream, request.output_cap, request.choices) == ("m", True, 100, 1)
    assert (request.wants_usage, request.builds_on, request.kept) == (True, (), False)
    assert bytes(request.conversation) == b"[]"


def test_a_cap_of_zero_fills_the_cache() -> None:
    assert FORMAT.read_request(raw(cap=b'"max_tokens":0')).output_cap == 0
    assert written(raw(cap=b'"max_tokens":0'), output_cap=5)["max_tokens"] == 0


@pytest.mark.parametrize(
    ("extra", "param", "code"),
    [
        (b"", "max_tokens", "missing_required_parameter"),
        (b'"max_tokens":null', "max_tokens", "missing_required_parameter"),
        (b'"max_tokens":"5"', "max_tokens", "invalid_type"),
        (b'"max_tokens":-1', "max_tokens", "invalid_value"),
        (b'"max_tokens":%d' % (MAX_OUTPUT_CAP + 1), "max_tokens", "invalid_value"),
        (b'"max_tokens":1,"stream":1', "stream", "invalid_type"),
        (b'"max_tokens":1,"thread":"x"', "thread", "invalid_type"),
        (b'"max_tokens":1,"messages":{}', "messages", "invalid_type"),
    ],
)
def test_what_is_wrong_is_named(extra: bytes, param: str, code: str) -> None:
    error = refused(raw(cap=extra))

    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(
    ("thread", "builds_on", "kept"),
    [
        (b'{"type":"create"}', (), True),
        (b'{"type":"continue","previous_message_id":"msg_1"}', ("msg_1",), True),
        (b"null", (), False),
    ],
    ids=["create", "continue", "null"],
)
def test_a_thread_lives_at_the_upstream(thread: bytes, builds_on: tuple[str, ...], kept: bool) -> None:
    request = FORMAT.read_request(raw(b'"thread":' + thread))

    assert (request.builds_on, request.kept) == (builds_on, kept)


def test_counting_needs_no_cap() -> None:
    request = FORMAT.read_count(b'{"model":"m","messages":[],"tools":[{"a":1.0}]}')

    assert FORMAT.counts("/v1/messages/count_tokens")
    assert not FORMAT.counts("/v1/messages")
    assert FORMAT.write_request(request, model="up", output_cap=None, cap_field="x") == (
        b'{"model":"up","messages":[],"tools":[{"a":1.0}]}'
    )
    assert FORMAT.write_count(7) == b'{"input_tokens":7}'


@pytest.mark.parametrize(("cap", "sent"), [(None, 100), (50, 50), (200, 100)])
def test_the_cap_is_only_lowered(cap: int | None, sent: int) -> None:
    assert written(raw(), output_cap=cap)["max_tokens"] == sent


@pytest.mark.parametrize(
    ("asked", "budget", "cap", "sent"),
    [
        (10_000, 5_000, 4_000, 2_000),
        (10_000, 9_999, 5_000, 4_999),
        (100_000, 50_000, 1_500, 1_024),
        (10_000, 2_000, 5_000, 2_000),
        (10_000, 2_000, 1_024, 2_000),
    ],
    ids=["its share", "just below", "the least", "fits", "no budget fits"],
)
def test_a_budget_stays_below_a_lowered_cap(asked: int, budget: int, cap: int, sent: int) -> None:
    thinking = b'"thinking":{"type":"enabled","budget_tokens":%d,"x":1.0}' % budget

    request = written(raw(thinking, cap=b'"max_tokens":%d' % asked), output_cap=cap)

    assert request["max_tokens"] == cap
    assert request["thinking"] == {"type": "enabled", "budget_tokens": sent, "x": 1.0}


@pytest.mark.parametrize("thinking", [b'"adaptive"', b'{"type":"adaptive"}', b'{"budget_tokens":"x"}', b"[]", b"null"])
def test_thinking_without_a_budget_is_left_alone(thinking: bytes) -> None:
    assert written(raw(b'"thinking":' + thinking), output_cap=5)["thinking"] == json.loads(thinking)


OWN = {"model", "messages", "max_tokens", "stream", "thread", "thinking"}


@given(st.dictionaries(TEXT.filter(lambda name: name.isprintable() and name not in OWN), JSON, max_size=4))
def test_unknown_fields_go_out_as_they_came(more: dict[str, Any]) -> None:
    parts = [json.dumps(name).encode() + b": " + json.dumps(value).encode() for name, value in more.items()]

    sent = FORMAT.write_request(FORMAT.read_request(raw(*parts)), model="up", output_cap=7, cap_field="x")

    assert json.loads(sent) == {"model": "up", "messages": [], "max_tokens": 7, **more}
    for value in more.values():
        assert json.dumps(value).encode() in sent


def test_spellings_and_betas_survive() -> None:
    kept = [
        b'"system":[{"type":"text","text":"\\u00e9\\ud83d","cache_control":{"type":"ephemeral","ttl":"1h"}}]',
        b'"thinking":{"type":"enabled","budget_tokens":1024}',
        b'"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}',
        b'"temperature":1.00',
    ]

    sent = FORMAT.write_request(FORMAT.read_request(raw(*kept)), model="up", output_cap=None, cap_field="x")

    for part in kept:
        assert part in sent


SEALED = [seal(Signature(origin, "s"), "anthropic") for origin in ("google", "openai")]


@pytest.mark.parametrize(
    "block",
    [
        *({"type": "thinking", "thinking": "T", "signature": sealed} for sealed in [*SEALED, UNSIGNED]),
        *({"type": "redacted_thinking", "data": sealed} for sealed in SEALED),
    ],
)
def test_thoughts_of_other_vendors_never_reach_anthropic(block: dict[str, Any]) -> None:
    text = b'{"type":"text", "text":"\\u00e9"}'
    own = b'{"type":"thinking","thinking":"","signature":"' + SEALED[0][:9].encode() + b'"}'
    foreign = json.dumps(block).encode()
    turns = b'[{"role":"assistant","x":1.0,"content":[%b,%b,%b]},{"role":"assistant","content":[%b]},%b]' % (
        own, foreign, text, foreign, text)  # fmt: skip
    request = FORMAT.read_request(b'{"model":"m","max_tokens":1,"messages":%b}' % turns)

    sent = FORMAT.write_request(request, model="up", output_cap=None, cap_field="x")

    kept = b'[{"role":"assistant","x":1.0,"content":[%b,%b]},%b]' % (own, text, text)
    assert sent == b'{"model":"up","max_tokens":1,"messages":%b}' % kept


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": SEALED[0]},
        {"role": "user", "content": [{"type": "text", "text": SEALED[0]}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": SEALED[0], "signature": ""}]},
        SEALED[0],
    ],
)
def test_what_only_looks_like_a_sealed_thought_stays(turn: object) -> None:
    assert written(body({"model": "m", "max_tokens": 1, "messages": [turn]}))["messages"] == [turn]


def test_what_a_request_feeds_a_model() -> None:
    prompt = FORMAT.read_prompt(
        body(
            {
                "system": [{"type": "text", "text": "S"}],
                "messages": [
                    {"role": "user", "content": "U"},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "T", "signature": "zzz"},
                            {"type": "tool_use", "id": "zzz", "name": "N", "input": {"I": 1}},
                        ],
                    },
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "zzz",
                                "content": [
                                    {"type": "text", "text": "R"},
                                    {"type": "image", "source": {"type": "url", "url": "https://zzz"}},
                                ],
                            },
                            {"type": "document", "source": {"type": "text", "data": "D"}, "title": "B"},
                            {"type": "image", "source": {"type": "base64", "data": "iVBORw0KGgoAAAANSUhEUgAABAAAAAQA"}},
                        ],
                    },
                ],
                "tools": [{"name": "O"}],
                "output_config": {"format": {"schema": "F"}},
            }
        )
    )

    for letter in "SUTNIRDBOF":
        assert letter in prompt.text
    assert "zzz" not in prompt.text
    assert prompt.image_tokens == 1445 + 765


@pytest.mark.parametrize("request_body", [b"", b"[]", b"<html>", b'{"messages":5,"system":7,"tools":true}'])
def test_a_prompt_is_read_from_anything(request_body: bytes) -> None:
    assert FORMAT.read_prompt(request_body).image_tokens == 0
