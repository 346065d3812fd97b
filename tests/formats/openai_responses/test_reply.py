"""Reading a complete response, kept ones and errors included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses.input_token_count_response import InputTokenCountResponse

from app.core.usage import Usage
from app.errors import Blame, GatewayError, Kind, UpstreamError
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import NO_QUIRKS, call, message, response, text, thought


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def test_an_answer() -> None:
    reply = FORMAT.read_reply(dumped(response(message(text("hi")), service_tier="flex")), NO_QUIRKS)

    assert reply.usage == Usage(9, 3, service_tier="flex")
    assert (reply.error, reply.id, reply.done) == (None, "resp_1", True)


@pytest.mark.parametrize(
    ("status", "done"),
    [("completed", True), ("incomplete", True), ("cancelled", True), ("queued", False), ("in_progress", False)],
)
def test_whether_an_upstream_still_works_on_it(status: str, done: bool) -> None:
    assert FORMAT.read_reply(dumped(response(status=status)), NO_QUIRKS).done is done


def test_what_is_kept() -> None:
    reply = FORMAT.read_reply(dumped(response(status="in_progress", usage=None)), NO_QUIRKS)

    assert (reply.id, reply.done, reply.usage) == ("resp_1", False, None)
    odd = [{"id": "msg_1"}, {"id": 7}, {}, None, {"id": "rs_2"}]
    assert FORMAT.read_reply(dumped(response(output=odd)), NO_QUIRKS).parts == ("msg_1", "rs_2")


@pytest.mark.parametrize(
    ("error", "status", "blame"),
    [
        ({"code": "server_error", "message": "oh"}, 502, Blame.CHANNEL),
        ({"code": "rate_limit_exceeded", "message": "oh"}, 502, Blame.CHANNEL),
        ({"code": "invalid_prompt", "message": "oh"}, 400, Blame.CLIENT),
        ({"code": "image_too_large", "message": "oh"}, 400, Blame.CLIENT),
        ({"code": None, "type": "invalid_request_error", "message": "oh"}, 400, Blame.CLIENT),
        ({"code": "whatever", "message": "oh"}, 502, Blame.CHANNEL),
        (None, 502, Blame.CHANNEL),
    ],
    ids=str,
)
def test_a_failed_response_is_an_error_that_keeps_its_usage(error: Any, status: int, blame: Blame) -> None:
    reply = FORMAT.read_reply(dumped(response(status="failed", error=error)), NO_QUIRKS)

    assert reply.error is not None
    assert (reply.error.status, reply.error.blame) == (status, blame)
    assert reply.usage == Usage(9, 3)


@pytest.mark.parametrize(
    "raw", [b"<html>", b"[]", b"{}", b"null", b'{"choices":[]}', b'{"output"', b'{"output":[],"x":"\xff"}'], ids=repr
)
def test_what_is_no_answer(raw: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_reply(raw, NO_QUIRKS)

    assert caught.value.code == "upstream_bad_response"


def test_half_a_character_is_no_reason_to_refuse() -> None:
    raw = dumped(response(message(text("\ud83d"))))

    assert FORMAT.read_reply(raw, NO_QUIRKS).usage == Usage(9, 3)
    assert FORMAT.reply_text(raw) == "\ud83d"


def test_the_text_of_an_answer() -> None:
    raw = dumped(response(thought("hm"), message(text("a"), {"type": "refusal", "refusal": "b"}), call('{"c":1}')))

    assert FORMAT.reply_text(raw) == 'hmablook{"c":1}'


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Kind.INVALID, "bad"),
        (429, Kind.RATE_LIMIT, "upstream_rate_limited"),
        (401, Kind.UPSTREAM, "upstream_refused_credentials"),
        (500, Kind.UPSTREAM, "upstream_error"),
    ],
)
def test_a_refusal(status: int, kind: Kind, code: str) -> None:
    error = FORMAT.read_error(status, b'{"error":{"message":"no","code":"bad","param":"input"}}')

    assert (error.kind, error.code) == (kind, code)


def test_errors_are_told_as_openai_does() -> None:
    error = GatewayError(Kind.INVALID, "invalid_type", "No.", param="input")

    assert json.loads(FORMAT.write_error(error)) == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "input", "code": "invalid_type"}
    }


def test_a_count() -> None:
    counted = InputTokenCountResponse.model_validate_json(FORMAT.write_count(7))

    assert counted.input_tokens == 7
    assert all(map(FORMAT.counts, FORMAT.count_paths))
    assert not any(map(FORMAT.counts, FORMAT.client_paths))
