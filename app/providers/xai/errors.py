"""Reads xAI's replies: JSON, and refusals of which one kind isn't the client's fault though its status says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.errors import Kind, UpstreamError
from app.providers.media import Failed, Reply, refused
from app.providers.replies import error_of, read_json


def read_body(reply: Reply) -> Mapping[str, Any]:
    """The object of a reply below 300. Raises UpstreamError, retryable where the channel's key is at fault.

    A wrong key is a 400 too (https://docs.x.ai/developers/debugging), with a message that shows part of it.
    """
    if reply.status == 400 and (error := error_of(reply)) and "api key" in error.message.lower():
        raise UpstreamError(
            Kind.UPSTREAM,
            "upstream_error",
            "The upstream answered 400.",
            upstream_status=400,
            upstream_code="incorrect_api_key",
        )
    return read_json(reply)


def read_accepted(reply: Reply) -> Mapping[str, Any] | Failed:
    """The object of a submission's reply, or the verdict where the request is at fault. Raises UpstreamError."""
    try:
        return read_body(reply)
    except UpstreamError as error:
        if (failed := refused(error)) is not None:
            return failed
        raise
