"""Answers in JSON: by a schema, or of any kind."""

from __future__ import annotations

import json

from tests.matrix.cells import Cell, cells
from tests.matrix.talk import talk

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "places": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/place"}},
    },
    "required": ["city", "places"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"kind": {"enum": ["sea", "hill"]}},
            "required": ["kind"],
            "additionalProperties": False,
        }
    },
}


@cells(main=True)
def test_an_answer_by_a_schema(cell: Cell) -> None:
    asked = talk("Answer in JSON.", schema=SCHEMA)
    seen = cell.ask(asked)

    assert json.loads(seen.text) == {"city": "demo", "places": [{"kind": "sea"}]}
    cell.assert_received(asked)
    assert cell.stream(asked).told == seen.told


@cells("json", main=True)
def test_an_answer_in_json(cell: Cell) -> None:
    asked = talk("Answer in JSON.", json=True)
    with cell.unless_untold("json"):
        seen = cell.ask(asked)
        assert json.loads(seen.text) == {}
        cell.assert_received(asked)
        assert cell.stream(asked).told == seen.told
