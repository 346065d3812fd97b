"""Complete answers and refusals of Google's, and errors as Google's clients get them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import errors

from app.errors import GatewayError, Kind, UpstreamError
from app.formats.gemini_generate import FORMAT
from tests.formats.gemini_generate.shapes import NO_QUIRKS, body, sdk

ANSWER: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "totalTokenCount": 9},
}
BLOCKED: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}


def test_usage_is_read() -> None:
    reply = FORMAT.read_reply(body(ANSWER), NO_QUIRKS)

    assert reply.error is None
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens) == (3, 6, 4)
    assert FORMAT.reply_text(body(ANSWER)) == "Hi"


def test_a_blocked_prompt_is_an_answer() -> None:
    reply = FORMAT.read_reply(body(BLOCKED), NO_QUIRKS)

    assert reply.error is None
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 0)


def test_half_a_character_is_no_fault() -> None:
    answer = b'{"candidates":[{"content":{"parts":[{"text":"\\ud83d"}]}}],"usageMetadata":{"promptTokenCount":1}}'

    assert FORMAT.read_reply(answer, NO_QUIRKS).usage is not None


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b"{}", b'{"candidates":', b'"x"', b'{"candidates":[],"x":"\xff"}'])
def test_what_is_no_answer(raw: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_reply(raw, NO_QUIRKS)
    assert caught.value.code == "upstream_bad_response"


def google(status: int, word: str, reason: str | None = None) -> dict[str, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return {"error": {"code": status, "message": "Words.", "status": word, "details": details}}


@pytest.mark.parametrize("wrapped", [False, True], ids=["object", "array of one"])
@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (400, google(400, "INVALID_ARGUMENT"), "INVALID_ARGUMENT", False),
        # Not the client's key: the operator's.
        (400, google(400, "INVALID_ARGUMENT", "API_KEY_INVALID"), "upstream_refused_credentials", True),
        (400, google(400, "FAILED_PRECONDITION"), "upstream_refused_credentials", True),
        (403, google(403, "PERMISSION_DENIED"), "upstream_refused_credentials", True),
        (404, google(404, "NOT_FOUND"), "upstream_model_not_found", True),
        (429, google(429, "RESOURCE_EXHAUSTED"), "upstream_rate_limited", True),
        (503, google(503, "UNAVAILABLE"), "upstream_overloaded", True),
        (500, google(500, "INTERNAL"), "upstream_error", True),
    ],
)
def test_googles_refusals(wrapped: bool, status: int, error: Any, code: str, retryable: bool) -> None:
    refusal = FORMAT.read_error(status, body([error] if wrapped else error))

    assert (refusal.code, refusal.retryable) == (code, retryable)
    assert refusal.upstream_code == error["error"]["status"]
    late = FORMAT.read_reply(body([error] if wrapped else error), NO_QUIRKS).error
    assert late is not None
    assert late.upstream_code == error["error"]["status"]


@pytest.mark.parametrize("raw", [b"<html>502</html>", b"", b"[]", b'{"message":"no"}', b'{"error":"no"}'])
def test_a_refusal_in_any_other_shape(raw: bytes) -> None:
    assert FORMAT.read_error(502, raw).code == "upstream_error"


# -- ours ----------------------------------------------------------------------------------------------------------------

OURS = [
    (GatewayError(Kind.INVALID, "invalid_type", "m", param="contents[0].role"), 400, "INVALID_ARGUMENT"),
    (GatewayError(Kind.AUTHENTICATION, "invalid_api_key", "m"), 401, "UNAUTHENTICATED"),
    (GatewayError(Kind.PERMISSION, "model_not_allowed", "m"), 403, "PERMISSION_DENIED"),
    (GatewayError(Kind.NOT_FOUND, "model_not_found", "m"), 404, "NOT_FOUND"),
    (GatewayError(Kind.TOO_LARGE, "request_too_large", "m"), 413, "INVALID_ARGUMENT"),
    (GatewayError(Kind.RATE_LIMIT, "rate_limit_exceeded", "m", retry_after=1.5), 429, "RESOURCE_EXHAUSTED"),
    (GatewayError(Kind.QUOTA, "insufficient_quota", "m"), 429, "RESOURCE_EXHAUSTED"),
    (GatewayError(Kind.INTERNAL, "internal_error", "m"), 500, "INTERNAL"),
    (GatewayError(Kind.UPSTREAM, "upstream_error", "m"), 502, "UNAVAILABLE"),
    (GatewayError(Kind.UNAVAILABLE, "service_unavailable", "m"), 503, "UNAVAILABLE"),
    (GatewayError(Kind.TIMEOUT, "upstream_timeout", "m"), 504, "DEADLINE_EXCEEDED"),
]


@pytest.mark.parametrize(("error", "status", "word"), OURS, ids=lambda value: getattr(value, "code", None))
def test_an_error_as_googles_sdk_raises_it(error: GatewayError, status: int, word: str) -> None:
    assert FORMAT.status_of(error) == status
    client = sdk(FORMAT.write_error(error), status=status)

    with pytest.raises(errors.ServerError if status >= 500 else errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="hi")

    assert (caught.value.code, caught.value.status, caught.value.message) == (status, word, "m")
    reasons = [detail.get("reason") for detail in caught.value.details["error"]["details"]]
    assert error.code.upper() in reasons


def test_an_error_says_which_field_and_when_to_come_back() -> None:
    told = json.loads(FORMAT.write_error(OURS[0][0]))["error"]["details"]
    assert told[1]["fieldViolations"] == [{"field": "contents[0].role", "description": "m"}]

    assert json.loads(FORMAT.write_error(OURS[5][0]))["error"]["details"][1]["retryDelay"] == "1.5s"


@pytest.mark.parametrize(("error", "status", "word"), OURS, ids=lambda value: getattr(value, "code", None))
def test_an_error_in_a_stream_as_googles_sdk_raises_it(error: GatewayError, status: int, word: str) -> None:
    stream = b"data: " + body(ANSWER) + b"\n\n" + FORMAT.write_stream_error(error, "sse")
    chunks = sdk(stream).models.generate_content_stream(model="m", contents="hi")

    assert next(chunks).text == "Hi"
    with pytest.raises(errors.APIError) as caught:
        next(chunks)
    assert (caught.value.code, caught.value.status) == (status, word)


def test_an_error_ends_an_array() -> None:
    whole = json.loads(b"[" + body(ANSWER) + FORMAT.write_stream_error(OURS[8][0], "array"))

    assert whole[0] == ANSWER
    assert whole[1]["error"]["code"] == 502
