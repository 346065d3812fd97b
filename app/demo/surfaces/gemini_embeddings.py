"""Gemini's `:embedContent` and `:batchEmbedContents` (https://ai.google.dev/api/embeddings; google-genai 3.4)."""

from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.gemini_chat import VERSIONS
from app.demo.gemini_errors import refuse_misfit, write_fault
from app.demo.gemini_shapes import CONTENT
from app.demo.media.desk import Trouble, read_object
from app.demo.media.google import read_key, write_error
from app.demo.openai_errors import Refusal
from app.demo.options import split_model
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.shapes import ListOf, Misfit, Number, Record, Text
from app.demo.surfaces.intake import Asked, Intake
from app.demo.surfaces.vectors import MOST_DIMENSIONS, embed

DEFAULT_DIMENSIONS = 3_072
MOST_REQUESTS = 100
MEDIA_TOKENS = 258
ONE = Record(
    needs={"content": CONTENT},
    may={
        "model": Text(),
        "taskType": Text(),
        "title": Text(),
        "outputDimensionality": Number(1, MOST_DIMENSIONS),
    },
    nulls=True,
    snake=True,
)
MANY = Record(needs={"requests": ListOf(ONE)}, nulls=True, snake=True)


class GeminiEmbeddings:
    """Answers with a vector for each content."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of both versions."""
        routes = []
        for version in VERSIONS:
            path = f"/{version}/models/{{model*}}"
            routes.append(Route("POST", f"{path}:embedContent", self.embed))
            routes.append(Route("POST", f"{path}:batchEmbedContents", self.embed_batch))
        return routes

    async def embed(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:embedContent`: one vector."""
        await self._answer(exchange, model, ONE)

    async def embed_batch(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:batchEmbedContents`: a vector for each of `requests`."""
        await self._answer(exchange, model, MANY)

    async def _answer(self, exchange: Exchange, model: str, shape: Record) -> None:
        raw = await exchange.read_body()
        try:
            key = read_key(exchange)
            body = _read(raw, shape)
            requests = body.get("requests", [body])
            _check(requests, model, batch=shape is MANY)
            asked = self._ask(exchange, model)
        except Trouble as trouble:
            reply = write_error(trouble)
            await exchange.respond(reply.status, reply.headers, reply.body)
            return
        vectors = [{"values": _embed(request)} for request in requests]
        usage = spoil(asked.options, {"promptTokenCount": sum(map(self._count, requests))})
        whole = orjson.dumps(
            {
                **({"embeddings": vectors} if shape is MANY else {"embedding": vectors[0]}),
                **({} if usage is None else {"usageMetadata": usage}),
            }
        )
        await answer(exchange, Answering(asked.options, key, None, lambda _: whole, write_fault))

    def _ask(self, exchange: Exchange, model: str) -> Asked:
        try:
            return self._intake.choose(exchange, model)
        except Refusal as refusal:
            raise Trouble(400, str(refusal)) from refusal

    def _count(self, request: dict[str, Any]) -> int:
        parts = request["content"].get("parts", ())
        return sum(self._intake.writer.count(part["text"]) if "text" in part else MEDIA_TOKENS for part in parts)


def _read(raw: bytes, shape: Record) -> dict[str, Any]:
    try:
        body: dict[str, Any] = shape.read(read_object(raw), ())
    except Misfit as misfit:
        raise refuse_misfit(misfit) from misfit
    return body


def _check(requests: list[dict[str, Any]], model: str, *, batch: bool) -> None:
    if not 1 <= len(requests) <= MOST_REQUESTS:
        raise Trouble(400, f"* BatchEmbedContentsRequest.requests: from 1 to {MOST_REQUESTS} are allowed in one batch")
    for request in requests:
        named = request.get("model", "" if batch else f"models/{model}")
        if split_model(named)[0] != f"models/{split_model(model)[0]}":
            raise Trouble(400, "* BatchEmbedContentsRequest.model: all models in the batch must be that of the path")
        if not request["content"].get("parts"):
            raise Trouble(400, "* EmbedContentRequest.content: contents is not specified")


def _embed(request: dict[str, Any]) -> list[float]:
    text = "\n".join(part.get("text") or orjson.dumps(part).decode() for part in request["content"]["parts"])
    return embed(text, request.get("outputDimensionality", DEFAULT_DIMENSIONS)).tolist()
