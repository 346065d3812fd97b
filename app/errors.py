"""The one error type that crosses layers: what went wrong, whose fault it is, and what a client may do about it.

    GatewayError            anything the client is told
    └── UpstreamError       an upstream said no, or said nothing; keeps what it said

The client's *format* renders an error (`formats/<name>`); nothing here knows a wire shape.
"""

from __future__ import annotations

from enum import StrEnum


class Blame(StrEnum):
    """Who has to act for the next try to succeed."""

    CLIENT = "client"
    CHANNEL = "channel"
    GATEWAY = "gateway"


class Kind(StrEnum):
    """What sort of refusal this is; formats map it to their own `type` and status."""

    INVALID = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported_media_type"
    RATE_LIMIT = "rate_limit"
    QUOTA = "insufficient_quota"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


STATUS_BY_KIND = {
    Kind.INVALID: 400,
    Kind.AUTHENTICATION: 401,
    Kind.PERMISSION: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.RATE_LIMIT: 429,
    Kind.QUOTA: 429,
    Kind.UPSTREAM: 502,
    Kind.TIMEOUT: 504,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}


class GatewayError(Exception):
    """An answer the client must get instead of the one it asked for.

    `code` is stable and documented (`docs/errors.md`); `message` is safe to show to a client: it never holds a
    secret. `status` is the HTTP status in OpenAI's dialect. `retryable` says that another channel may do better.
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        blame: Blame = Blame.CLIENT,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.kind = kind
        self.code = code
        self.message = message
        self.param = param
        self.status = STATUS_BY_KIND[kind] if status is None else status
        self.blame = blame
        self.retryable = retryable
        self.retry_after = retry_after


class UpstreamError(GatewayError):
    """An upstream refused or failed; `upstream_status` is None when it never answered.

    `pause`: seconds that it asked to be left alone for; `retry_after` is what a client is told of that.
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        message: str,
        *,
        upstream_status: int | None = None,
        upstream_code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        blame: Blame = Blame.CHANNEL,
        retryable: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            kind,
            code,
            message,
            param=param,
            status=status,
            blame=blame,
            retryable=retryable,
            retry_after=retry_after,
        )
        self.upstream_status = upstream_status
        self.upstream_code = upstream_code
        self.pause: float | None = None


def invalid_request(message: str, param: str | None = None, code: str = "invalid_request") -> GatewayError:
    """A 400 that names the field at fault."""
    return GatewayError(Kind.INVALID, code, message, param=param)


def unauthenticated(message: str) -> GatewayError:
    """A 401. One code for every bad key, so that an answer never tells a wrong key from a revoked one."""
    return GatewayError(Kind.AUTHENTICATION, "invalid_api_key", message)


def unavailable(message: str) -> GatewayError:
    """A 503 for our own trouble, the database's above all; never a 401, whatever step it happened in."""
    return GatewayError(
        Kind.UNAVAILABLE,
        "service_unavailable",
        message,
        blame=Blame.GATEWAY,
        retryable=False,
        retry_after=1.0,
    )


def bad_upstream_response(message: str) -> UpstreamError:
    """A 502: what an upstream sent isn't what its format promises."""
    return UpstreamError(Kind.UPSTREAM, "upstream_bad_response", message)
