"""What a request for a ranking says, in one shape, and a ranking in each of the shapes that clients read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.usage import Usage
from app.errors import bad_upstream_response
from app.formats.framing import write_json
from app.surfaces.base import SurfaceRequest
from app.surfaces.counting import bound_inputs

MAX_DOCUMENTS = 10_000
UNIT_DOCUMENTS = 100
UNIT_TOKENS = 500
"""Cohere's search unit: one query with up to a hundred documents. A document and its query that are longer than 500 tokens
together count as several, each of so many tokens (Cohere's pricing page)."""


@dataclass(frozen=True, slots=True)
class RerankFacts:
    """`documents` as the client gave them, `texts` what they say, None where one isn't text. `top_n` None: all of them."""

    query: str
    documents: tuple[Any, ...]
    texts: tuple[str | None, ...]
    top_n: int | None
    wants_documents: bool

    def search_units(self) -> int:
        """What Cohere would bill, about."""
        query = bound_inputs([self.query])
        counted = sum(-(-(query + bound_inputs([text or ""])) // UNIT_TOKENS) for text in self.texts)
        return max(1, -(-counted // UNIT_DOCUMENTS))


@dataclass(frozen=True, slots=True)
class Ranked:
    """One result of a ranking: which document, how relevant."""

    index: int
    score: float


def read_ranking(reply: Mapping[str, Any], documents: int) -> list[Ranked]:
    """The results of an answer, in any vendor's shape. Raises UpstreamError for what is none."""
    results = reply.get("results")
    if not isinstance(results, list):
        raise bad_upstream_response("The upstream's answer has no results.")
    found = []
    for item in results:
        index, score = (item.get("index"), item.get("relevance_score")) if isinstance(item, dict) else (None, None)
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(score, int | float):
            raise bad_upstream_response("A result of the upstream's has no index or no score.")
        if not 0 <= index < documents:
            raise bad_upstream_response("A result of the upstream's is of no document that was sent.")
        found.append(Ranked(index, float(score)))
    return found


def write_jina(request: SurfaceRequest, ranking: list[Ranked], used: Usage | None) -> bytes:
    """As Jina and vLLM answer."""
    facts: RerankFacts = request.facts
    tokens = request.fair.input_tokens if used is None or not used.input_tokens else used.input_tokens
    results: list[dict[str, Any]] = []
    for ranked in ranking:
        result: dict[str, Any] = {"index": ranked.index, "relevance_score": ranked.score}
        if facts.wants_documents:
            document = facts.documents[ranked.index]
            result["document"] = {"text": document} if isinstance(document, str) else document
        results.append(result)
    usage = {"total_tokens": tokens, "prompt_tokens": tokens}
    return write_json({"model": request.model, "object": "list", "usage": usage, "results": results})


def write_cohere(request: SurfaceRequest, ranking: list[Ranked], used: Usage | None, id: str) -> bytes:
    """As Cohere's v2 answers."""
    facts: RerankFacts = request.facts
    units = facts.search_units() if used is None or not used.search_units else used.search_units
    results = [{"index": ranked.index, "relevance_score": ranked.score} for ranked in ranking]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
    return write_json({"id": id, "results": results, "meta": meta})
