"""The demo's `POST /v1/chat/completions` and `GET /v1/models`, as OpenAI answers them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from app.demo.answers import Writer
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts, strange_body, strike_early
from app.demo.openai_errors import Refusal, check_key, fault_fields, refuse, refuse_options, write_fault
from app.demo.openai_reply import Asked, Reply, compose, write_big_reply, write_head, write_reply
from app.demo.openai_request import MAX_REMEMBERED, PromptCounter, read_request
from app.demo.openai_stream import SSE, ChatStream, TailCutter
from app.demo.options import Options, OptionsError, read_request_options, split_model

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
        listed = [{"id": model, "object": "model", "created": MODELS_CREATED, "owned_by": "demo"} for model in models]
        self._models = orjson.dumps({"object": "list", "data": listed})

    async def list_models(self, exchange: Exchange) -> None:
        """`GET /v1/models`: the names that the demo was started with."""
        await exchange.read_body()
        try:
            check_key(exchange.headers)
        except Refusal as refusal:
            await refuse(exchange, refusal)
        else:
            await exchange.respond(200, (JSON,), self._models)

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
        options, streams = asked.options, bool(asked.request.stream)
        exchange.alter(options)
        if options.echo_key:
            exchange.add_header(b"x-echo-key", asked.credential)
        if await strike_early(exchange, options, SSE if streams else (JSON,)):
            return
        if options.fails:
            await _fail(exchange, asked)
        elif streams:
            await ChatStream(exchange, reply, self._tails).run()
        else:
            await _answer_whole(exchange, reply)

    def _plan(self, body: bytes, credential: str, texts: str) -> Plan:
        request = read_request(body)
        assert request.model is not None
        name, model_texts = split_model(request.model)
        prompt_tokens = self._prompts.count(bytes(request.messages))
        try:
            options = read_request_options(model_texts, texts, self._scripts.take(request.model, name))
        except OptionsError as error:
            raise refuse_options(error) from error
        reply = compose(self._writer, Asked(request, name, options, prompt_tokens, credential))
        return Plan(reply, plain=not request.stream and options.faultless)


async def _fail(exchange: Exchange, asked: Asked) -> None:
    options = asked.options
    note = f" (key: {asked.credential})" if options.echo_key else ""
    strange = strange_body(options, fault_fields(options)[2] + note)
    await exchange.respond(*(strange or write_fault(options, note)))


async def _answer_whole(exchange: Exchange, reply: Reply) -> None:
    options, head = reply.asked.options, write_head(exchange.entry, "chat.completion")
    body = head + write_reply(reply) if options.big is None else write_big_reply(reply, head, options.big)
    status = options.status or 200
    if options.blank_lead:
        await _answer_after_blanks(exchange, options, body)
    elif options.cut is not None:
        await exchange.respond_half(status, (JSON,), body)
    elif options.cut_clean is not None:
        await exchange.respond(status, (JSON,), body[: len(body) // 2])
    elif options.stall_chunk is not None:
        await exchange.respond_half(status, (JSON,), body)
        await exchange.stall()
    else:
        exchange.entry.chunks_sent = 1
        await exchange.respond(status, (JSON,), body)


async def _answer_after_blanks(exchange: Exchange, options: Options, body: bytes) -> None:
    await exchange.start(options.status or 200, (JSON,))
    for _ in range(options.blank_lead):
        await exchange.write(b"\n")
        await exchange.pause(options.lead_ms / 1000)
    await exchange.finish(body)
