"""How a price is given to the admin API, with every fault named, and how it is shown."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.api.admin.shapes import AMOUNT_SCHEMA
from app.catalog.prices import AMOUNTS, MAX_VARIANTS, Price, read_price
from app.catalog.variants import TRAITS, PriceError

EXAMPLE: dict[str, Any] = {
    "input_mtok": "1.25",
    "output_mtok": "10",
    "cache_read_mtok": "0.125",
    "variants": [
        {"when": {"context_over": 200000}, "input_mtok": "2.5", "output_mtok": "15", "cache_read_mtok": "0.25"},
        {"when": {"service_tier": "batch"}, "input_mtok": "0.625", "output_mtok": "5"},
    ],
}

_AMOUNTS = dict.fromkeys(AMOUNTS, AMOUNT_SCHEMA)
_VALUE = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}
_WHEN = {
    "type": "object",
    "description": "All of it has to hold: more input tokens than this, the tier that the upstream served, facts of the call",
    "properties": {
        "context_over": {"type": "integer", "minimum": 0},
        "service_tier": {"type": "string"},
        **dict.fromkeys(TRAITS, _VALUE),
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_VARIANTS = {
    "type": "array",
    "description": "The first that applies replaces the amounts it names; the others stay",
    "items": {
        "type": "object",
        "properties": {"when": _WHEN, **_AMOUNTS},
        "required": ["when"],
        "additionalProperties": False,
        "minProperties": 2,
    },
    "minItems": 1,
    "maxItems": MAX_VARIANTS,
}
_SCHEMA = {
    "type": "object",
    "properties": {**_AMOUNTS, "variants": _VARIANTS},
    "additionalProperties": False,
    "minProperties": 1,
    "examples": [EXAMPLE],
}


def _read_price(value: object) -> Price | None:
    if value is None:
        return None
    try:
        return read_price(value)
    except PriceError as error:
        faults = [
            InitErrorDetails(type=PydanticCustomError("price", "{reason}", {"reason": reason}), loc=place, input=None)
            for place, reason in error.faults
        ]
        raise ValidationError.from_exception_data("price", faults) from error


PriceField = Annotated[
    Any,
    BeforeValidator(_read_price),
    WithJsonSchema(
        {
            "description": "Amounts in dollars: per million tokens (`*_mtok`), per call, per piece. null: none",
            "anyOf": [_SCHEMA, {"type": "null"}],
        }
    ),
]
"""Read into a Price."""

PriceOut = Annotated[dict[str, Any], Field(description="Amounts in dollars: those that are set", examples=[EXAMPLE])]
"""A price of an answer, as it is kept."""
