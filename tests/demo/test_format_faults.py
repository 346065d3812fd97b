"""The faults that every chat format of the demo has, over the bare wire."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.demo.wire import WireAnswer, call_path

HI = "hi"


@dataclass(frozen=True, slots=True)
class Format:
    """A chat format: where it is asked, with which headers and body, and how a stream of it is asked for."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    stream_path: str | None = None

    def ask(self, demo: DemoProcess, options: str, *, streams: bool = False) -> WireAnswer:
        body = {**self.body, **({"stream": True} if streams and self.stream_path is None else {})}
        path = self.stream_path or self.path if streams else self.path
        return call_path(demo, path, body, {**self.headers, "x-demo": options})


FORMATS = {
    "openai": Format(
        "/v1/chat/completions",
        {"authorization": "Bearer k-test"},
        {"model": "demo", "messages": [{"role": "user", "content": HI}]},
    ),
    "anthropic": Format(
        "/v1/messages",
        {"x-api-key": "k-test", "anthropic-version": "2026-10-21"},
        {"model": "demo", "max_tokens": 99, "messages": [{"role": "user", "content": HI}]},
    ),
    "gemini": Format(
        "/v1beta/models/demo:generateContent",
        {"x-goog-api-key": "k-test"},
        {"contents": [{"parts": [{"text": HI}]}]},
        "/v1beta/models/demo:streamGenerateContent?alt=sse",
    ),
    "responses": Format("/v1/responses", {"authorization": "Bearer k-test"}, {"model": "demo", "input": HI}),
}
every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


@every_format
def test_html_and_delays(demo: DemoProcess, format: Format) -> None:
    answer = format.ask(demo, "body=html&status=502&delay_ms=1")

    assert (answer.status, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")


@every_format
def test_an_error_may_have_status_200(demo: DemoProcess, format: Format) -> None:
    answer = format.ask(demo, "error_200=1")

    assert answer.status == 200
    assert answer.json["error"]["message"]


@every_format
def test_a_429_says_when_to_come_back(demo: DemoProcess, format: Format) -> None:
    assert format.ask(demo, "status=429").headers["retry-after"] == "1"
    assert format.ask(demo, "status=429&retry_after=7").headers["retry-after"] == "7"
    assert "retry-after" not in format.ask(demo, "status=429&code=insufficient_quota").headers


@every_format
def test_the_key_is_told_where_asked(demo: DemoProcess, format: Format) -> None:
    assert "k-test" in format.ask(demo, "echo_key=1").headers["x-echo-key"]
    assert "k-test" in format.ask(demo, "echo_key=1").body.decode()
    assert "k-test" in format.ask(demo, "echo_key=1&status=400").json["error"]["message"]


@every_format
@pytest.mark.parametrize("size", [3_000, 100_003])
def test_big_answers_have_their_size(demo: DemoProcess, format: Format, size: int) -> None:
    answer = format.ask(demo, f"big={size}")

    assert len(answer.body) == size
    assert answer.json
    assert "demo demo" in answer.body.decode()


@every_format
def test_half_an_answer_is_no_json(demo: DemoProcess, format: Format) -> None:
    with pytest.raises(json.JSONDecodeError):
        _ = format.ask(demo, "cut_clean=1").json


@every_format
def test_streams_end_early_and_cleanly(demo: DemoProcess, format: Format) -> None:
    answer = format.ask(demo, "cut_clean=3&chunks=10", streams=True)

    assert answer.headers["content-type"].startswith("text/event-stream")
    text = answer.body.decode()
    assert text.endswith("\n\n")
    ends = ("[DONE]", "message_stop", "finishReason", "response.completed")
    assert not any(end in text for end in ends)
    assert demo.settled()[-1]["chunks_sent"] == 3


@every_format
def test_broken_frames_are_followed_by_the_rest(demo: DemoProcess, format: Format) -> None:
    whole, broken = format.ask(demo, "", streams=True), format.ask(demo, "malformed=2", streams=True)

    frames, extra = whole.body.decode().split("\n\n"), broken.body.decode().split("\n\n")
    assert len(extra) == len(frames) + 1
    with pytest.raises(json.JSONDecodeError):
        [json.loads(frame.split("data: ")[1]) for frame in extra[:-1] if "[DONE]" not in frame]


@every_format
def test_scripts_hold_for_every_format(demo: DemoProcess, format: Format) -> None:
    demo.script("demo", {"status": 503}, {"reply": "scripted"})

    assert format.ask(demo, "").status == 503
    assert b"scripted" in format.ask(demo, "").body
    assert DEFAULT_TEXT.encode() in format.ask(demo, "").body


@every_format
def test_a_mistyped_option_is_no_answer(demo: DemoProcess, format: Format) -> None:
    answer = format.ask(demo, "tokans=3")

    assert answer.status == 400
    assert "tokans" in answer.json["error"]["message"]


@every_format
def test_a_body_that_is_no_json(demo: DemoProcess, format: Format) -> None:
    assert call_path(demo, format.path, "no object", format.headers).status == 400
