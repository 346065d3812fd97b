"""What a path below a family means: the object that it is about, and what of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.catalog.families import family_of

MAX_DEPTH = 8
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
"""What ids and words of vendors' paths are made of; nothing that could lead a URL elsewhere."""


@dataclass(frozen=True, slots=True)
class ObjectPath:
    """`id` None: the family as a whole, for lists and for what is new. `tail`: what of the object, as `content`."""

    family: str
    id: str | None = None
    tail: tuple[str, ...] = ()

    def write(self) -> str:
        """The path below a base URL."""
        return "/" + "/".join((self.family, *((self.id,) if self.id is not None else ()), *self.tail))


def read_path(path: str, families: Mapping[str, object]) -> ObjectPath | None:
    """None: no family's path, or one that no vendor has."""
    parts = path.removeprefix("/v1").strip("/").split("/")
    family = family_of(parts, families)
    if family is None or len(parts) > MAX_DEPTH:
        return None
    rest = parts[family.count("/") + 1 :]
    if not all(_PART.fullmatch(part) for part in rest):
        return None
    return ObjectPath(family, rest[0] if rest else None, tuple(rest[1:]))
