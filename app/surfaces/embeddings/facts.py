"""What a request for embeddings says, in one shape, for the wires that convert it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import error as StructError
from struct import pack, unpack
from typing import Any

from app.core.usage import Usage
from app.errors import bad_upstream_response, invalid_request
from app.formats.framing import write_json
from app.surfaces.base import SurfaceRequest


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """`inputs`: texts, or texts as tokens of the model's own tokenizer. `base64`: how vectors are wanted, little-endian
    float32.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    base64: bool

    def texts(self, vendor: str) -> Sequence[str]:
        """The inputs, for a vendor that takes nothing else. Raises GatewayError 400 for tokens."""
        texts = [item for item in self.inputs if isinstance(item, str)]
        if len(texts) < len(self.inputs):
            raise invalid_request(f"'input' must be texts: {vendor} takes no tokens.", "input", "field_not_supported")
        return texts


def write_embeddings(request: SurfaceRequest, vectors: Sequence[Sequence[float]], used: Usage | None) -> bytes:
    """The client's answer, in OpenAI's shape; without a count of the upstream's with our guess. Raises UpstreamError where a
    vector is missing.
    """
    facts: EmbeddingFacts = request.facts
    tokens = (used or request.fair).input_tokens
    if len(vectors) != len(facts.inputs):
        raise bad_upstream_response("The upstream's answer has another number of embeddings than there are inputs.")
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector) if facts.base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return write_json({"object": "list", "data": data, "model": request.model, "usage": usage})


def read_vector(value: object) -> Sequence[float]:
    """A vector as numbers, or as base64 of little-endian float32. Raises UpstreamError."""
    if isinstance(value, str):
        try:
            raw = b64decode(value, validate=True)
            return unpack(f"<{len(raw) // 4}f", raw)
        except (Base64Error, StructError, ValueError) as error:
            raise bad_upstream_response("The upstream's embedding isn't base64 of floats.") from error
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return value
    raise bad_upstream_response("The upstream's answer has no embedding.")


def _encoded(vector: Sequence[float]) -> str:
    try:
        return b64encode(pack(f"<{len(vector)}f", *vector)).decode()
    except (StructError, OverflowError) as error:
        raise bad_upstream_response("The upstream's embedding holds numbers that no float has.") from error


def listed(value: Mapping[str, Any], name: str) -> list[Any]:
    """A list in an answer. Raises UpstreamError without one."""
    found = value.get(name)
    if not isinstance(found, list):
        raise bad_upstream_response("The upstream's answer has no embeddings.")
    return found
