"""The demo's `POST /v1/chat/completions` and `GET /v1/models`, as OpenAI answers them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.answers import Writer
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts
from app.demo.openai_dialects import check_dialect
from app.demo.openai_errors import Refusal, check_key, refuse, refuse_options, write_fault
from app.demo.openai_reply import Asked, Reply, compose, write_head, write_reply
from app.demo.openai_request import MAX_REMEMBERED, PromptCounter, read_request
from app.demo.openai_stream import ChatStream, TailCutter
from app.demo.options import OptionsError, read_request_options, split_model

MODELS_CREATED = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """A reply and whether it goes out whole and unharmed, the way that must be fast."""

    reply: Reply
    plain: bool


class OpenAIChat:
    """Answers OpenAI's chat format; every model name is served."""

    def __init__(self, writer: Writer, scripts: FaultScripts, models: Sequence[str]) -> None:
        self._writer = writer
        self._scripts = scripts
        self._prompts = PromptCounter(writer)
        self._tails = TailCutter()
        # Benchmarks repeat a request; what it asks for is worked out once.
        self._planned: Callable[[bytes, str, str], Plan] = functools.lru_cache(maxsize=256)(self._plan)
        self._bodies: Callable[[Reply], bytes] = functools.lru_cache(maxsize=256)(write_reply)
        self._models = orjson.dumps({"object": "list", "data": [_write_model(model) for model in models]})

    async def list_models(self, exchange: Exchange) -> None:
        """`GET /v1/models`: the names that the demo was started with."""
        await _show(exchange, self._models)

    async def get_model(self, exchange: Exchange, model: str) -> None:
        """`GET /v1/models/{model}`."""
        await _show(exchange, orjson.dumps(_write_model(split_model(model)[0])))

    async def complete(self, exchange: Exchange) -> None:
        """`POST /v1/chat/completions`."""
        body = await exchange.read_body()
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        try:
            credential, texts = check_key(exchange.headers)
            if len(body) > MAX_REMEMBERED or self._scripts.loaded:
                plan = self._plan(body, credential, texts)
            else:
                plan = self._planned(body, credential, texts)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        if plan.plain:
            exchange.entry.chunks_sent = 1
            head = write_head(exchange.entry, "chat.completion")
            await exchange.respond(200, (JSON,), head + self._bodies(plan.reply))
        else:
            await self._answer(exchange, plan.reply)

    async def _answer(self, exchange: Exchange, reply: Reply) -> None:
        asked = reply.asked
        stream = ChatStream(exchange, reply, self._tails) if asked.request.stream else None

        def write(extra: str) -> bytes:
            return write_head(exchange.entry, "chat.completion") + write_reply(reply, extra)

        ready = Answering(asked.options, asked.credential, stream, write, write_fault)
        await answer(exchange, ready)

    def _plan(self, body: bytes, credential: str, texts: str) -> Plan:
        request = read_request(body)
        assert request.model is not None
        name, model_texts = split_model(request.model)
        prompt_tokens = self._prompts.count(bytes(request.messages))
        try:
            options = read_request_options(model_texts, texts, self._scripts.take(request.model, name))
        except OptionsError as error:
            raise refuse_options(error) from error
        check_dialect(options, request)
        reply = compose(self._writer, Asked(request, name, options, prompt_tokens, credential))
        return Plan(reply, plain=not request.stream and options.faultless)


async def _show(exchange: Exchange, body: bytes) -> None:
    await exchange.read_body()
    try:
        check_key(exchange.headers)
    except Refusal as refusal:
        await refuse(exchange, refusal)
    else:
        await exchange.respond(200, (JSON,), body)


def _write_model(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": MODELS_CREATED, "owned_by": "demo"}
