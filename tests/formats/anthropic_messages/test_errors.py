"""Errors in Anthropic's dialect: what is written, what official SDKs make of it, and what upstreams' refusals mean."""

from __future__ import annotations

import json

import anthropic
import pytest

from app.errors import GatewayError, Kind, UpstreamError
from app.formats.anthropic_messages import FORMAT
from tests.formats.anthropic_messages.shapes import body, frame, sdk

ERRORS = [
    (GatewayError(Kind.INVALID, "invalid_type", "m"), 400, "invalid_request_error", anthropic.BadRequestError),
    (GatewayError(Kind.AUTHENTICATION, "invalid_api_key", "m"), 401, "authentication_error", anthropic.AuthenticationError),
    (GatewayError(Kind.QUOTA, "insufficient_quota", "m"), 402, "billing_error", anthropic.APIStatusError),
    (GatewayError(Kind.PERMISSION, "model_not_allowed", "m"), 403, "permission_error", anthropic.PermissionDeniedError),
    (GatewayError(Kind.NOT_FOUND, "model_not_found", "m"), 404, "not_found_error", anthropic.NotFoundError),
    (GatewayError(Kind.CONFLICT, "c", "m"), 409, "conflict_error", anthropic.ConflictError),
    (GatewayError(Kind.TOO_LARGE, "request_too_large", "m"), 413, "request_too_large", anthropic.APIStatusError),
    (GatewayError(Kind.RATE_LIMIT, "rate_limit_exceeded", "m"), 429, "rate_limit_error", anthropic.RateLimitError),
    (GatewayError(Kind.INTERNAL, "internal_error", "m"), 500, "api_error", anthropic.InternalServerError),
    (GatewayError(Kind.UPSTREAM, "upstream_error", "m"), 502, "api_error", anthropic.InternalServerError),
    (GatewayError(Kind.UNAVAILABLE, "service_unavailable", "m"), 503, "api_error", anthropic.InternalServerError),
    (GatewayError(Kind.TIMEOUT, "upstream_timeout", "m"), 504, "timeout_error", anthropic.InternalServerError),
    (FORMAT.read_error(529, b""), 529, "overloaded_error", anthropic.InternalServerError),
    (FORMAT.read_error(503, b""), 529, "overloaded_error", anthropic.InternalServerError),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status", "kind", "raised"), ERRORS, ids=[f"{error[1]} {error[0].code}" for error in ERRORS]
)
def test_the_sdk_raises_what_it_is(
    error: GatewayError, status: int, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    written = FORMAT.write_error(error)
    assert FORMAT.status_of(error) == status
    assert json.loads(written) == {
        "type": "error",
        "error": {"type": kind, "message": error.message, "details": {"error_code": error.code}},
    }

    with pytest.raises(raised) as caught:
        sdk(written, status=status).messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]
        )

    assert caught.value.status_code == status


def test_every_kind_has_a_type() -> None:
    for kind in Kind:
        assert FORMAT.write_error(GatewayError(kind, "c", "m"))


def test_an_error_inside_a_stream_is_raised_by_the_sdk() -> None:
    error = GatewayError(Kind.UPSTREAM, "upstream_truncated", "It broke\u2028off.")
    written = FORMAT.write_stream_error(error)
    assert written.startswith(b"event: error\ndata: ")
    assert written.endswith(b"\n\n")
    assert written.isascii()
    client = sdk(written, stream=True)

    with (
        pytest.raises(anthropic.APIStatusError, match="It broke"),
        client.messages.stream(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        stream.get_final_message()


@pytest.mark.parametrize(
    ("status", "answer", "code", "kind", "message"),
    [
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, "invalid_request_error",
         Kind.INVALID, "bad"),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "big"}}, "request_too_large",
         Kind.TOO_LARGE, "big"),
        (401, {"type": "error", "error": {"type": "authentication_error", "message": "key sk-x"}},
         "upstream_refused_credentials", Kind.UPSTREAM, None),
        (402, {"type": "error", "error": {"type": "billing_error", "message": "x"}}, "upstream_refused_credentials",
         Kind.UPSTREAM, None),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "x"}}, "upstream_model_not_found",
         Kind.UPSTREAM, None),
        (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "x",
         "details": {"error_code": "enforced_spend_limit_reached"}}}, "upstream_rate_limited", Kind.RATE_LIMIT, None),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "upstream_overloaded",
         Kind.UNAVAILABLE, None),
        (400, {"error": {"message": "as OpenAI says it", "code": "c1"}}, "c1", Kind.INVALID, "as OpenAI says it"),
        (400, {"detail": "as FastAPI says it"}, "upstream_rejected_request", Kind.INVALID, None),
    ],
)  # fmt: skip
def test_what_an_upstream_refuses_with(status: int, answer: object, code: str, kind: Kind, message: str | None) -> None:
    error = FORMAT.read_error(status, body(answer))

    assert (error.code, error.kind, error.upstream_status) == (code, kind, status)
    if message is not None:
        assert error.message == message
    assert "sk-x" not in error.message


def test_the_cause_of_a_refusal_is_kept() -> None:
    told = {"type": "rate_limit_error", "message": "x", "details": {"error_code": "enforced_spend_limit_reached"}}

    assert FORMAT.read_error(429, body({"error": told})).upstream_code == "enforced_spend_limit_reached"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'"x"', b'{"error":7}'])
def test_a_refusal_may_be_anything(answer: bytes) -> None:
    assert FORMAT.read_error(500, answer).code == "upstream_error"


@pytest.mark.parametrize(
    ("error", "retryable", "upstream_status"),
    [
        ({"type": "overloaded_error", "message": "x"}, True, 529),
        ({"type": "api_error", "message": "x"}, True, 500),
        ({"type": "invalid_request_error", "message": "x"}, False, 400),
        ({"type": "rate_limit_error", "message": "x"}, True, 429),
        ({"message": "x"}, True, 502),
    ],
)
def test_an_error_with_status_200(error: dict[str, str], retryable: bool, upstream_status: int) -> None:
    whole = {"type": "error", "error": error}
    reply = FORMAT.read_reply(body(whole), frozenset())
    tap = FORMAT.open_tap(FORMAT.read_request(b'{"model":"m","max_tokens":1,"messages":[]}'), frozenset())
    assert tap.feed(frame(whole)) == b""

    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(body(whole), frozenset())

    for found in (reply.error, tap.error, caught.value):
        assert found is not None
        assert (found.retryable, found.upstream_status) == (retryable, upstream_status)
