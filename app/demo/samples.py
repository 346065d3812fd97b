"""JSON schemas: values that fit them, for the arguments of tool calls and structured answers, and the objects in them."""

from collections.abc import Iterator, Mapping
from typing import Any

# Deeper than this only what is required is filled, so that a schema that refers to itself ends.
DEEP = 6
MOST = 1_000
FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: Mapping[str, Any], number: int = 0) -> Any:
    """A value that fits the schema, as far as types, enums, bounds and references tell; another `number`, another value.

    Reads JSON Schema (https://json-schema.org/draft/2020-12) and Gemini's subset, whose types are in capitals. Patterns are
    not heeded.
    """
    return _Sampler(schema, number).sample(schema, 0)


def objects_of(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas of objects within a schema."""
    if isinstance(schema, list):
        for each in schema:
            yield from objects_of(each)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for name, inner in schema.items():
            if name in ("properties", "$defs", "definitions") and isinstance(inner, dict):
                yield from objects_of(list(inner.values()))
            elif name in ("items", "anyOf", "oneOf", "allOf"):
                yield from objects_of(inner)


class _Sampler:
    def __init__(self, root: Mapping[str, Any], number: int) -> None:
        self._root = root
        self._number = number

    def sample(self, schema: Any, depth: int) -> Any:
        match schema:
            case {"$ref": str(ref)}:
                return self.sample(self._resolve(ref), depth + 1)
            case {"const": value}:
                return value
            case {"enum": [_, *_] as values}:
                return values[self._number % len(values)]
            case {"anyOf": [first, *_]} | {"oneOf": [first, *_]}:
                return self.sample(first, depth + 1)
            case {"allOf": [*parts]}:
                return self.sample(_merge(schema, parts), depth + 1)
            case {"type": [str(kind), *_]} | {"type": str(kind)}:
                return self._of_kind(kind.lower(), schema, depth)
            case {"properties": {}}:
                return self._object(schema, depth)
            case _:
                return self._text({})

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.sample(schema.get("items"), depth + 1) for _ in range(_bound(schema, "minItems", 0))]
            case "integer" | "number":
                return self._number_within(kind, schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._text(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required") or ()
        if not isinstance(properties, dict):
            return {}
        names = [name for name in properties if depth < DEEP or (isinstance(required, list) and name in required)]
        return {name: self.sample(properties[name], depth + 1) for name in names}

    def _number_within(self, kind: str, schema: Mapping[str, Any]) -> int | float:
        value: int | float = 1 + self._number if kind == "integer" else 1.5 + self._number
        most, least = schema.get("maximum"), schema.get("minimum")
        if isinstance(most, int | float) and value > most:
            value = most
        if isinstance(least, int | float) and value < least:
            value = least
        return value

    def _text(self, schema: Mapping[str, Any]) -> str:
        kind = schema.get("format")
        text = FORMATS.get(kind, "demo") if isinstance(kind, str) else "demo"
        if text == "demo":
            text = f"demo {self._number + 1}" if self._number else text
            text = text.ljust(_bound(schema, "minLength", 0), "o")
        return text[: _bound(schema, "maxLength", len(text))]

    def _resolve(self, ref: str) -> object:
        found: Any = self._root
        for name in ref.removeprefix("#").strip("/").split("/"):
            if name:
                found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        return found


def _bound(schema: Mapping[str, Any], name: str, default: int) -> int:
    """A count, which Gemini's schemas spell as text; bounded, since a typo shall not eat the memory."""
    value = schema.get(name)
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:6])
    return min(max(value, 0), MOST) if isinstance(value, int) else default


def _merge(schema: Mapping[str, Any], parts: list[Any]) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in parts:
        if not isinstance(part, dict):
            continue
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged |= {**part, **({"properties": properties, "required": required} if properties else {})}
    return merged
