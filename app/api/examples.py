"""The examples of bodies in `/openapi.json` as they were written: FastAPI drops what is null, required or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.api.admin.shapes import Shape


def keep_nulls(api: FastAPI) -> None:
    """Puts each shape's own examples back into what `api.openapi` makes. Call it last."""
    write = api.openapi

    def openapi() -> dict[str, Any]:
        document = write()
        examples = dict(_examples(Shape))
        for schema in document["components"]["schemas"].values():
            if "examples" in schema and schema.get("title") in examples:
                schema["examples"] = examples[schema["title"]]
        return document

    api.openapi = openapi  # type: ignore[method-assign]


def _examples(kind: type[Shape]) -> Iterator[tuple[str, Any]]:
    """Names of shapes, which are their schemas' titles, and their examples."""
    for shape in kind.__subclasses__():
        extra = shape.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and "examples" in extra:
            yield shape.__name__, extra["examples"]
        yield from _examples(shape)
