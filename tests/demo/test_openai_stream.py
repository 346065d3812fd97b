"""Streamed chat answers at the byte level: chunks, usage, dialects, tools and framing."""

import gzip
import json
import re
import time

import pytest
import tiktoken

from app.demo.answers import DEFAULT_TEXT, ENCODING
from tests.demo.process import DemoProcess
from tests.demo.test_openai_plain import TOOL
from tests.demo.wire import ask, call, chat, stream

encoding = tiktoken.get_encoding(ENCODING)


async def test_default_stream_is_one_token_a_chunk(demo: DemoProcess) -> None:
    answer = await ask(demo, chat(stream=True))
    chunks = answer.chunks()

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.complete
    assert answer.events()[-1] == "[DONE]"
    assert answer.text() == DEFAULT_TEXT
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [len(encoding.encode(chunk["choices"][0]["delta"]["content"])) for chunk in chunks[1:-1]] == [1] * 16
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert all("usage" not in chunk for chunk in chunks)


async def test_usage_comes_last_when_asked_for(demo: DemoProcess) -> None:
    *chunks, last = (await ask(demo, stream())).chunks()

    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 8
    assert (last["usage"]["completion_tokens"], last["usage"]["total_tokens"]) == (16, 24)


async def test_stream_and_whole_answer_agree(demo: DemoProcess) -> None:
    model = "demo?tokens=100&chunks=7&reasoning=3"
    whole, streamed = await ask(demo, chat(model, max_tokens=50)), await ask(demo, stream(model, max_tokens=50))

    assert streamed.text() == whole.json["choices"][0]["message"]["content"]
    assert streamed.chunks()[-1]["usage"] == whole.json["usage"]
    assert streamed.chunks()[-2]["choices"][0]["finish_reason"] == "length"


