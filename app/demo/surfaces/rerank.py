"""`POST /v1/rerank` as Jina and vLLM have it, with an `id` and with `usage`; the documents come back unless told."""

from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import write_fault
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.surfaces.intake import Intake, below_bases, refusing
from app.demo.surfaces.ranking import SHAPE, Ranked, rank


class Rerank:
    """Orders documents by a query."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases([("POST", "/rerank", self.create)])

    @refusing
    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/rerank`: the tokens are those of the query, once for each document, and of the documents."""
        asked = await self._intake.read(exchange, SHAPE)
        documents, ranked = rank(asked)
        count = self._intake.writer.count
        total = count(asked.fields["query"]) * len(documents) + sum(map(count, documents))
        usage = spoil(asked.options, {"prompt_tokens": total, "total_tokens": total})
        shows = asked.fields.get("return_documents", True)
        body = orjson.dumps(
            {
                "id": f"rerank-demo-{exchange.entry.id:08d}",
                "model": asked.model,
                **({} if usage is None else {"usage": usage}),
                "results": [_write_result(each, shows=shows) for each in ranked],
            }
        )
        await answer(exchange, Answering(asked.options, asked.credential, None, lambda _: body, write_fault))


def _write_result(ranked: Ranked, *, shows: bool) -> dict[str, Any]:
    document = {"document": {"text": ranked.text}} if shows else {}
    return {"index": ranked.index, "relevance_score": ranked.score, **document}
