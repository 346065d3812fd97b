"""How vendors are told to rank: Jina's shape, which vLLM and others share, and Cohere's v2.

Sources: cohere's Python SDK, `v2/client.py`; vLLM's `pooling/scoring/protocol.py`; Jina's API as its users call it.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from app.core.usage import Usage, read_count, read_details
from app.errors import UpstreamError, invalid_request
from app.formats.base import Reply
from app.formats.framing import write_json
from app.formats.openai_chat.reply import read_error
from app.surfaces.base import SurfaceRequest
from app.surfaces.convert import ConvertingWire
from app.surfaces.openai import read_object, write_fields
from app.surfaces.rerank.facts import RerankFacts, read_ranking, write_cohere, write_jina

_BOTH = frozenset({"model", "query", "documents", "top_n", "return_documents"})


class _Rerank(ConvertingWire):
    """`name`: the shape; a request in the same goes on as it came."""

    name: str

    def write(self, request: SurfaceRequest, model: str) -> bytes:
        if request.wire == self.name:
            return write_fields(request, model=model)
        self.check(request)
        return write_json({"model": model, **self._write(request.facts)})

    def dropped(self, request: SurfaceRequest) -> tuple[str, ...]:
        return () if request.wire == self.name else super().dropped(request)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return read_error(status, body)

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        value = read_object(answer)
        read_ranking(value, len(request.facts.documents))
        return Reply(self._read_usage(value), None)

    def write_answer(self, request: SurfaceRequest, answer: bytes) -> bytes:
        if request.wire == self.name:
            return answer
        value = read_object(answer)
        ranking = read_ranking(value, len(request.facts.documents))
        if request.wire == "cohere":
            return write_cohere(request, ranking, self._read_usage(value), str(uuid4()))
        return write_jina(request, ranking, self._read_usage(value))

    def _write(self, facts: RerankFacts) -> dict[str, Any]:
        raise NotImplementedError

    def _read_usage(self, value: dict[str, Any]) -> Usage | None:
        raise NotImplementedError


class JinaRerank(_Rerank):
    """See `app.surfaces.base.Wire`."""

    name = "jina"
    carried = _BOTH
    advisory = frozenset({"priority"})

    def _write(self, facts: RerankFacts) -> dict[str, Any]:
        # The client's own documents are put into the answer, whatever comes back.
        asked = {"query": facts.query, "documents": facts.documents, "return_documents": False}
        return asked if facts.top_n is None else {**asked, "top_n": facts.top_n}

    def _read_usage(self, value: dict[str, Any]) -> Usage | None:
        report = read_details(value, "usage")
        tokens = read_count(report, "total_tokens")
        units = read_count(report, "search_units") or 0  # OpenRouter tells both
        return None if tokens is None else Usage(input_tokens=tokens, search_units=units)


class CohereRerank(_Rerank):
    """See `app.surfaces.base.Wire`."""

    name = "cohere"
    carried = _BOTH
    advisory = frozenset({"user"})
    vendor = "Cohere"

    def _write(self, facts: RerankFacts) -> dict[str, Any]:
        for place, text in enumerate(facts.texts):
            if text is None:
                message = f"'documents[{place}]' must be a text: this model's upstream ranks nothing else."
                raise invalid_request(message, "documents", "field_not_supported")
        asked = {"query": facts.query, "documents": facts.texts}
        return asked if facts.top_n is None else {**asked, "top_n": facts.top_n}

    def _read_usage(self, value: dict[str, Any]) -> Usage | None:
        meta = read_details(value, "meta")
        units = read_count(read_details(meta, "billed_units"), "search_units")
        tokens = read_count(read_details(meta, "tokens"), "input_tokens") or 0
        return None if units is None else Usage(input_tokens=tokens, search_units=units)
