"""How sessions end: who ended it, with which close code, and what each side is told."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import Blame, GatewayError, Kind

NORMAL = 1000
GOING_AWAY = 1001
POLICY = 1008
FAILED = 1011
LATER = 1013

_SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""Of the codes below 3000 those that may stand in a close frame (RFC 6455, 7.4, and IANA's registry)."""

MAX_REASON = 123
"""Bytes that a close frame has for a reason (RFC 6455, 5.5)."""


@dataclass(frozen=True, slots=True)
class End:
    """`code` and `reason` for the side that hasn't ended it, or for both. `error`: the client gets it as an event before."""

    by: str
    code: int
    reason: str = ""
    error: GatewayError | None = None

    def word(self, *, under_way: bool = False) -> str | None:
        """For entries and the log; None: all is well. `under_way`: a response was."""
        if self.error is not None:
            return self.error.code
        if self.by == "client" and under_way:
            return "client_closed_request"
        return None if self.code == NORMAL else f"closed_{self.code}"


def sendable(code: int | None) -> int:
    """A code that the other side may be told: 1005, 1006, 1015 and whatever else can't be sent become 1011."""
    return code if code is not None and (code in _SENDABLE or 3000 <= code <= 4999) else FAILED


def short(reason: str) -> str:
    """As much of a reason as fits."""
    return reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")


def by_client(code: int | None) -> End:
    """The client has closed, or is gone. A client that gave no code has closed normally."""
    if code in (None, 1005):
        return End("client", NORMAL)
    return End("client", GOING_AWAY if code == 1006 else sendable(code))


def by_upstream(code: int | None, reason: str, *, began: bool) -> End:
    """The upstream has closed, or is gone."""
    if code is not None and sendable(code) == code:
        return End("upstream", code, short(reason))
    message = "The upstream closed the connection." if began else "The upstream closed the connection at once."
    error = GatewayError(Kind.UPSTREAM, "upstream_disconnected", message, blame=Blame.CHANNEL)
    return End("upstream", FAILED, "upstream disconnected", error)


def by_gateway(error: GatewayError) -> End:
    """Something that the gateway can't or mustn't go on with."""
    match error.kind:
        case Kind.UNAVAILABLE:
            code = LATER
        case Kind.INTERNAL | Kind.UPSTREAM | Kind.TIMEOUT:
            code = FAILED
        case _:
            code = POLICY
    return End("gateway", code, error.code, error)


def idle(seconds: float) -> End:
    message = f"Nothing was sent either way for {seconds:g} seconds."
    return End("gateway", GOING_AWAY, "session_idle", GatewayError(Kind.TIMEOUT, "session_idle", message))


def expired(seconds: float) -> End:
    message = f"A session may last {seconds:g} seconds. Open a new one."
    return End("gateway", GOING_AWAY, "session_expired", GatewayError(Kind.TIMEOUT, "session_expired", message))


def stopping() -> End:
    error = GatewayError(
        Kind.UNAVAILABLE, "gateway_stopping", "The gateway is being restarted. Open a new session.", blame=Blame.GATEWAY
    )
    return End("gateway", GOING_AWAY, error.code, error)


def bug() -> End:
    return by_gateway(GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed.", blame=Blame.GATEWAY))
