"""Values fit the schemas they are made from."""

import pytest

from app.demo.samples import sample


@pytest.mark.parametrize(
    ("schema", "fitting"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "STRING"}, "b": {"type": ["integer", "null"]}}},
            {"a": "demo", "b": 1},
        ),
        ({"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2}, ["x", "x"]),
        ({"type": "array", "items": {"const": 7}, "minItems": "1"}, [7]),
        ({"type": "string", "minLength": 6, "maxLength": 8}, "demooo"),
        ({"type": "string", "maxLength": 2}, "de"),
        ({"type": "number", "minimum": 9}, 9),
        ({"type": "integer", "maximum": -2}, -2),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}], "type": "object"},
            {"a": 1, "b": 2},
        ),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"minLength": [], "type": "string", "format": {}}, "demo"),
    ],
)
def test_samples_fit_their_schemas(schema: dict[str, object], fitting: object) -> None:
    assert sample(schema) == fitting


def test_a_schema_that_refers_to_itself_has_a_sample() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
        "required": ["n"],
    }
    found = sample({"$ref": "#/$defs/node", "$defs": {"node": node}})

    assert found["n"] == 1
    assert found["next"]["next"]["n"] == 1
