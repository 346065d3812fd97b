"""docs/formats.md is what the tables say, and the tables leave nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.formats import discover
from app.formats.base import Format
from app.formats.fields import ATTRIBUTES
from app.formats.page import write_page

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

every_format = pytest.mark.parametrize("format", discover(), ids=lambda format: format.name)


def test_the_page_is_written_from_the_tables() -> None:
    assert PAGE.read_text() == write_page(discover()), "run `python -m app.formats.page > docs/formats.md`"


def test_all_four_formats_are_there() -> None:
    names = {format.name for format in discover()}
    assert names == {"openai_chat", "openai_responses", "anthropic_messages", "gemini_generate"}


@every_format
def test_each_attribute_has_its_fate(format: Format) -> None:
    assert set(format.carries) == set(ATTRIBUTES)


@every_format
def test_each_field_has_either_an_attribute_or_a_fate(format: Format) -> None:
    names = [field.name for field in format.fields]
    assert len(names) == len(set(names)) > 15
    assert [field.name for field in format.fields if (field.attribute is None) == (field.fate is None)] == []
    assert [field.name for field in format.fields if field.attribute not in (None, *ATTRIBUTES)] == []
