"""`/v1/rerank` and `/v2/rerank`: which documents fit a query best, as Jina, vLLM and Cohere answer it."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.usage import Usage
from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import read_field, read_fields, read_model, read_required
from app.surfaces.base import OpenAISurface, SurfaceRequest
from app.surfaces.counting import Inputs, bound_inputs, count_inputs, fair_inputs
from app.surfaces.rerank.facts import MAX_DOCUMENTS, RerankFacts
from app.surfaces.rerank.wires import CohereRerank, JinaRerank

COHERE_PATH = "/v2/rerank"

_string = msgspec.json.Decoder(str)
_documents = msgspec.json.Decoder(list[Any])
_boolean = msgspec.json.Decoder(bool | None)
_integer = msgspec.json.Decoder(int | None)


class Rerank(OpenAISurface):
    """See `app.surfaces.base.Surface`. `/v2/rerank` speaks Cohere's shape, the others Jina's and vLLM's."""

    name = "rerank"
    title = "Rerank"
    paths: tuple[str, ...] = ("/v1/rerank", "/rerank", COHERE_PATH)
    kinds = frozenset({"rerank"})

    def __init__(self) -> None:
        self.wires = MappingProxyType({"jina": JinaRerank(), "cohere": CohereRerank()})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields)
        facts = _read_facts(fields, path == COHERE_PATH)
        units = facts.search_units()
        return SurfaceRequest(
            model=model,
            most=Usage(input_tokens=_tokens(facts, bound_inputs), search_units=units),
            fair=Usage(input_tokens=_tokens(facts, fair_inputs), search_units=units),
            wire="cohere" if path == COHERE_PATH else "jina",
            body=body,
            fields=fields,
            facts=facts,
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        facts: RerankFacts = request.facts
        return Usage(input_tokens=_tokens(facts, count_inputs), search_units=facts.search_units())


def _read_facts(fields: dict[str, msgspec.Raw], cohere: bool) -> RerankFacts:
    query = read_field(fields, "query", _string, "a string")
    if query is None:
        raise invalid_request("'query' is required.", "query", "missing_required_parameter")
    read_required(fields, "documents", b"[", "an array")
    documents = tuple(read_field(fields, "documents", _documents, "an array"))
    if not 0 < len(documents) <= MAX_DOCUMENTS:
        raise invalid_request(f"'documents' must hold 1 to {MAX_DOCUMENTS}.", "documents", "invalid_value")
    top_n = read_field(fields, "top_n", _integer, "an integer")
    if top_n is not None and (top_n < 0 or (top_n == 0 and cohere)):
        raise invalid_request("'top_n' must be at least 1.", "top_n", "invalid_value")
    # Jina's default is to send them back, vLLM always does; Cohere's v2 never does.
    wants = read_field(fields, "return_documents", _boolean, "a boolean")
    texts = tuple(_text_of(document, place) for place, document in enumerate(documents))
    return RerankFacts(query, documents, texts, top_n or None, wants is not False and not cohere)


def _text_of(document: object, place: int) -> str | None:
    """What a document says; None for a picture. Raises GatewayError 400 for what is no document."""
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        text = document.get("text")
        return text if isinstance(text, str) else None
    raise invalid_request(f"'documents[{place}]' must be a string or an object.", "documents", "invalid_type")


def _tokens(facts: RerankFacts, count: Callable[[Inputs], int]) -> int:
    """Of what a reranker reads: the query with each document."""
    return count([facts.query]) * len(facts.texts) + count([text for text in facts.texts if text])
