"""Headers that keep browsers from doing more with an answer than it is for. Source: OWASP's REST security cheat sheet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.relay.exchange import Message, Receive, Scope, Send

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_NOTHING = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Wraps an application: adds what an answer hasn't got itself. Answers may hold keys and money: nobody caches them."""

    def __init__(self, app: ASGI, *, https: bool) -> None:
        """`https`: clients come over TLS, so that browsers may be told to insist on it."""
        self._app = app
        self._headers: Headers = (
            *_ALWAYS,
            (b"content-security-policy", _NOTHING),
            (b"cache-control", b"no-store"),
            *((_HSTS,) if https else ()),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                message["headers"] = headers + [item for item in self._headers if item[0] not in present]
            await send(message)

        await self._app(scope, receive, send_guarded)
