"""The demo's `POST /v1/messages`, `POST /v1/messages/count_tokens` and list of models, as Anthropic answers them."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.answers import Writer
from app.demo.anthropic_answer import write_blocks, write_ending, write_usage
from app.demo.anthropic_errors import Caller, Refusal, read_caller, refuse, write_fault
from app.demo.anthropic_request import Question, count_prompt, read_counted, read_question
from app.demo.anthropic_stream import MessageStream
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts
from app.demo.options import Options, OptionsError, read_request_options, split_model
from app.demo.routes import Route
from app.demo.saying import Said, Wanted, say
from app.demo.streaming import FaultyStream

# `/anthropic` is where DeepSeek and others serve this format.
BASES = ("/v1", "/anthropic/v1")
CREATED_AT = "2026-01-02T03:04:05Z"


class AnthropicMessages:
    """Answers Anthropic's Messages API, as strictly as it does; every model name is served."""

    def __init__(self, writer: Writer, scripts: FaultScripts, models: Sequence[str]) -> None:
        self._writer = writer
        self._scripts = scripts
        self._models = models

    def routes(self) -> list[Route]:
        """Those of both bases; the list of models is shared with other formats, so the server routes it."""
        return [
            route
            for base in BASES
            for route in (
                Route("POST", f"{base}/messages", self.create),
                Route("POST", f"{base}/messages/count_tokens", self.count_tokens),
            )
        ]

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/messages`."""
        raw = await exchange.read_body()
        request_id = _name_request(exchange)
        try:
            caller = read_caller(exchange)
            question = read_question(raw, caller)
            name, options = self._read_options(exchange, question)
        except Refusal as refusal:
            await refuse(exchange, refusal, request_id)
            return
        said = self._say(question, options, caller)
        usage = write_usage(options, count_prompt(question.body, self._writer.count), said)
        message = _begin(exchange, name, usage)
        ending = write_ending(said, options)

        def write(extra: str) -> bytes:
            content = [block.whole for block in write_blocks(said, question, options, extra)]
            return orjson.dumps({**message, "content": content, **ending})

        stream = None
        if question.body.get("stream"):
            blocks = write_blocks(said, question, options)
            stream = MessageStream(exchange, options, message, blocks, ending, long=said.long)
        await _answer(exchange, options, caller, stream, write)

    async def count_tokens(self, exchange: Exchange) -> None:
        """`POST /v1/messages/count_tokens`."""
        raw = await exchange.read_body()
        request_id = _name_request(exchange)
        try:
            caller = read_caller(exchange)
            question = read_counted(raw, caller)
            _, options = self._read_options(exchange, question)
        except Refusal as refusal:
            await refuse(exchange, refusal, request_id)
            return
        body = orjson.dumps({"input_tokens": count_prompt(question.body, self._writer.count)})
        await _answer(exchange, options, caller, None, lambda _: body)

    async def list_models(self, exchange: Exchange) -> None:
        """`GET /v1/models`: the names that the demo was started with, on one page."""
        listed = [_write_model(model) for model in self._models]
        await _show(
            exchange, {"data": listed, "has_more": False, "first_id": listed[0]["id"], "last_id": listed[-1]["id"]}
        )

    async def get_model(self, exchange: Exchange, model: str) -> None:
        """`GET /v1/models/{model}`."""
        await _show(exchange, _write_model(split_model(model)[0]))

    def _read_options(self, exchange: Exchange, question: Question) -> tuple[str, Options]:
        model = question.body["model"]
        name, texts = split_model(model)
        try:
            return name, read_request_options(texts, exchange.header(b"x-demo"), self._scripts.take(model, name))
        except OptionsError as error:
            raise Refusal(400, f"model: Demo options: {error}") from error

    def _say(self, question: Question, options: Options, caller: Caller) -> Said:
        wanted = Wanted(
            options=options,
            credential=caller.credential,
            turn=orjson.dumps(question.body["messages"]),
            user_text=question.user_text,
            tools=question.tools,
            forced=question.forced,
            most_calls=question.most_calls,
            answered=question.answered,
            limit=question.body["max_tokens"],
            stops=question.body.get("stop_sequences", ()),
            thinks=question.thinks,
            shows_thought=question.thinking.get("type") != "disabled",
            schema=question.schema,
        )
        return say(self._writer, wanted)


def _name_request(exchange: Exchange) -> str:
    request_id = f"req_demo_{exchange.entry.id}"
    exchange.add_header(b"request-id", request_id)
    return request_id


async def _answer(
    exchange: Exchange, options: Options, caller: Caller, stream: FaultyStream | None, write: Callable[[str], bytes]
) -> None:
    request_id = f"req_demo_{exchange.entry.id}"
    ready = Answering(
        options, caller.credential, stream, write, lambda asked, note: write_fault(asked, note, request_id)
    )
    await answer(exchange, ready)


def _begin(exchange: Exchange, model: str, usage: dict[str, Any] | None) -> dict[str, Any]:
    """A message before anything was said."""
    return {
        "id": f"msg_demo_{exchange.entry.id:08d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        **({} if usage is None else {"usage": usage}),
    }


async def _show(exchange: Exchange, body: dict[str, Any]) -> None:
    await exchange.read_body()
    request_id = _name_request(exchange)
    try:
        read_caller(exchange)
    except Refusal as refusal:
        await refuse(exchange, refusal, request_id)
    else:
        await exchange.respond(200, (JSON,), orjson.dumps(body))


def _write_model(model: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model,
        "display_name": model,
        "created_at": CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": None,
    }
