"""Schemas as Google's clients write them, an OpenAPI subset with types in capitals, read into JSON Schema.

Source: google-genai's `Schema` and its `json_schema`; OpenAPI 3.0.3, "Schema Object" (`nullable`, `example`).
"""

from __future__ import annotations

from typing import Any

from app.formats.gemini_generate.spelling import respell
from app.formats.values import as_object, wrong_type

KEYWORDS = {"defs": "$defs", "ref": "$ref"}
OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
OF_NAMES = ("properties", "$defs")
ONE_SCHEMA = ("items", "additionalProperties")
COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
"""64-bit numbers, which protocol buffers write as strings in JSON."""

NO_TYPE = "TYPE_UNSPECIFIED"
MAX_DEPTH = 100


def read_schema(value: object, path: str, depth: int = 0) -> dict[str, Any]:
    """Raises GatewayError 400 naming what isn't a schema. JSON Schema passes as it is."""
    if depth > MAX_DEPTH:
        raise wrong_type(path, "a schema that isn't nested so deeply")
    schema: dict[str, Any] = {}
    given = respell(as_object(value, path))
    nullable = given.pop("nullable", False)
    ordering = given.pop("propertyOrdering", None)
    for name, inner in given.items():
        keyword = KEYWORDS.get(name, name)
        if keyword == "type":
            if inner != NO_TYPE:
                schema[keyword] = _read_type(inner, f"{path}.type")
        elif keyword == "example":
            schema["examples"] = [inner]
        else:
            schema[keyword] = _read_keyword(keyword, inner, f"{path}.{name}", depth)
    if isinstance(ordering, list) and isinstance(schema.get("properties"), dict):
        schema["properties"] = _in_order(schema["properties"], ordering)
    return _with_null(schema) if nullable else schema


def _read_keyword(keyword: str, inner: Any, path: str, depth: int) -> Any:
    if keyword in OF_NAMES:
        return {name: read_schema(each, f"{path}.{name}", depth + 1) for name, each in as_object(inner, path).items()}
    if keyword in OF_SCHEMAS and isinstance(inner, list):
        return [read_schema(each, f"{path}[{number}]", depth + 1) for number, each in enumerate(inner)]
    if keyword in ONE_SCHEMA and isinstance(inner, dict):
        return read_schema(inner, path, depth + 1)
    if keyword in COUNTS and isinstance(inner, str) and inner.isdecimal():
        return int(inner)
    return inner


def _read_type(value: object, path: str) -> Any:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return [each.lower() for each in value]
    raise wrong_type(path, "a string")


def _in_order(properties: dict[str, Any], ordering: list[Any]) -> dict[str, Any]:
    first = {name: properties[name] for name in ordering if isinstance(name, str) and name in properties}
    return first | properties


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema has no `nullable`: null is one more type, and one more of the values."""
    kinds = schema.get("type")
    if isinstance(kinds, str):
        schema["type"] = [kinds, "null"]
    elif isinstance(kinds, list):
        schema["type"] = [*kinds, "null"]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema
