"""What OpenAI-compatible vendors add to OpenAI's chat and what they refuse of it, and the answers that need asking for."""

import json
from typing import Any

import httpx2 as httpx
import pytest

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.demo.test_openai_plain import TOOL, complete
from tests.demo.wire import ask, chat, stream

CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "fine"},
]
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]}


def assemble(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message of the first choice that the chunks tell."""
    message: dict[str, Any] = {"content": "", "refusal": "", "reasoning": "", "tool_calls": []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning"):
                message[name] += delta.get(name) or ""
            message["reasoning"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    message["tool_calls"].append({**call["function"], "id": call["id"]})
                else:
                    message["tool_calls"][call["index"]]["arguments"] += call["function"]["arguments"]
            message["finish_reason"] = choice["finish_reason"]
    return message


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("tool=3", {"tools": [TOOL, CLOCK]}),
        ("tool=2&reply=So&dialect=deepseek&reasoning=4", {"tools": [TOOL, CLOCK]}),
        ("reply=one+STOP+two", {"stop": ["x", "STOP"]}),
        ("", {"response_format": {"type": "json_object"}}),
        ("refuse=1", {}),
        ("dialect=openrouter&reasoning=5&comments=0", {}),
        ("finish=content_filter", {}),
    ],
)
async def test_whole_and_streamed_answers_agree(demo: DemoProcess, options: str, fields: dict[str, Any]) -> None:
    choice = (await ask(demo, chat(f"demo?{options}", **fields))).json["choices"][0]
    answer = await ask(demo, stream(f"demo?{options}", **fields))

    told = choice["message"]
    frames = [frame for frame in answer.body.decode().split("\n\n") if frame.startswith("data: {")]
    assert assemble([json.loads(frame[6:]) for frame in frames][:-1]) == {
        "content": told["content"] or "",
        "refusal": told["refusal"] or "",
        "reasoning": told.get("reasoning") or told.get("reasoning_content") or "",
        "tool_calls": [{**call["function"], "id": call["id"]} for call in told.get("tool_calls", ())],
        "finish_reason": choice["finish_reason"],
    }


async def test_several_tools_are_called_at_once(client: httpx.AsyncClient) -> None:
    message = (await complete(client, "demo?tool=3", tools=[TOOL, CLOCK]))["choices"][0]["message"]

    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "clock", "weather"]
    assert json.loads(message["tool_calls"][2]["function"]["arguments"]) == {"city": "demo 3", "days": 3, "unit": "C"}
    assert len({call["id"] for call in message["tool_calls"]}) == 3


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", ["weather"]), ({"type": "function", "function": {"name": "clock"}}, ["clock"]), ("none", [])],
)
async def test_tool_choice(client: httpx.AsyncClient, choice: Any, names: list[str]) -> None:
    message = (await complete(client, "demo", tools=[TOOL, CLOCK], tool_choice=choice))["choices"][0]["message"]

    assert [call["function"]["name"] for call in message.get("tool_calls", ())] == names


@pytest.mark.parametrize("stop", ["STOP", ["never", "STOP"]])
async def test_a_stop_sequence_ends_the_text_before_it(client: httpx.AsyncClient, stop: Any) -> None:
    choice = (await complete(client, "demo?reply=one+STOP+two&dialect=vllm", stop=stop))["choices"][0]

    assert (choice["message"]["content"], choice["finish_reason"], choice["stop_reason"]) == ("one ", "stop", "STOP")


async def test_structured_answer(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"tags": {"type": "array", "items": {"enum": ["a"]}, "minItems": 1}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = await complete(client, "demo", response_format=wanted)

    assert json.loads(body["choices"][0]["message"]["content"]) == {"tags": ["a"]}


@pytest.mark.parametrize(
    ("options", "fields", "words"),
    [
        ("dialect=deepseek", {"messages": TURNS}, "reasoning_content"),
        ("dialect=xai&reasoning=5", {"stop": "x"}, "stop"),
        ("dialect=xai&reasoning=5", {"presence_penalty": 0.5}, "presencePenalty"),
        ("dialect=qwen", {"enable_thinking": True}, "enable_thinking"),
        ("dialect=ollama", {"messages": [IMAGE]}, "invalid image input"),
    ],
)
async def test_what_a_dialect_refuses(demo: DemoProcess, options: str, fields: dict[str, Any], words: str) -> None:
    refused, taken = await ask(demo, chat(f"demo?{options}", **fields)), await ask(demo, chat("demo", **fields))

    assert (refused.status, taken.status) == (400, 200)
    error = refused.json["error"]
    assert words in (error if "ollama" in options else error["message"])


async def test_deepseek_takes_an_empty_thought_back(client: httpx.AsyncClient) -> None:
    turns = [TURNS[0], {**TURNS[1], "reasoning_content": ""}, TURNS[2]]
    body = await complete(client, "demo?dialect=deepseek", messages=turns)

    assert body["choices"][0]["message"]["content"] == DEFAULT_TEXT


async def test_qwen_thinks_in_streams_when_asked(demo: DemoProcess) -> None:
    thinking = assemble((await ask(demo, stream("demo?dialect=qwen", enable_thinking=True))).chunks()[:-1])
    plain = assemble((await ask(demo, stream("demo?dialect=qwen"))).chunks()[:-1])

    assert (bool(thinking["reasoning"]), bool(plain["reasoning"])) == (True, False)


async def test_openrouter(client: httpx.AsyncClient, demo: DemoProcess) -> None:
    message = (await complete(client, "demo?dialect=openrouter&reasoning=3"))["choices"][0]["message"]
    detail = message["reasoning_details"][0]
    assert detail["text"] == message["reasoning"] == "the demo upstream"
    assert detail["signature"]

    body = (await ask(demo, chat("demo?dialect=openrouter&reasoning=3", stream=True))).body.decode()
    assert body.startswith(": OPENROUTER PROCESSING\n\n")
    chunks = [json.loads(frame[6:]) for frame in body.split("\n\n") if frame.startswith("data: {")]
    details = [
        detail for chunk in chunks for c in chunk["choices"] for detail in c["delta"].get("reasoning_details", ())
    ]
    assert "".join(each["text"] for each in details) == message["reasoning"]
    assert details[-1]["signature"] == detail["signature"]
    assert chunks[-1]["usage"]["total_tokens"] == 8 + 16 + 3

    failed = await ask(demo, chat("demo?dialect=openrouter&status=503"))
    assert (failed.status, failed.json["error"]["code"]) == (503, 503)
    torn = (await ask(demo, chat("demo?dialect=openrouter&error_chunk=2", stream=True))).body.decode()
    last = json.loads(torn.split("data: ")[-1])
    assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (502, "error")


async def test_ollama_errors_are_plain_text(demo: DemoProcess) -> None:
    answer = await ask(demo, chat("demo?dialect=ollama&status=500"))

    assert isinstance(answer.json["error"], str)
