"""Whole answers and refusals in every shape that upstreams give them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.usage import Usage
from app.errors import Blame, GatewayError, Kind, UpstreamError
from app.formats.openai_chat import FORMAT

NO_QUIRKS = frozenset[str]()
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502</h1>nginx</body></html>"
DEEP = b"[" * 100_000 + b"]" * 100_000


def answer(message: object = None, usage: object = None, **more: object) -> bytes:
    choices = [{"index": 0, "message": message or {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    return json.dumps({"id": "c", "choices": choices, "usage": usage, **more}).encode()


USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


# -- answers with status 200 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        pytest.param(answer(usage=USAGE), Usage(9, 1), id="openai"),
        pytest.param(answer(), None, id="usage null"),
        pytest.param(answer(usage=[USAGE]), None, id="usage in an array"),
        pytest.param(answer(usage={**USAGE, "prompt_tokens": "9"}), None, id="usage in strings"),
        pytest.param(answer(usage={**USAGE, "prompt_tokens": 10**30}), None, id="usage beyond any integer"),
        pytest.param(answer(usage=USAGE, error=None), Usage(9, 1), id="error null"),
        pytest.param(answer(usage=USAGE, error={}), Usage(9, 1), id="error empty"),
        pytest.param(
            answer({"role": "assistant", "content": "cut \ud83d"}, USAGE), Usage(9, 1), id="an escaped lone surrogate"
        ),
        pytest.param(b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}', Usage(9, 1), id="no choice"),
    ],
)
def test_an_answer(body: bytes, usage: Usage | None) -> None:
    reply = FORMAT.read_reply(body, NO_QUIRKS)

    assert (reply.usage, reply.error) == (usage, None)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HTML, id="a page"),
        pytest.param(b"", id="nothing"),
        pytest.param(answer()[:-9], id="cut off"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a string"),
        pytest.param(b"[" + answer() + b"]", id="an array"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"message":"hello"}', id="something else"),
        pytest.param(b'{"object":"error","message":"no","code":400}', id="vllm: an error with status 200"),
        pytest.param(b'{"choices":[],"x":' + DEEP + b"}", id="nested too deeply"),
        pytest.param(b"data: " + answer() + b"\n\ndata: [DONE]\n\n", id="a stream nobody asked for"),
        pytest.param(b"\x1f\x8b\x08\x00\x00\x00", id="compressed bytes"),
        pytest.param(
            answer(usage=USAGE, x="Z").replace(b"Z", b"\xff"), id="bytes that are no text, in an unread field"
        ),
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_reply(body, NO_QUIRKS)

    assert (caught.value.code, caught.value.status) == ("upstream_bad_response", 502)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("error", "code", "status", "retryable"),
    [
        pytest.param({"message": "Bad", "code": 400}, "400", 400, False, id="openrouter: the client's fault"),
        pytest.param({"message": "Bad", "code": "422"}, "422", 422, False, id="a status in a string"),
        pytest.param({"message": "Bad", "code": 413}, "413", 413, False, id="too large"),
        pytest.param({"message": "Bad", "code": 401}, "upstream_error", 502, True, id="the operator's key"),
        pytest.param({"message": "Bad", "code": 402}, "upstream_error", 502, True, id="the operator's money"),
        pytest.param({"message": "Bad", "code": 404}, "upstream_error", 502, True, id="not there"),
        pytest.param({"message": "Bad", "code": 429}, "upstream_error", 502, True, id="rate limit"),
        pytest.param({"message": "Bad", "code": 502}, "upstream_error", 502, True, id="its own fault"),
        pytest.param({"message": "Bad", "code": "rate_limit"}, "upstream_error", 502, True, id="a word"),
        pytest.param({"message": "Bad", "code": "²"}, "upstream_error", 502, True, id="superscript digits"),
        pytest.param({"message": "Bad", "code": True}, "upstream_error", 502, True, id="a boolean"),
        pytest.param({"message": "Bad", "code": 10**4299}, "upstream_error", 502, True, id="a huge number"),
        pytest.param("Bad", "upstream_error", 502, True, id="a string"),
        pytest.param(["Bad"], "upstream_error", 502, True, id="an array"),
        pytest.param({"message": 5, "code": []}, "upstream_error", 502, True, id="wrong types"),
        pytest.param({"message": "\ud83d", "code": "\ud83d\0"}, "upstream_error", 502, True, id="surrogates"),
    ],
)  # fmt: skip
def test_an_error_with_status_200(error: object, code: str, status: int, retryable: bool) -> None:
    found = FORMAT.read_reply(json.dumps({"error": error}).encode(), NO_QUIRKS).error

    assert found is not None
    assert (found.code, found.status, found.retryable) == (code, status, retryable)
    rendered = json.loads(FORMAT.write_error(found))["error"]
    assert sorted(rendered) == ["code", "message", "param", "type"]


def test_an_answer_with_choices_and_an_error_is_an_error() -> None:
    assert FORMAT.read_reply(answer(usage=USAGE, error={"message": "Bad"}), NO_QUIRKS).error is not None


# -- refusals by status ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "ours", "code"),
    [
        (401, Kind.UPSTREAM, 502, "upstream_refused_credentials"),
        (402, Kind.UPSTREAM, 502, "upstream_refused_credentials"),
        (403, Kind.UPSTREAM, 502, "upstream_refused_credentials"),
        (404, Kind.UPSTREAM, 502, "upstream_model_not_found"),
        (408, Kind.TIMEOUT, 504, "upstream_timeout"),
        (429, Kind.RATE_LIMIT, 429, "upstream_rate_limited"),
        (500, Kind.UPSTREAM, 502, "upstream_error"),
        (502, Kind.UPSTREAM, 502, "upstream_error"),
        (503, Kind.UNAVAILABLE, 503, "upstream_overloaded"),
        (504, Kind.TIMEOUT, 504, "upstream_timeout"),
        (529, Kind.UNAVAILABLE, 503, "upstream_overloaded"),
        (418, Kind.UPSTREAM, 502, "upstream_error"),
        (201, Kind.UPSTREAM, 502, "upstream_error"),
    ],
)
def test_what_lies_between_operator_and_upstream(status: int, kind: Kind, ours: int, code: str) -> None:
    error = FORMAT.read_error(status, b'{"error":{"message":"Key sk-secret is bad","code":"private"}}')

    assert (error.kind, error.status, error.code) == (kind, ours, code)
    assert error.retryable
    assert "sk-secret" not in error.message
    assert (error.upstream_status, error.upstream_code) == (status, "private")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID),
        (409, Kind.CONFLICT),
        (413, Kind.TOO_LARGE),
        (415, Kind.UNSUPPORTED),
        (422, Kind.INVALID),
    ],
)
@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        pytest.param(
            b'{"error":{"message":"Too long","type":"x","param":"messages","code":"context_length_exceeded"}}',
            "Too long", "context_length_exceeded", "messages", id="openai",
        ),
        pytest.param(b'{"error":{"message":"Too long","code":400}}', "Too long", "400", None, id="openrouter: int code"),
        pytest.param(b'[{"error":{"code":400,"message":"Too long","status":"INVALID_ARGUMENT"}}]', "Too long", "400", None,
                     id="gemini: in an array"),
        pytest.param(b'{"error":"Too long"}', "Too long", "upstream_rejected_request", None, id="ollama: a string"),
        pytest.param(b'{"object":"error","message":"Too long","type":"BadRequestError","param":null,"code":400}',
                     "Too long", "400", None, id="vllm: flat"),
        pytest.param(b'{"detail":"Too long"}', "The upstream rejected the request.", "upstream_rejected_request", None,
                     id="fastapi: detail"),
        pytest.param(HTML, "The upstream rejected the request.", "upstream_rejected_request", None, id="a page"),
        pytest.param(b"", "The upstream rejected the request.", "upstream_rejected_request", None, id="nothing"),
        pytest.param(DEEP, "The upstream rejected the request.", "upstream_rejected_request", None, id="nested too deeply"),
        pytest.param(b'{"error":{"message":"\\ud83d","code":"a\\u0000b","param":"\\n"}}', "?", "upstream_rejected_request",
                     None, id="what can't be stored"),
    ],
)  # fmt: skip
def test_what_the_client_got_wrong_is_told_in_the_upstreams_words(
    status: int, kind: Kind, body: bytes, message: str, code: str, param: str | None
) -> None:
    error = FORMAT.read_error(status, body)

    assert (error.kind, error.status, error.blame) == (kind, status, Blame.CLIENT)
    assert (error.message, error.code, error.param) == (message, code, param)
    assert not error.retryable


# -- text, for an estimate ---------------------------------------------------------------------------------------------


def test_all_that_was_produced_is_text() -> None:
    message: dict[str, Any] = {
        "content": "a ",
        "reasoning_content": "b ",
        "reasoning": "c ",
        "refusal": "d ",
        "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}, {"function": None}, None],
    }

    assert FORMAT.reply_text(answer(message)) == "a b c d look{}"


@pytest.mark.parametrize(
    "body",
    [b"", HTML, b"[]", b'{"choices":1}', b'{"choices":[1,null,{}]}', b'{"choices":[{"message":{"tool_calls":3}}]}'],
    ids=["nothing", "a page", "an array", "no choices", "strange choices", "strange calls"],
)
def test_text_of_anything_is_no_error(body: bytes) -> None:
    assert FORMAT.reply_text(body) == ""


# -- our own errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_an_error_in_openais_shape(kind: Kind) -> None:
    error = GatewayError(kind, "some_code", 'a "message"\n é', param="model")
    rendered = json.loads(FORMAT.write_error(error))["error"]

    assert rendered == {"message": 'a "message"\n é', "type": rendered["type"], "param": "model", "code": "some_code"}
    assert rendered["type"]
    assert FORMAT.write_stream_error(error) == b"data: " + FORMAT.write_error(error) + b"\n\n"
    assert b"\n" not in FORMAT.write_error(error)
