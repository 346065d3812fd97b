"""The demo upstream's ASGI app: the wire formats of chat and media, and the control endpoints, behind one router."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.demo.answers import Writer
from app.demo.anthropic_messages import AnthropicMessages
from app.demo.asgi import Receive, Scope, Send
from app.demo.control import PREFIX, Control, reply_json
from app.demo.exchange import ClientGone, Exchange
from app.demo.faults import FaultScripts
from app.demo.gemini_chat import GeminiChat
from app.demo.journal import Journal
from app.demo.media.desk import Desk
from app.demo.media.fakes import FAKES
from app.demo.media.google import Gemini
from app.demo.media.studio import Studio
from app.demo.openai_chat import OpenAIChat
from app.demo.realtime import Realtime
from app.demo.responses_chat import OpenAIResponses
from app.demo.routes import Handler, PatternHandler, Route, Router
from app.demo.surfaces.all import surface_routes

MODELS = ("demo", "demo-large")


@dataclass(frozen=True, slots=True)
class ByVendor:
    """What several vendors have under one path, `GET /v1/models`: told apart by the headers that only one of them takes."""

    openai: PatternHandler
    anthropic: PatternHandler
    gemini: PatternHandler

    async def __call__(self, exchange: Exchange, *values: str) -> None:
        """Answers as the vendor that the caller means."""
        if exchange.header(b"anthropic-version"):
            await self.anthropic(exchange, *values)
        elif exchange.header(b"x-goog-api-key") or "key" in exchange.query():
            await self.gemini(exchange, *values)
        else:
            await self.openai(exchange, *values)


@dataclass(frozen=True, slots=True)
class DemoApp:
    """Routes requests: what `router` knows; the rest is control, health or 404."""

    router: Router
    control: Control
    journal: Journal
    realtime: Realtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] == "websocket":
            await self.realtime(scope, receive, send)
            return
        if scope["type"] != "http":
            await _serve_lifespan(scope, receive, send)
            return
        path: str = scope["path"]
        handler = self.router.exact.get((scope["method"], path))
        if handler is not None:
            await self._serve(handler, scope, receive, send)
        elif (found := self.router.match(scope["method"], path)) is not None:
            pattern_handler, values = found
            await self._serve(lambda exchange: pattern_handler(exchange, *values), scope, receive, send)
        elif path.startswith(PREFIX):
            await self.control(scope, receive, send)
        elif path == "/healthz":
            await reply_json(send, 200, {"status": "ok"})
        else:
            message = f"Invalid URL ({scope['method']} {path})"
            error = {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": "unknown_url",
            }
            await reply_json(send, 404, {"error": error})

    async def _serve(self, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        journal = self.journal
        entry = journal.begin(scope["method"], scope["path"], scope["query_string"], scope["headers"])
        exchange = Exchange(scope, receive, send, entry, journal)
        try:
            await handler(exchange)
        except ClientGone:
            pass
        finally:
            exchange.close()
            journal.end(entry)


def create_demo_app(*, record: bool = True, models: Sequence[str] = MODELS) -> DemoApp:
    """Builds a demo upstream with a state of its own.

    `record=False` keeps no requests for `/_demo/requests` (the counters stay), as benchmarks want it; `models` is
    what `GET /v1/models` lists, though any model name is answered.
    """
    journal, scripts, studio = Journal(keeps=record), FaultScripts(), Studio()
    writer, desk = Writer(), Desk(studio, scripts)
    chat, messages = OpenAIChat(writer, scripts, models), AnthropicMessages(writer, scripts, models)
    gemini = GeminiChat(writer, scripts, models, Gemini(desk).generate)
    router = Router()
    for base in ("", "/v1", "/openai/v1"):
        router.add((Route("POST", f"{base}/chat/completions", chat.complete),))
    lists = ByVendor(chat.list_models, messages.list_models, gemini.list_models)
    model = ByVendor(chat.get_model, messages.get_model, gemini.get_model)
    for base in ("", "/v1", "/anthropic/v1"):
        router.add((Route("GET", f"{base}/models", lists), Route("GET", f"{base}/models/{{model*}}", model)))
    router.add(OpenAIResponses(writer, scripts).routes())
    router.add(messages.routes())
    router.add(gemini.routes())
    router.add(desk.routes())
    realtime = Realtime(journal)
    router.add(realtime.routes())
    router.add(surface_routes(writer, scripts, router))
    for fake in FAKES:
        router.add(fake(desk).routes())
    return DemoApp(router, Control(journal, scripts, studio), journal, realtime)


async def _serve_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        raise NotImplementedError(f"the demo upstream speaks no {scope['type']}")
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
