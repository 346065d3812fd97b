"""Requests that the demo makes of itself, as a batch does: they meet the endpoints that others meet, but no network."""

import asyncio
from dataclasses import dataclass

from app.demo.asgi import Headers, Message
from app.demo.exchange import ClientGone, Exchange
from app.demo.journal import Journal
from app.demo.routes import Router

# Answers that never come are waited for no longer than this.
PATIENCE = 5.0


@dataclass(slots=True)
class Answered:
    """What came back; `complete` says that it came to its end."""

    status: int = 0
    body: bytes = b""
    complete: bool = False


async def post_inside(router: Router, path: str, body: bytes, credential: str) -> Answered | None:
    """Posts JSON; None where there is no such endpoint. It isn't in the journal."""
    handler = router.exact.get(("POST", path))
    if handler is None:
        return None
    arrived: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answered = Answered()

    async def receive() -> Message:
        if arrived:
            return arrived.pop()
        await asyncio.sleep(PATIENCE)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status = 0 if (b"\0", b"") in message["headers"] else message["status"]
        else:
            answered.body += message["body"]
            answered.complete = not message["more_body"]

    headers: Headers = (
        (b"authorization", f"Bearer {credential}".encode("latin-1")),
        (b"content-type", b"application/json"),
    )
    journal = Journal(keeps=False)
    entry = journal.begin("POST", path, b"", headers)
    exchange = Exchange({"headers": headers}, receive, send, entry, journal)
    try:
        await handler(exchange)
    except ClientGone:
        pass
    finally:
        exchange.close()
    return answered