async def test_sixty_chunks_are_sixty_sends(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?chunks=60"))

    assert len(answer.pieces) == 1 + 60 + 1 + 1 + 1  # role, content, finish, usage, [DONE]
    assert all(piece.endswith(b"\n\n") for piece in answer.pieces)
    assert answer.chunks()[-1]["usage"]["completion_tokens"] == 60


async def test_long_stream(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?chunks=3000"))

    assert answer.complete
    assert len(encoding.encode(answer.text())) == answer.chunks()[-1]["usage"]["completion_tokens"] == 3000


async def test_choices_take_turns(demo: DemoProcess) -> None:
    chunks = (await ask(demo, stream("demo?chunks=2", n=2))).chunks()

    assert [choice["index"] for chunk in chunks for choice in chunk["choices"]] == [0, 1] * 4
    assert chunks[-1]["usage"]["completion_tokens"] == 4


async def test_chunks_keep_their_pace(demo: DemoProcess) -> None:
    async with call(demo, stream("demo?chunks=11&chunk_ms=20")) as wire:
        await wire.read_head()
        await wire.read_piece()
        times = []
        for _ in range(11):
            await wire.read_piece()
            times.append(time.monotonic())

    assert 0.19 <= times[-1] - times[0] < 2
    assert len({round(at, 2) for at in times}) > 5  # one after the other, not in one burst


async def test_usage_variants(demo: DemoProcess) -> None:
    missing = await ask(demo, stream("demo?usage=missing"))
    assert b'"usage"' not in missing.body

    volunteered = (await ask(demo, chat("demo?usage=always", stream=True))).chunks()
    assert (volunteered[-1]["choices"], volunteered[-1]["usage"]["completion_tokens"]) == ([], 16)
    assert all("usage" not in chunk for chunk in volunteered[:-1])

    for payload in (stream("demo?usage=on_finish", n=2), chat("demo?usage=on_finish", n=2, stream=True)):
        chunks = (await ask(demo, payload)).chunks()
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == [32]

    for words, expected in (("zero", 0), ("huge", 10**15), ("negative", -16), ("string", "16"), ("always,zero", 0)):
        chunks = (await ask(demo, stream(f"demo?usage={words}"))).chunks()
        assert chunks[-1]["usage"]["completion_tokens"] == expected


async def test_reasoning_dialects(demo: DemoProcess) -> None:
    for dialect, field in (("deepseek", "reasoning_content"), ("ollama", "reasoning"), ("vllm", "reasoning")):
        answer = await ask(demo, stream(f"demo?dialect={dialect}&reasoning=5"))
        thoughts = [chunk["choices"][0]["delta"].get(field) for chunk in answer.chunks() if chunk["choices"]]
        assert len([thought for thought in thoughts if thought]) == 5
        assert answer.text() == DEFAULT_TEXT
        assert answer.chunks()[-1]["usage"]["completion_tokens"] == 21


async def test_azure_dialect(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?dialect=azure"))
    first, *rest = answer.chunks()

    assert first["choices"] == []
    assert first["prompt_filter_results"]
    assert all("content_filter_results" in choice for chunk in rest for choice in chunk["choices"])
    assert answer.text() == DEFAULT_TEXT


async def test_tool_arguments_come_in_pieces(demo: DemoProcess) -> None:
    chunks = (await ask(demo, stream("demo?tool=1", tools=[TOOL]))).chunks()

    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks[:-2]]
    assert (calls[0]["type"], calls[0]["function"]) == ("function", {"name": "weather", "arguments": ""})
    assert calls[0]["id"].startswith("call_demo_")
    assert len(calls) > 5
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(arguments) == {"city": "demo", "days": 1, "unit": "C"}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("option", "eol"), [("crlf", b"\r\n"), ("cr", b"\r")])
async def test_line_ends(demo: DemoProcess, option: str, eol: bytes) -> None:
    plain = await ask(demo, chat("demo?chunks=2", stream=True))
    odd = await ask(demo, chat(f"demo?chunks=2&{option}=1", stream=True))

    assert without_id(odd.body) == without_id(plain.body).replace(b"\n", eol)


async def test_no_space_and_no_final_blank_line(demo: DemoProcess) -> None:
    body = (await ask(demo, stream("demo?nospace=1&no_final_blank=1"))).body

    assert body.startswith(b'data:{"id"')
    assert b"data: " not in body
    assert body.endswith(b"\n\ndata:[DONE]\n")

    body = (await ask(demo, stream("demo?no_done=1&no_final_blank=1"))).body
    assert json.loads(body.split(b"\n\n")[-1].removeprefix(b"data: "))["usage"]["completion_tokens"] == 16


async def test_comments(demo: DemoProcess) -> None:
    body = (await ask(demo, stream("demo?comments=1&chunks=3"))).body
    frames = body.decode().split("\n\n")

    assert frames[0] == frames[2] == ": keep-alive"
    assert frames[::2] == [": keep-alive"] * 7 + [""]


@pytest.mark.parametrize("size", [1, 7])
async def test_split_ignores_frames_and_characters(demo: DemoProcess, size: int) -> None:
    answer = await ask(demo, chat(f"demo?split={size}&reply=h%C3%B6her+%F0%9F%A6%9C", stream=True))

    assert {len(piece) for piece in answer.pieces[:-1]} == {size}
    assert answer.text() == "höher 🦜"

    whole = await ask(demo, chat(f"demo?split={size}"))
    assert whole.json["choices"][0]["message"]["content"] == DEFAULT_TEXT


async def test_surrogates_are_split_over_chunks(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?surrogates=1"))

    lines = [line for line in answer.body.split(b"\n\n") if rb"\ud" in line]
    assert [re.search(rb'"content":("[^"]*")', line)[1] for line in lines] == [rb'"\ud83d"', rb'"\ude00"']  # type: ignore[index]
    assert answer.text().encode("utf-16", "surrogatepass").decode("utf-16") == DEFAULT_TEXT + "😀"


async def test_gzip(demo: DemoProcess) -> None:
    plain = await ask(demo, chat("demo?gzip=1"))
    streamed = await ask(demo, stream("demo?gzip=1&chunks=5"))

    assert plain.headers["content-encoding"] == streamed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(plain.body))["choices"][0]["message"]["content"] == DEFAULT_TEXT
    assert len(streamed.pieces) >= 5  # each frame can be read when it arrives
    assert gzip.decompress(streamed.body).endswith(b"data: [DONE]\n\n")


def without_id(body: bytes) -> bytes:
    return re.sub(rb'"id":"[^"]*","object":"[^"]*","created":\d+', b"", body)
