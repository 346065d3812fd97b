"""Reads what Google's APIs answer, and tells whose fault a refusal is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.core.usage import read_addend, read_count
from app.errors import Kind, UpstreamError
from app.providers.media import Outcome, Reply, refused
from app.providers.replies import read_json


def read_answer(reply: Reply) -> Mapping[str, Any]:
    """As `read_json`; but a 400 or 404 that is about the channel is one that another channel may not give.

    Google answers a wrong API key with 400 and reason `API_KEY_INVALID`, a place or a billing that isn't served with 400
    FAILED_PRECONDITION (https://ai.google.dev/gemini-api/docs/troubleshooting), an unknown model with 404.
    """
    try:
        return read_json(reply)
    except UpstreamError as error:
        code = None if error.retryable else _channel_fault(reply)
        if code is None:
            raise
        raise UpstreamError(
            Kind.UPSTREAM,
            code,
            f"The upstream answered {reply.status}.",
            upstream_status=reply.status,
            upstream_code=error.upstream_code,
        ) from error


def read_accepted(reply: Reply, read: Callable[[Mapping[str, Any]], Outcome]) -> Outcome:
    """The answer to a submission: a refusal of the request itself is a verdict. Raises UpstreamError."""
    try:
        body = read_answer(reply)
    except UpstreamError as error:
        if (failed := refused(error)) is not None:
            return failed
        raise
    return read(body)


def add(report: Mapping[str, object], name: str, beside: str) -> int | None:
    """A token count and another that stands beside it; None if the first is missing, or either can't be."""
    count, more = read_count(report, name), read_addend(report, beside)
    return None if count is None or more is None else count + more


def _channel_fault(reply: Reply) -> str | None:
    if reply.status == 404:
        return "upstream_model_not_found"
    error = _read_error(reply.body)
    details = error.get("details")
    reasons = [detail.get("reason") for detail in (details if isinstance(details, list) else ()) if _is_object(detail)]
    if reply.status == 400 and ("API_KEY_INVALID" in reasons or error.get("status") == "FAILED_PRECONDITION"):
        return "upstream_refused_credentials"
    return None


def _read_error(body: bytes) -> Mapping[str, Any]:
    """The error object, out of a list of one if need be."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    error = found.get("error") if _is_object(found) else None
    return error if isinstance(error, dict) else {}


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
