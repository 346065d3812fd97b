"""Answers that look unusual and are whole: they reach the client, and are charged to the token."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway import Operator, sse_data
from tests.relay.calls import Client, assert_charged, demo_model, entries, serve_model, text_of
from tests.relay.upstream import Conversation, chunk, serve


@pytest.mark.parametrize(
    "options",
    [
        "gzip=1", "crlf=1", "cr=1", "comments=1", "nospace=1", "no_done=1", "no_final_blank=1", "split=3", "surrogates=1",
        "crlf=1&split=1", "blank_lead=3&lead_ms=20", "dialect=azure", "dialect=ollama", "dialect=vllm", "dialect=deepseek",
        "delay_ms=300", "usage=on_finish", "usage=always",
    ],
)  # fmt: skip
async def test_an_unusual_answer_is_charged_exactly(operator: Operator, client: Client, options: str) -> None:
    customer, model = operator.customer(), demo_model(operator, f"reply=word+word&{options}")
    whole, streamed = await asyncio.gather(*(client.chat(customer, model, stream=stream) for stream in (False, True)))
    found = await entries(operator, customer, 2)

    assert (whole.status, streamed.status) == (200, 200)
    assert whole.text.startswith("word word")
    usual = (
        streamed.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"data:", b"data: ").replace(b"  ", b" ")
    )
    events = sse_data(usual.decode())
    assert text_of(list(events)).startswith("word word")
    assert events[-1] == "[DONE]"
    assert (b'"usage":{' in streamed.body) is (options == "usage=on_finish")
    for entry in found:
        assert (entry["error"], entry["attempts"]) == (None, 1)
        assert_charged(entry, 8, entry["usage"]["output_tokens"])
        assert 2 <= entry["usage"]["output_tokens"] <= 10
    assert not {"content-encoding", "transfer-encoding"} & whole.headers.keys()
    assert "content-encoding" not in streamed.headers


async def test_a_malformed_frame_passes_and_the_rest_is_charged_exactly(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    answer = await client.chat(customer, demo_model(operator, "chunks=9&malformed=3"), stream=True)
    (entry,) = await entries(operator, customer, 1)

    assert answer.events[-1] == "[DONE]"
    assert_charged(entry, 8, 9)


async def test_the_content_type_of_a_stream_may_be_spelled_in_any_case(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head(200, "Text/Event-Stream;charset=UTF-8")
        await talk.send(chunk("x") + chunk(finish="stop"))

    async with serve(script) as base_url:
        answer = await client.chat(operator.customer(), serve_model(operator, {"base_url": base_url}), stream=True)

    assert answer.text == "x"
