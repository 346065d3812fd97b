"""What an upstream can do wrong, what the client gets instead, and what it costs: nothing, or what was produced."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator, free_port
from tests.relay.calls import (
    UPSTREAM_SECRET,
    Client,
    assert_charged,
    assert_released,
    channel_of,
    demo_model,
    entries,
    little_memory,
    received,
    serve_model,
    text_of,
    tokens,
    upstream_name,
)
from tests.relay.upstream import Conversation, chunk, serve


@dataclass(frozen=True, slots=True)
class Fault:
    """An option of the demo upstream, and what a client is told of it."""

    options: str
    status: int
    code: str


BEFORE_THE_ANSWER = {
    "rate limit": Fault("status=429&retry_after=7", 429, "upstream_rate_limited"),
    "server error": Fault("status=500", 502, "upstream_error"),
    "refused credentials": Fault("status=401", 502, "upstream_refused_credentials"),
    "overloaded": Fault("status=503", 503, "upstream_overloaded"),
    "unknown model": Fault("status=404", 502, "upstream_model_not_found"),
    "error page": Fault("body=html&status=500", 502, "upstream_error"),
    "error page with 200": Fault("body=html", 502, "upstream_bad_response"),
    "error in an array": Fault("body=array_error&status=503", 503, "upstream_overloaded"),
    "error in a string": Fault("body=string_error", 502, "upstream_error"),
    "error with 200": Fault("error_200=1", 502, "upstream_error"),
    "redirect": Fault("redirect=http://127.0.0.1:9/v1", 502, "upstream_bad_response"),
    "dropped connection": Fault("drop=1", 502, "upstream_disconnected"),
    "no answer's status": Fault("status=201", 502, "upstream_error"),
}
SLOW = {
    "no status line": Fault("stall=headers", 504, "upstream_timeout"),
    "no first byte": Fault("stall=first", 504, "upstream_timeout"),
}
IN_A_WHOLE_ANSWER = {
    "torn": Fault("cut=1", 502, "upstream_disconnected"),
    "cut short": Fault("cut_clean=1", 502, "upstream_bad_response"),
}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def parameters(faults: Mapping[str, Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults.values(), ids=faults.keys())


async def suffer(operator: Operator, client: Client, fault: Fault, *streams: bool) -> None:
    """Has the fault happen where no other channel could help, and where one could, all at once."""
    await asyncio.gather(*(_suffer(operator, client, fault, stream) for stream in streams))


async def _suffer(operator: Operator, client: Client, fault: Fault, stream: bool) -> None:
    customer = operator.customer()
    alone, helped = demo_model(operator, fault.options), demo_model(operator, fault.options, "reply=second")
    models = (alone, helped)
    answers = await asyncio.gather(*(client.chat(customer, model, stream=stream) for model in models))
    found = {entry["request_id"]: entry for entry in await entries(operator, customer, len(models))}
    second = channel_of(operator, helped, -1)["id"]

    for model, answer in zip(models, answers, strict=True):
        entry = found[answer.headers["x-request-id"]]
        assert (entry["model"], entry["stream"]) == (model, stream)
        if model == alone:
            assert (answer.status, answer.error["code"]) == (fault.status, fault.code)
            assert answer.headers["content-type"] == "application/json"
            assert UPSTREAM_SECRET.encode() not in answer.body
            assert entry["attempts"] == 1
            assert_released(entry, fault.code)
        else:
            assert (answer.status, answer.text) == (200, "second")
            assert (entry["attempts"], entry["channel_id"], entry["error"]) == (2, second, None)
            assert_charged(entry, 8, 1)


@parameters(BEFORE_THE_ANSWER)
async def test_a_fault_before_the_answer(operator: Operator, client: Client, fault: Fault) -> None:
    await suffer(operator, client, fault, False, True)


@parameters(IN_A_WHOLE_ANSWER)
async def test_a_fault_in_a_whole_answer(operator: Operator, client: Client, fault: Fault) -> None:
    await suffer(operator, client, fault, False)


async def test_upstreams_that_let_one_wait(operator: Operator, client: Client) -> None:
    stalled = Fault("stall=chunk:1", 504, "upstream_stalled")
    await asyncio.gather(
        *(suffer(operator, client, fault, False, True) for fault in SLOW.values()),
        suffer(operator, client, stalled, False),
    )


@both
async def test_a_closed_port(operator: Operator, client: Client, stream: bool) -> None:
    customer = operator.customer()
    closed = {"base_url": f"http://127.0.0.1:{free_port()}/v1"}
    refused = await client.chat(customer, serve_model(operator, closed), stream=stream)
    model = serve_model(operator, closed, {"upstream_model": upstream_name("reply=second")})
    answer = await client.chat(customer, model, stream=stream)
    entry, first_entry = await entries(operator, customer, 2)

    assert (refused.status, refused.error["code"]) == (502, "upstream_unreachable")
    assert_released(first_entry, "upstream_unreachable")
    assert (answer.status, answer.text) == (200, "second")
    assert (entry["attempts"], entry["channel_id"]) == (2, channel_of(operator, model, -1)["id"])


async def test_when_all_channels_fail_the_last_error_is_told(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    for stream in (False, True):
        model = demo_model(operator, "status=500", "drop=1", "status=429&retry_after=7")
        answer = await client.chat(customer, model, stream=stream)

        assert (answer.status, answer.error["code"]) == (429, "upstream_rate_limited")
        assert answer.headers["retry-after"] == "7"
        assert "x-should-retry" not in answer.headers
    for entry in await entries(operator, customer, 2):
        assert_released(entry, "upstream_rate_limited")
        assert entry["attempts"] == 3


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        pytest.param("status=400&code=context_length_exceeded", 400, "context_length_exceeded", id="400"),
        pytest.param("status=422&code=bad_parameter", 422, "bad_parameter", id="422"),
        pytest.param("status=413&code=too_much", 413, "too_much", id="413"),
        pytest.param("status=400&code=split&split=5", 400, "split", id="a body in many packets"),
        pytest.param("status=400&body=array_error", 400, "400", id="in an array"),
        pytest.param("status=400&body=string_error", 400, "upstream_rejected_request", id="in a string"),
        pytest.param("status=400&body=html", 400, "upstream_rejected_request", id="a page"),
        pytest.param("error_200=1&status=400", 400, "400", id="with status 200"),
    ],
)
async def test_what_the_client_got_wrong_is_tried_on_no_other_channel(
    operator: Operator, client: Client, demo: DemoProcess, options: str, status: int, code: str
) -> None:
    customer, second = operator.customer(), upstream_name()
    model = serve_model(operator, {"upstream_model": upstream_name(options)}, {"upstream_model": second})
    answers = [await client.chat(customer, model, stream=stream) for stream in (False, True)]

    assert [(answer.status, answer.error["code"]) for answer in answers] == [(status, code)] * 2
    for entry in await entries(operator, customer, 2):
        assert_released(entry, code)
        assert entry["attempts"] == 1
    assert received(demo, second) == []


# -- faults inside a stream --------------------------------------------------------------------------------------------

IN_A_STREAM = {
    "torn": Fault("cut=3", 200, "upstream_disconnected"),
    "clean early end": Fault("cut_clean=3", 200, "upstream_truncated"),
    "error frame": Fault("error_chunk=3&chunk_ms=30", 200, "upstream_error"),
    "error beside choices": Fault("error_chunk=3&chunk_ms=30&error_finish=1", 200, "upstream_error"),
    "stalled": Fault("stall=chunk:3", 200, "upstream_stalled"),
}


@parameters(IN_A_STREAM)
async def test_a_fault_inside_a_stream(operator: Operator, client: Client, demo: DemoProcess, fault: Fault) -> None:
    customer, second = operator.customer(), upstream_name()
    first = upstream_name(f"chunks=60&{fault.options}")
    model = serve_model(operator, {"upstream_model": first}, {"upstream_model": second})
    answer = await client.chat(customer, model, stream=True)
    (entry,) = await entries(operator, customer, 1)

    assert answer.status == 200
    assert answer.stream_error["code"] == fault.code
    assert "[DONE]" not in answer.events
    text = text_of(answer.events[:-1])
    assert tokens(text) == 3
    assert_charged(entry, 1, 3, estimated=True)
    assert (entry["error"], entry["attempts"]) == (fault.code, 1)
    assert received(demo, second) == []  # what the client has begun to read can't be taken back


async def test_frames_in_one_packet_with_an_error_still_reach_the_client(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head()
        await talk.send(chunk("one"), pause=0.1)
        await talk.send(chunk(" two") + chunk(" three") + b'data: {"error":{"message":"Boom"}}\n\n')

    customer = operator.customer()
    async with serve(script) as base_url:
        answer = await client.chat(customer, serve_model(operator, {"base_url": base_url}), stream=True)
    (entry,) = await entries(operator, customer, 1)

    assert text_of(answer.events[:-1]) == "one two three"
    assert answer.stream_error["message"] == "The upstream reported an error: Boom"
    assert_charged(entry, 1, 3, estimated=True)


@pytest.mark.parametrize("frames", [[chunk("one") + b'data: {"error":"Boom"}\n\n'], [b'data: {"error":"Boom"}\n\n']])
async def test_an_error_in_the_first_read_is_hidden_by_another_channel(
    operator: Operator, client: Client, frames: list[bytes]
) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head()
        await talk.send(*frames)

    customer = operator.customer()
    async with serve(script) as base_url:
        alone = await client.chat(customer, serve_model(operator, {"base_url": base_url}), stream=True)
        model = serve_model(operator, {"base_url": base_url}, {"upstream_model": upstream_name("reply=second")})
        answer = await client.chat(customer, model, stream=True)
    entry, first_entry = await entries(operator, customer, 2)

    assert (alone.status, alone.error["message"]) == (502, "The upstream reported an error: Boom")
    assert_released(first_entry, "upstream_error")
    assert (answer.text, entry["channel_id"]) == ("second", channel_of(operator, model, -1)["id"])


async def test_a_queue_that_ends_in_nothing_costs_nothing(other_operator: Operator, other_client: Client) -> None:
    async def wait(ending: bytes, code: str) -> None:
        async def script(talk: Conversation) -> None:
            await talk.head()
            await talk.send(*[b": PROCESSING\n\n"] * 12, pause=0.2)
            await talk.send(ending)

        customer = other_operator.customer()
        async with serve(script) as base_url:
            model = serve_model(other_operator, {"base_url": base_url})
            answer = await other_client.chat(customer, model, stream=True)
        (entry,) = await entries(other_operator, customer, 1)

        assert answer.body.startswith(b": PROCESSING\n\n")
        assert answer.stream_error["code"] == code
        assert_released(entry, code)

    await asyncio.gather(
        wait(b'data: {"error":{"message":"The queue is full"}}\n\n', "upstream_error"), wait(b"", "upstream_truncated")
    )


async def test_a_queue_within_patience_can_be_left_for_another_channel(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head()
        await talk.send(*[b": PROCESSING\n\n"] * 3, pause=0.1)
        await talk.send(b'data: {"error":{"message":"The queue is full"}}\n\n')

    async with serve(script) as base_url:
        model = serve_model(operator, {"base_url": base_url}, {"upstream_model": upstream_name("reply=second")})
        answer = await client.chat(operator.customer(), model, stream=True)

    assert answer.text == "second"
    assert b"PROCESSING" not in answer.body


# -- answers that are none ---------------------------------------------------------------------------------------------


async def test_a_stream_that_is_none(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head(200, "application/json")
        await talk.send(b'{"choices":[{"message":{"content":"whole"}}]}')

    customer = operator.customer()
    async with serve(script) as base_url:
        answer = await client.chat(customer, serve_model(operator, {"base_url": base_url}), stream=True)
    (entry,) = await entries(operator, customer, 1)

    assert (answer.status, answer.error["code"]) == (502, "upstream_bad_response")
    assert_released(entry, "upstream_bad_response")


async def test_what_no_log_and_no_database_could_hold(operator: Operator, client: Client) -> None:
    fault = {"error": {"message": "bad \ud83d", "code": "nul\0\ud83d", "param": "\ud83d"}}

    async def script(talk: Conversation) -> None:
        await talk.head(400, "application/json")
        await talk.send(json.dumps(fault).encode())

    customer = operator.customer()
    async with serve(script) as base_url:
        answer = await client.chat(customer, serve_model(operator, {"base_url": base_url}), stream=True)
    (entry,) = await entries(operator, customer, 1)

    assert (answer.status, answer.error["message"], answer.error["code"]) == (400, "bad ?", "upstream_rejected_request")
    assert_released(entry, "upstream_rejected_request")


OK = b"HTTP/1.1 200 OK\r\ncontent-type: TYPE\r\nconnection: close\r\n"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(b"", "upstream_disconnected", id="nothing"),
        pytest.param(b"hello\r\n\r\n", "upstream_bad_response", id="no HTTP"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", "upstream_bad_response", id="no status"),
        pytest.param(b"HTTP/1.1 200", "upstream_disconnected", id="half a status line"),
        pytest.param(OK + b"x-long: " + b"x" * 100_000 + b"\r\n\r\n", "upstream_bad_response", id="an endless header"),
        pytest.param(OK + b"content-encoding: gzip\r\n\r\nno gzip", "upstream_disconnected", id="no gzip"),
        pytest.param(OK + b"content-encoding: made-up\r\n\r\nhello", "upstream_bad_response", id="an unknown encoding"),
        pytest.param(
            OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello", "upstream_bad_response", id="no chunk size"
        ),
        pytest.param(OK + b"content-length: 50\r\n\r\nhello", "upstream_disconnected", id="shorter than announced"),
        pytest.param(OK + b"content-length: -5\r\n\r\nhello", "upstream_bad_response", id="a negative length"),
    ],
)
async def test_what_is_no_http(operator: Operator, client: Client, raw: bytes, code: str) -> None:
    async def script(talk: Conversation) -> None:
        kind = b"text/event-stream" if talk.body.get("stream") else b"application/json"
        await talk.send(raw.replace(b"TYPE", kind))

    customer = operator.customer()
    async with serve(script) as base_url:
        model = serve_model(operator, {"base_url": base_url})
        answers = [await client.chat(customer, model, stream=stream) for stream in (False, True)]

    assert [(answer.status, answer.error["code"]) for answer in answers] == [(502, code)] * 2
    for entry in await entries(operator, customer, 2):
        assert_released(entry, code)


async def test_an_upstream_that_sends_a_bomb(
    other_operator: Operator, other_client: Client, other_gateway: Gateway
) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * 1024

    async def script(talk: Conversation) -> None:
        await talk.head(200, "application/json", "content-encoding: gzip")
        await talk.send(bomb)

    async with serve(script) as base_url:
        model = serve_model(other_operator, {"base_url": base_url})
        with little_memory(other_gateway):
            answer = await other_client.chat(other_operator.customer(), model)

    assert (answer.status, answer.error["code"]) == (502, "upstream_bad_response")
    assert answer.seconds < 5


async def test_an_answer_larger_than_allowed(other_operator: Operator, other_client: Client) -> None:
    fits = await other_client.chat(other_operator.customer(), demo_model(other_operator, "big=1048576"))

    assert (fits.status, len(fits.body)) == (200, 1048576)
    await suffer(other_operator, other_client, Fault("big=1048577", 502, "upstream_bad_response"), False)


async def test_a_connection_that_was_cut_harms_no_other(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    good = demo_model(operator, "reply=good")
    bad = demo_model(operator, "cut=3")
    answers = await asyncio.gather(*(client.chat(customer, m, stream=True) for m in [good, bad] * 10))

    assert [answer.text for answer in answers[::2]] == ["good"] * 10
    assert {answer.stream_error["code"] for answer in answers[1::2]} == {"upstream_disconnected"}
