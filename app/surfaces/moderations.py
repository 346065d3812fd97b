"""`/v1/moderations`: what is wrong with texts and pictures. Source: openai-python, `types/moderation_create_params.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.images import MOST
from app.core.usage import Usage
from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import is_set, read_field, read_fields, read_model, read_required
from app.surfaces.base import OpenAISurface, SurfaceRequest, both
from app.surfaces.counting import bound_inputs, count_inputs, fair_inputs
from app.surfaces.openai import OpenAIWire

DEFAULT_MODEL = "omni-moderation-latest"
"""What OpenAI takes where a request names none; an alias can mean another by it."""

_input = msgspec.json.Decoder(str | list[str | dict[str, Any]])


class Moderations(OpenAISurface):
    """See `app.surfaces.base.Surface`. No vendor tells a usage: where tokens are priced, they are estimated."""

    name = "moderations"
    title = "OpenAI Moderations"
    paths = both("/moderations")
    kinds = frozenset({"moderation"})

    def __init__(self) -> None:
        self.wires = MappingProxyType({"openai": OpenAIWire(_no_usage, field="results")})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields) if is_set(fields.get("model")) else DEFAULT_MODEL
        texts, pictures = _read_input(fields)
        shown = MOST * pictures
        return SurfaceRequest(
            model=model,
            most=Usage(input_tokens=bound_inputs(texts) + shown, input_image_tokens=shown),
            fair=Usage(input_tokens=fair_inputs(texts) + shown, input_image_tokens=shown),
            body=body,
            fields=fields,
            facts=(texts, shown),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        texts, shown = request.facts
        return Usage(input_tokens=count_inputs(texts) + shown, input_image_tokens=shown)


def _read_input(fields: dict[str, msgspec.Raw]) -> tuple[tuple[str, ...], int]:
    """The texts, and how many pictures there are beside them. Raises GatewayError 400."""
    read_required(fields, "input", b'"[', "a string or an array")
    value = read_field(fields, "input", _input, "a string, an array of strings, or of text and image_url parts")
    if isinstance(value, str):
        return (value,), 0
    if not value:
        raise invalid_request("'input' must not be empty.", "input", "invalid_value")
    texts: list[str] = []
    pictures = 0
    for place, item in enumerate(value):
        text = item.get("text") if isinstance(item, dict) and item.get("type") == "text" else item
        if isinstance(text, str):
            texts.append(text)
        elif isinstance(item, dict) and item.get("type") == "image_url":
            pictures += 1
        else:
            raise invalid_request(f"'input[{place}]' must be a text or an image_url part.", "input", "invalid_type")
    return tuple(texts), pictures


def _no_usage(reply: Mapping[str, object]) -> Usage | None:
    return Usage()
