"""Embeddings by Cohere's `/v2/embed`. Source: cohere's Python SDK, `v2/client.py`, and its response types."""

from __future__ import annotations

from app.core.usage import Usage, read_count, read_details
from app.errors import UpstreamError
from app.formats.base import Reply
from app.formats.framing import write_json
from app.formats.openai_chat.reply import read_error
from app.surfaces.base import SurfaceRequest
from app.surfaces.convert import ConvertingWire
from app.surfaces.embeddings.facts import EmbeddingFacts, listed, read_vector, write_embeddings
from app.surfaces.openai import read_object

INPUT_TYPE = "search_document"
"""Cohere's newer models insist on one, which OpenAI's shape has no field for: `input_type` beside the others says another."""


class CohereEmbeddings(ConvertingWire):
    """See `app.surfaces.base.Wire`."""

    carried = frozenset({"model", "input", "dimensions", "encoding_format", "input_type", "truncate"})
    advisory = frozenset({"user"})
    vendor = "Cohere"

    def write(self, request: SurfaceRequest, model: str) -> bytes:
        self.check(request)
        facts: EmbeddingFacts = request.facts
        asked: dict[str, object] = {"model": model, "texts": facts.texts(self.vendor), "embedding_types": ["float"]}
        asked["input_type"] = request.fields.get("input_type", INPUT_TYPE)
        if "truncate" in request.fields:
            asked["truncate"] = request.fields["truncate"]
        if facts.dimensions is not None:
            asked["output_dimension"] = facts.dimensions
        return write_json(asked)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return read_error(status, body)

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        billed = read_details(read_details(read_object(answer), "meta"), "billed_units")
        tokens = read_count(billed, "input_tokens")
        return Reply(None if tokens is None else Usage(input_tokens=tokens), None)

    def write_answer(self, request: SurfaceRequest, answer: bytes) -> bytes:
        vectors = listed(dict(read_details(read_object(answer), "embeddings")), "float")
        return write_embeddings(
            request, [read_vector(item) for item in vectors], self.read_reply(request, answer).usage
        )
