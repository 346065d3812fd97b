"""Embeddings by Gemini's `batchEmbedContents`: one request for each input, so that each gets a vector of its own.

Source: google-genai, `models.py`. What `usageMetadata` holds here is unverified; where it is missing, tokens are estimated.
"""

from __future__ import annotations

from app.core.usage import Usage, read_count, read_details
from app.errors import UpstreamError
from app.formats.base import Reply
from app.formats.framing import write_json
from app.formats.gemini_generate.reply import read_error
from app.surfaces.base import SurfaceRequest
from app.surfaces.convert import ConvertingWire
from app.surfaces.embeddings.facts import EmbeddingFacts, listed, read_vector, write_embeddings
from app.surfaces.openai import read_object


class GeminiEmbeddings(ConvertingWire):
    """See `app.surfaces.base.Wire`."""

    carried = frozenset({"model", "input", "dimensions", "encoding_format"})
    advisory = frozenset({"user"})
    vendor = "Gemini"

    def write(self, request: SurfaceRequest, model: str) -> bytes:
        self.check(request)
        facts: EmbeddingFacts = request.facts
        asked: dict[str, object] = {"model": f"models/{model}"}
        if facts.dimensions is not None:
            asked["outputDimensionality"] = facts.dimensions
        texts = facts.texts(self.vendor)
        return write_json({"requests": [{**asked, "content": {"parts": [{"text": text}]}} for text in texts]})

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return read_error(status, body)

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        tokens = read_count(read_details(read_object(answer), "usageMetadata"), "promptTokenCount")
        return Reply(None if tokens is None else Usage(input_tokens=tokens), None)

    def write_answer(self, request: SurfaceRequest, answer: bytes) -> bytes:
        items = listed(read_object(answer), "embeddings")
        vectors = [read_vector(item.get("values") if isinstance(item, dict) else None) for item in items]
        return write_embeddings(request, vectors, self.read_reply(request, answer).usage)
