"""Cohere's `POST /v2/embed` and `POST /v2/rerank` (cohere-python 7.3.1, `v2/raw_client.py`, `types/`).

Both bill in `meta.billed_units`: tokens that were embedded, or search units, one for each hundred documents.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.demo.answering import Answering, Fault, answer, retry_headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.openai_errors import Refusal, fault_fields
from app.demo.options import Options
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.shapes import ListOf, Number, Record, Tagged, Text
from app.demo.surfaces.intake import Asked, Intake
from app.demo.surfaces.ranking import SHAPE as RERANK
from app.demo.surfaces.ranking import rank
from app.demo.surfaces.vectors import MOST_DIMENSIONS, embed, to_base64

DEFAULT_DIMENSIONS = 1_536
DOCUMENTS_A_UNIT = 100
MOST_TEXTS = 96
IMAGE_TOKENS = 1_000
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering", "image")
TYPES = ("float", "base64", "int8", "uint8")
CONTENT = Tagged(
    "type",
    {
        "text": Record(needs={"type": Text(), "text": Text()}),
        "image_url": Record(needs={"type": Text(), "image_url": Record(needs={"url": Text()}, open=True)}),
    },
)
EMBED = Record(
    needs={"model": Text(), "input_type": Text(INPUT_TYPES)},
    may={
        "texts": ListOf(Text(), most=MOST_TEXTS),
        "images": ListOf(Text(), most=MOST_TEXTS),
        "inputs": ListOf(Record(needs={"content": ListOf(CONTENT)}, open=True), most=MOST_TEXTS),
        "embedding_types": ListOf(Text(TYPES)),
        "output_dimension": Number(1, MOST_DIMENSIONS),
    },
    nulls=True,
    open=True,
)


def _refusing(
    handler: Callable[["Cohere", Exchange], Awaitable[None]],
) -> Callable[["Cohere", Exchange], Awaitable[None]]:
    """Has a handler answer with the Refusal that it raises, in Cohere's shape."""

    @functools.wraps(handler)
    async def guarded(self: "Cohere", exchange: Exchange) -> None:
        try:
            await handler(self, exchange)
        except Refusal as refusal:
            await exchange.respond(refusal.status, (JSON,), write_error(str(refusal)))

    return guarded


class Cohere:
    """Embeds and reranks as Cohere's second version does."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of `/v2`."""
        return [Route("POST", "/v2/embed", self.embed), Route("POST", "/v2/rerank", self.rerank)]

    @_refusing
    async def embed(self, exchange: Exchange) -> None:
        """`POST /v2/embed`: floats unless other types are named."""
        asked = await self._intake.read(exchange, EMBED)
        fields = asked.fields
        texts, tokens = self._read_inputs(fields)
        vectors = [embed(text, fields.get("output_dimension", DEFAULT_DIMENSIONS)) for text in texts]
        kinds = fields.get("embedding_types") or ["float"]
        body: dict[str, Any] = {
            "id": f"embed-demo-{exchange.entry.id:08d}",
            "response_type": "embeddings_by_type",
            "embeddings": {kind: [_pack(vector, kind) for vector in vectors] for kind in kinds},
            **({"texts": fields["texts"]} if "texts" in fields else {}),
            "meta": _write_meta(asked, {"input_tokens": tokens}),
        }
        await _answer(exchange, asked, body)

    @_refusing
    async def rerank(self, exchange: Exchange) -> None:
        """`POST /v2/rerank`: no document comes back."""
        asked = await self._intake.read(exchange, RERANK)
        documents, ranked = rank(asked)
        body = {
            "id": f"rerank-demo-{exchange.entry.id:08d}",
            "results": [{"index": each.index, "relevance_score": each.score} for each in ranked],
            "meta": _write_meta(asked, {"search_units": -(-len(documents) // DOCUMENTS_A_UNIT)}),
        }
        await _answer(exchange, asked, body)

    def _read_inputs(self, fields: dict[str, Any]) -> tuple[list[str], int]:
        """What is embedded, an image by its address; and the tokens of it all."""
        given = [name for name in ("texts", "images", "inputs") if fields.get(name)]
        if len(given) != 1:
            raise Refusal(400, "invalid request: exactly one of texts, images or inputs must be set.", param="texts")
        count = self._intake.writer.count
        if given == ["texts"]:
            return fields["texts"], sum(map(count, fields["texts"]))
        if given == ["images"]:
            return fields["images"], IMAGE_TOKENS * len(fields["images"])
        texts, tokens = [], 0
        for item in fields["inputs"]:
            parts = item["content"]
            texts.append("\n".join(part.get("text") or part["image_url"]["url"] for part in parts))
            tokens += sum(count(part["text"]) if "text" in part else IMAGE_TOKENS for part in parts)
        return texts, tokens


def write_error(message: str) -> bytes:
    """An error as Cohere has it: a message and no more."""
    return orjson.dumps({"message": message})


def write_fault(options: Options, note: str) -> Fault:
    """The error that the options ask for; `note` ends its message."""
    message = fault_fields(options)[2] + note
    status = 200 if options.error_200 else options.status or 500
    headers = (JSON, *(() if options.error_200 else retry_headers(options, status)))
    return Fault(message, status, headers, write_error(message))


async def _answer(exchange: Exchange, asked: Asked, body: dict[str, Any]) -> None:
    whole = orjson.dumps(body)
    await answer(exchange, Answering(asked.options, asked.credential, None, lambda _: whole, write_fault))


def _write_meta(asked: Asked, units: dict[str, Any]) -> dict[str, Any]:
    billed = spoil(asked.options, units)
    meta: dict[str, Any] = {"api_version": {"version": "2"}}
    return meta if billed is None else {**meta, "billed_units": billed}


def _pack(vector: Any, kind: str) -> Any:
    match kind:
        case "base64":
            return to_base64(vector)
        case "int8":
            return [round(value * 127) for value in vector]
        case "uint8":
            return [round(value * 127) + 128 for value in vector]
        case _:
            return vector.tolist()
