"""`/v1/embeddings`: vectors of texts, in OpenAI's shape, and converted for Gemini and Cohere.

Source: openai-python, `types/embedding_create_params.py`, `create_embedding_response.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from app.core.usage import Usage, read_count, read_details
from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import read_count as read_number
from app.formats.body import read_field, read_fields, read_model, read_required
from app.surfaces.base import OpenAISurface, SurfaceRequest, both
from app.surfaces.counting import bound_inputs, count_inputs, fair_inputs
from app.surfaces.embeddings.cohere import CohereEmbeddings
from app.surfaces.embeddings.facts import EmbeddingFacts
from app.surfaces.embeddings.gemini import GeminiEmbeddings
from app.surfaces.openai import OpenAIWire

MAX_INPUTS = 10_000
MAX_DIMENSIONS = 1_000_000

_input = msgspec.json.Decoder(str | list[str | int | list[int]])
_encoding = msgspec.json.Decoder(Literal["float", "base64"] | None)


class Embeddings(OpenAISurface):
    """See `app.surfaces.base.Surface`."""

    name = "embeddings"
    title = "OpenAI Embeddings"
    paths = both("/embeddings")
    kinds = frozenset({"embedding"})

    def __init__(self) -> None:
        self.wires = MappingProxyType(
            {
                "openai": OpenAIWire(read_usage, field="data"),
                "gemini": GeminiEmbeddings(),
                "cohere": CohereEmbeddings(),
            }
        )

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields)
        encoding = read_field(fields, "encoding_format", _encoding, '"float" or "base64"')
        dimensions = read_number(fields, "dimensions", MAX_DIMENSIONS)
        inputs = _read_inputs(fields)
        return SurfaceRequest(
            model=model,
            most=Usage(input_tokens=bound_inputs(inputs)),
            fair=Usage(input_tokens=fair_inputs(inputs)),
            body=body,
            fields=fields,
            facts=EmbeddingFacts(inputs, dimensions, encoding == "base64"),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        facts: EmbeddingFacts = request.facts
        return Usage(input_tokens=count_inputs(facts.inputs))


def _read_inputs(fields: dict[str, msgspec.Raw]) -> tuple[str | tuple[int, ...], ...]:
    """A text, texts, tokens, or several texts as tokens. Raises GatewayError 400."""
    read_required(fields, "input", b'"[', "a string or an array")
    value = read_field(fields, "input", _input, "a string, an array of strings, or tokens")
    if isinstance(value, str):
        return (value,)
    if not value:
        raise invalid_request("'input' must not be empty.", "input", "invalid_value")
    if all(isinstance(item, int) for item in value):
        return (tuple(value),)
    if any(isinstance(item, int) for item in value):
        raise invalid_request("'input' must not mix texts and tokens.", "input", "invalid_type")
    if len(value) > MAX_INPUTS:
        raise invalid_request(f"'input' has more than {MAX_INPUTS} items.", "input", "invalid_value")
    return tuple(item if isinstance(item, str) else tuple(item) for item in value)


def read_usage(reply: Mapping[str, object]) -> Usage | None:
    """What an answer tells that it used; None: nothing that can be believed."""
    report = read_details(reply, "usage")
    tokens = read_count(report, "prompt_tokens")
    if tokens is None:  # Jina tells the total alone
        tokens = read_count(report, "total_tokens")
    return None if tokens is None else Usage(input_tokens=tokens)
