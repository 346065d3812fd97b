"""Names with one `*` in them, which stands for any text: how they are checked, matched and filled in."""

from __future__ import annotations

from typing import NamedTuple

STAR = "*"
MAX_NAME = 200


class Wildcard(NamedTuple):
    """`gpt-*-mini` is what begins with `gpt-` and ends with `-mini`."""

    prefix: str
    suffix: str

    def match(self, name: str) -> str | None:
        """What the star stands for in this name; None: it doesn't match."""
        if len(name) < len(self.prefix) + len(self.suffix):
            return None
        if not name.startswith(self.prefix) or not name.endswith(self.suffix):
            return None
        return name[len(self.prefix) : len(name) - len(self.suffix)]


def read_wildcard(name: str) -> Wildcard | None:
    """None: the name holds no star. Raises ValueError for one that holds several."""
    if STAR not in name:
        return None
    prefix, _, suffix = name.partition(STAR)
    if STAR in suffix:
        raise ValueError("may hold one * only")
    return Wildcard(prefix, suffix)


def fill_in(name: str, text: str) -> str:
    """The name with its star, if it has one, replaced."""
    return name.replace(STAR, text, 1)


def may_match(name: str) -> bool:
    """Whether a name that a client sent is matched at all: it may go on to an upstream, into entries and into logs."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip() and STAR not in name
