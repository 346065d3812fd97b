"""The demo's `:generateContent`, `:streamGenerateContent`, `:countTokens` and list of models, as Gemini answers them."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.answers import Writer
from app.demo.exchange import Exchange
from app.demo.faults import JSON, FaultScripts
from app.demo.gemini_answer import write_finish, write_parts, write_usage
from app.demo.gemini_errors import write_fault
from app.demo.gemini_request import Question, count_prompt, read_counted, read_question, wants_images
from app.demo.gemini_stream import ContentStream, Telling
from app.demo.gemini_turns import check_signatures
from app.demo.media.desk import Trouble
from app.demo.media.google import read_key, write_error
from app.demo.options import Options, OptionsError, read_request_options, split_model
from app.demo.routes import PatternHandler, Route
from app.demo.saying import Said, Wanted, say

VERSIONS = ("v1beta", "v1")
METHODS = ("generateContent", "streamGenerateContent", "countTokens")


class GeminiChat:
    """Answers Gemini's API for text, as strictly as it does; every model name is served."""

    def __init__(
        self, writer: Writer, scripts: FaultScripts, models: Sequence[str], make_images: PatternHandler
    ) -> None:
        self._writer = writer
        self._scripts = scripts
        self._models = models
        self._make_images = make_images

    def routes(self) -> list[Route]:
        """Those of both versions; of `/v1/models`, which is shared with other formats, the server takes care."""
        routes = [Route("GET", "/v1beta/models", self.list_models)]
        for version in VERSIONS:
            path = f"/{version}/models/{{model*}}"
            routes.append(Route("POST", f"{path}:generateContent", self.generate))
            routes.append(Route("POST", f"{path}:streamGenerateContent", self.stream))
            routes.append(Route("POST", f"{path}:countTokens", self.count_tokens))
        return [*routes, Route("GET", "/v1beta/models/{model*}", self.get_model)]

    async def generate(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:generateContent`; what wants images goes to the part that makes them."""
        if wants_images(await exchange.read_body()):
            await self._make_images(exchange, model)
        else:
            await self._answer(exchange, model, streams=False)

    async def stream(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:streamGenerateContent`: events with `?alt=sse`, else an array."""
        await self._answer(exchange, model, streams=True)

    async def count_tokens(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:countTokens`."""
        raw = await exchange.read_body()
        try:
            key = read_key(exchange)
            total = count_prompt(read_counted(raw), self._writer.count)
            _, options = self._read_options(exchange, model)
        except Trouble as trouble:
            await _refuse(exchange, trouble)
            return
        counted = {"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]}
        await answer(exchange, Answering(options, key, None, lambda _: orjson.dumps(counted), write_fault))

    async def list_models(self, exchange: Exchange) -> None:
        """`GET /models`: the names that the demo was started with, on one page."""
        await self._show(exchange, {"models": [_write_model(model) for model in self._models]})

    async def get_model(self, exchange: Exchange, model: str) -> None:
        """`GET /models/{model}`."""
        await self._show(exchange, _write_model(split_model(model)[0]))

    async def _show(self, exchange: Exchange, body: dict[str, Any]) -> None:
        await exchange.read_body()
        try:
            read_key(exchange)
        except Trouble as trouble:
            await _refuse(exchange, trouble)
        else:
            await exchange.respond(200, (JSON,), orjson.dumps(body))

    async def _answer(self, exchange: Exchange, model: str, *, streams: bool) -> None:
        raw = await exchange.read_body()
        try:
            key = read_key(exchange)
            question = read_question(raw)
            name, options = self._read_options(exchange, model)
            if options.strict_signatures:
                check_signatures(question.contents)
        except Trouble as trouble:
            await _refuse(exchange, trouble)
            return
        prompt = count_prompt(question.body, self._writer.count)
        ends: dict[str, Any] = {"modelVersion": name, "responseId": f"demo-{exchange.entry.id:08d}"}
        telling = self._tell(question, options, key, prompt, ends)
        array = exchange.query().get("alt") != "sse"
        stream = ContentStream(exchange, options, telling, array=array) if streams else None
        await answer(
            exchange, Answering(options, key, stream, lambda extra: _write_whole(telling, options, extra), write_fault)
        )

    def _tell(self, question: Question, options: Options, key: str, prompt: int, ends: dict[str, Any]) -> Telling:
        said = self._say(question, options, key)
        candidates = question.config.get("candidateCount", 1)

        def usage(visible: int) -> dict[str, Any] | None:
            return write_usage(options, prompt, said, candidates, visible)

        return Telling(said, candidates, ends, usage, _write_block(prompt, ends) if options.blocked else None)

    def _read_options(self, exchange: Exchange, model: str) -> tuple[str, Options]:
        name, texts = split_model(model)
        try:
            return name, read_request_options(texts, exchange.header(b"x-demo"), self._scripts.take(model, name))
        except OptionsError as error:
            raise Trouble(400, f"Demo options: {error}") from error

    def _say(self, question: Question, options: Options, key: str) -> Said:
        wanted = Wanted(
            options=options,
            credential=key,
            turn=orjson.dumps(question.contents),
            user_text=question.user_text,
            tools=question.tools,
            forced=question.forced,
            most_calls=question.most_calls,
            answered=question.answered,
            limit=question.config.get("maxOutputTokens"),
            stops=question.config.get("stopSequences", ()),
            thinks=question.thinks,
            shows_thought=question.shows_thought,
            schema=question.schema,
        )
        return say(self._writer, wanted)


def _write_whole(telling: Telling, options: Options, extra: str) -> bytes:
    if telling.blocked is not None:
        return telling.blocked
    parts = write_parts(telling.said, options, extra)
    # A candidate whose cap was used up by thoughts has a content without parts.
    held = {"role": "model", "parts": parts} if parts else {"role": "model"}
    content = {} if telling.said.stop == "refusal" else {"content": held}
    finish = write_finish(telling.said, options)
    usage = telling.usage(telling.said.tokens)
    body = {
        "candidates": [{**content, **finish, "index": index} for index in range(telling.candidates)],
        **({} if usage is None else {"usageMetadata": usage}),
        **telling.ends,
    }
    return orjson.dumps(body)


def _write_block(prompt: int, ends: dict[str, Any]) -> bytes:
    usage = {"promptTokenCount": prompt, "totalTokenCount": prompt}
    return orjson.dumps({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage, **ends})


def _write_model(model: str) -> dict[str, Any]:
    return {
        "name": f"models/{model}",
        "version": "demo",
        "displayName": model,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": list(METHODS),
        "thinking": True,
    }


async def _refuse(exchange: Exchange, trouble: Trouble) -> None:
    reply = write_error(trouble)
    await exchange.respond(reply.status, reply.headers, reply.body)
