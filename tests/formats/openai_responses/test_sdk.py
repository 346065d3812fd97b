"""OpenAI's own SDK as the judge of what clients of this format get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from openai import APIError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from app.core.assembly import events_of
from app.core.conversation import (
    Answer,
    Choice,
    Citation,
    Finish,
    Image,
    Media,
    Refusal,
    Signature,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.core.usage import Usage
from app.errors import GatewayError, Kind
from app.formats.base import Request
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import STAMP, events_in, request, written

BLOCKS = (
    Thinking("hm", Signature("anthropic", "sig")),
    Thinking("", Signature("anthropic", "data"), redacted=True),
    Text("It is ", (Citation("https://x.test", "X", 0, 2), Citation("https://y.test"))),
    Text("12 °C\u2028."),
    Refusal("No."),
    ToolCall("toolu_1", "look", '{"at":"Paris"}'),
    ToolCall("toolu_2", "look", ""),
    ToolCall("toolu_3", "grep", "a|b", custom=True),
    Image(Media("image/webp", "AAAA")),
)
ODDS = (Token("It", -0.1, (("It", -0.1), ("So", -2.0))),)
USAGE = Usage(20, 7, cache_read_tokens=4, reasoning_tokens=3)
ANSWER = Answer(id="x", model="up", choices=(Choice(BLOCKS, Finish.TOOL_CALLS, logprobs=ODDS),), usage=USAGE)
TOOLS = [
    {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False},
    {"type": "custom", "name": "grep"},
]


def whole(answer: Answer, asked: Request) -> bytes:
    return FORMAT.write_answer(answer, asked, FORMAT.read_ask(asked), STAMP)


def streamed(answer: Answer, asked: Request) -> bytes:
    writer = FORMAT.open_writer(asked, FORMAT.read_ask(asked), STAMP)
    return b"".join([writer.write(event) for event in events_of(answer)]) + writer.end()


@contextmanager
def client(body: bytes, type: str) -> Iterator[OpenAI]:
    """The SDK over a transport that answers with these bytes."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": type})

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as transport:
        yield OpenAI(api_key="sk-x", base_url="http://x.test/v1", http_client=transport, max_retries=0)


def test_a_whole_answer_is_what_the_sdk_s_types_say() -> None:
    asked = request(tools=TOOLS, instructions="be nice", metadata={"a": "b"}, reasoning={"effort": "low"})
    answer = Response.model_validate_json(whole(ANSWER, asked))

    assert answer.output_text == "It is 12 °C\u2028."
    assert [item.type for item in answer.output] == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "custom_tool_call",
        "image_generation_call",
    ]
    assert (answer.status, answer.model, answer.instructions, answer.metadata) == (
        "completed",
        "m",
        "be nice",
        {"a": "b"},
    )
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.total_tokens) == (20, 27)
    ids = [item.id for item in answer.output]
    assert len(set(ids)) == len(ids)


def test_every_event_is_one_of_the_sdk_s() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    kinds = [adapter.validate_python(event).type for event in events_in(streamed(ANSWER, request(tools=TOOLS)))]

    assert [kinds[0], kinds[1], kinds[-1]] == ["response.created", "response.in_progress", "response.completed"]
    for kind in (
        "output_text",
        "refusal",
        "function_call_arguments",
        "custom_tool_call_input",
        "reasoning_summary_text",
    ):
        assert kinds.index(f"response.{kind}.delta") < kinds.index(f"response.{kind}.done")
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 7
    assert kinds.count("response.content_part.added") == kinds.count("response.content_part.done") == 3
    assert kinds.count("response.output_text.annotation.added") == 2


def test_the_sdk_gathers_a_stream_into_the_whole_answer() -> None:
    asked = request(tools=TOOLS)
    with (
        client(streamed(ANSWER, asked), "text/event-stream") as sdk,
        sdk.responses.stream(model="m", input="hi") as stream,
    ):
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert "".join(texts) == "It is 12 °C\u2028."
    assert Response.model_validate_json(whole(ANSWER, asked)).output_text == final.output_text
    assert [item.type for item in final.output].count("function_call") == 2


@pytest.mark.parametrize(
    ("finish", "reason"),
    [(Finish.LENGTH, "max_output_tokens"), (Finish.FILTERED, "content_filter"), (Finish.PAUSED, "max_messages")],
)
def test_an_answer_cut_short(finish: Finish, reason: str) -> None:
    asked = request()
    answer = Answer(id="x", model="up", choices=(Choice((Text("It"),), finish),), usage=USAGE)
    last = events_in(streamed(answer, asked))[-1]
    told = Response.model_validate_json(whole(answer, asked))

    assert last["type"] == "response.incomplete"
    assert last["response"] == json.loads(whole(answer, asked))
    assert told.incomplete_details is not None
    assert (told.status, told.incomplete_details.reason) == ("incomplete", reason)
    assert told.output[0].to_dict()["status"] == "incomplete"


def test_a_stream_that_breaks_raises_in_the_sdk() -> None:
    error = GatewayError(Kind.UPSTREAM, "upstream_truncated", "It ended too early.")
    stream = streamed(ANSWER, request()).partition(b"event: response.completed")[0] + FORMAT.write_stream_error(error)

    with client(stream, "text/event-stream") as sdk, pytest.raises(APIError, match="It ended too early") as caught:
        list(sdk.responses.create(model="m", input="hi", stream=True))

    assert caught.value.code == "upstream_truncated"


def test_a_client_that_sends_the_output_back_sends_the_signatures_back() -> None:
    with client(whole(ANSWER, request(tools=TOOLS)), "application/json") as sdk:
        answer = sdk.responses.create(model="m", input="hi")
    output = [item.to_dict() for item in answer.output if item.type != "image_generation_call"]

    back = FORMAT.read_ask(request(input=[{"role": "user", "content": "hi"}, *output]))

    signed, redacted, *_ = back.messages[1].blocks
    assert isinstance(signed, Thinking)
    assert isinstance(redacted, Thinking)
    assert (signed.text, signed.signature, signed.redacted) == ("hm", Signature("anthropic", "sig"), False)
    assert (redacted.text, redacted.signature, redacted.redacted) == ("", Signature("anthropic", "data"), True)
    calls = [block for block in back.messages[1].blocks if isinstance(block, ToolCall)]
    assert [(found.id, found.custom) for found in calls] == [("toolu_1", False), ("toolu_2", False), ("toolu_3", True)]
    assert "cmVsYXlnYXRl" not in json.dumps(written(back))  # nothing of another vendor's goes to OpenAI


def test_structured_output_is_parsed() -> None:
    class Weather(BaseModel):
        degrees: int

    answer = Answer(id="x", model="up", choices=(Choice((Text('{"degrees":12}'),), Finish.STOP),), usage=USAGE)
    with client(whole(answer, request()), "application/json") as sdk:
        parsed = sdk.responses.parse(model="m", input="hi", text_format=Weather).output_parsed

    assert parsed == Weather(degrees=12)


def test_without_usage_none_is_invented() -> None:
    answer = Answer(id="x", model="up", choices=(Choice((Text("It"),), Finish.STOP),))

    assert Response.model_validate_json(whole(answer, request())).usage is None
    assert events_in(streamed(answer, request()))[-1]["response"]["usage"] is None
