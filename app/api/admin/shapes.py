"""What the admin API's bodies are made of: names, amounts, ratios, moments, and how a field is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NoReturn

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.money import read_amount
from app.core.wildcards import STAR
from app.errors import GatewayError, Kind

MAX_ID = 2**63 - 1
MAX_INT = 2**31 - 1
MAX_NAME = 200
MAX_ITEMS = 1000
MAX_DIGITS = 28
"""What `decimal` multiplies exactly; a longer number has more than nine places or is out of range anyway."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


class Shape(BaseModel):
    """A body: what it doesn't know, it refuses by name."""

    model_config = ConfigDict(extra="forbid")


def absent() -> Any:
    """The default of a field that a PATCH leaves alone. Unlike `| None` it doesn't let an explicit null pass."""
    return Field(default_factory=lambda: None)


def refuse(message: str) -> NoReturn:
    """Ends a field's validation with this message."""
    raise PydanticCustomError("invalid_value", "{message}", {"message": message})


def refused(field: str, message: str) -> GatewayError:
    """The 422 for a rule that needs more than the body: what is stored, or which providers there are."""
    return GatewayError(Kind.INVALID, "validation_error", f"{field}: {message}", param=field, status=422)


# -- text ------------------------------------------------------------------------------------------------------------


def _check_name(value: str) -> str:
    if not value.isprintable():
        refuse("must hold printable characters only")
    if value != value.strip():
        refuse("must not begin or end with a space")
    return value


def _check_star(value: str) -> str:
    if value.count(STAR) > 1:
        refuse(f"may hold one {STAR} only")
    return value


def _check_text(value: str) -> str:
    if any(not (character.isprintable() or character in "\n\t\u3000\u00a0") for character in value):
        refuse("must not hold control characters")
    return value


def _check_email(value: str) -> str:
    if _EMAIL.fullmatch(value) is None:
        refuse("must be an e-mail address")
    return value


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_check_name)]
Pattern = Annotated[Name, AfterValidator(_check_star)]
Text = Annotated[str, Field(max_length=4000), AfterValidator(_check_text)]
Email = Annotated[Name, AfterValidator(_check_email)]


# -- numbers ---------------------------------------------------------------------------------------------------------


def read_decimal(value: object, wanted: str = 'an amount is a decimal string such as "0.5", in dollars') -> str:
    """A JSON string or number as the text of a decimal, short enough to be computed with exactly."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        refuse(wanted)
    text = str(value)
    if len(text) > MAX_DIGITS or not text.isascii() or "_" in text or text != text.strip():
        refuse(wanted)
    return text


def _read_nano(value: object) -> int:
    try:
        return read_amount(read_decimal(value), negative=True)
    except ValueError as error:
        refuse(str(error))


def _check_not_negative(value: int) -> int:
    if value < 0:
        refuse("the amount must not be negative")
    return value


def _check_not_zero(value: int) -> int:
    if value == 0:
        refuse("the amount must not be zero")
    return value


def _read_ratio(value: object) -> Decimal:
    wanted = "a ratio is a decimal from 0 to 1000 with at most 6 places"
    try:
        ratio = Decimal(read_decimal(value, wanted))
    except InvalidOperation:
        refuse(wanted)
    if not ratio.is_finite() or not 0 <= ratio <= 1000 or ratio != round(ratio, 6):
        refuse(wanted)
    return ratio


def write_ratio(ratio: Decimal) -> str:
    """Without trailing zeros: 0.850000 → "0.85"."""
    return f"{ratio.normalize():f}"


_DESCRIPTION = "Dollars: a decimal string (or a number) with at most 9 places"
AMOUNT_SCHEMA: dict[str, Any] = {
    "description": _DESCRIPTION,
    "anyOf": [{"type": "string", "pattern": r"^\d+(\.\d{1,9})?$"}, {"type": "number", "minimum": 0}],
    "examples": ["0.5"],
}
SIGNED_SCHEMA: dict[str, Any] = {
    "description": f"{_DESCRIPTION}; below zero it takes away",
    "anyOf": [{"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?$"}, {"type": "number"}],
    "examples": ["5"],
}

SignedAmount = Annotated[
    int, BeforeValidator(_read_nano), AfterValidator(_check_not_zero), WithJsonSchema(SIGNED_SCHEMA)
]
"""Read into nano-dollars."""

Amount = Annotated[int, BeforeValidator(_read_nano), AfterValidator(_check_not_negative), WithJsonSchema(AMOUNT_SCHEMA)]
"""Read into nano-dollars, zero or more."""

Dollars = Annotated[str, Field(description="Dollars, a decimal string", examples=["0.5"])]
"""An amount of an answer, written by `app.core.money`."""

Ratio = Annotated[
    Decimal,
    BeforeValidator(_read_ratio),
    WithJsonSchema(
        {
            "description": "What the account pays, as a multiple of each price: 0 to 1000, at most 6 places",
            "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1000}],
            "examples": ["0.85"],
        }
    ),
]

Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=MAX_INT)]
Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
QueryId = Annotated[int, Field(ge=1, le=MAX_ID)]


# -- time ------------------------------------------------------------------------------------------------------------


def _check_rfc3339(value: object) -> object:
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        refuse('must be an RFC 3339 time with its offset, such as "2030-01-31T12:00:00Z" (in a query, write + as %2B)')
    return value


def _as_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        refuse("is out of range")


Moment = Annotated[AwareDatetime, BeforeValidator(_check_rfc3339), AfterValidator(_as_utc)]


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error in OpenAI's shape; see docs/errors.md for every code."""

    error: ErrorDetail

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "name: Field required",
                        "type": "invalid_request_error",
                        "param": "name",
                        "code": "validation_error",
                    }
                }
            ]
        }
    )
