"""Cursor pagination: how a list says where it stopped, and how a client goes on from there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import Field

from app.api.admin.shapes import MAX_ID, MAX_NAME, Shape
from app.errors import GatewayError, invalid_request

Row = TypeVar("Row")
Item = TypeVar("Item")

MAX_CURSOR = MAX_NAME * 4 * 4 // 3 + 4
"""The longest name: four UTF-8 bytes a character, in base64."""


class PageQuery(Shape):
    """What every list takes."""

    limit: int = Field(50, ge=1, le=200, description="Items a page")
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


class Page(Shape, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one")


def page_of(
    rows: Sequence[Row], limit: int, write: Callable[[Row], Item], position: Callable[[Row], object]
) -> Page[Item]:
    """A page of `rows`, which were asked for with one more than `limit`: the extra one says that there is a next page."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(data=[write(row) for row in shown], next_cursor=_write_cursor(position(shown[-1])) if more else None)


def read_id_cursor(cursor: str | None) -> int | None:
    """Raises GatewayError 400 naming `cursor`, as all of these do."""
    if cursor is None:
        return None
    text = _read_cursor(cursor)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID):
        raise _bad_cursor()
    return int(text)


def read_name_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    text = _read_cursor(cursor)
    if not text.isprintable():
        raise _bad_cursor()
    return text


def read_uuid_cursor(cursor: str | None) -> UUID | None:
    if cursor is None:
        return None
    try:
        return UUID(_read_cursor(cursor))
    except ValueError as error:
        raise _bad_cursor() from error


def _write_cursor(position: object) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    if not cursor or len(cursor) > MAX_CURSOR or not cursor.isascii():
        raise _bad_cursor()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _bad_cursor() from error


def _bad_cursor() -> GatewayError:
    return invalid_request("The cursor isn't one of ours: give a `next_cursor` as it came.", "cursor", "bad_cursor")
