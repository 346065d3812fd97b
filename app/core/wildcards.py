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

    @property
    def rank(self) -> tuple[int, str, str]:
        """What wildcards are sorted by, so that of several that match the one with the longest fixed part is first."""
        return -len(self.prefix) - len(self.suffix), self.prefix, self.suffix


def read_wildcard(name: str) -> Wildcard | None:
    """None: the name holds no star, or several, and so stands for itself alone."""
    if name.count(STAR) != 1:
        return None
    prefix, _, suffix = name.partition(STAR)
    return Wildcard(prefix, suffix)


def fill_in(name: str, text: str) -> str:
    """The name with its star, if it has one, replaced."""
    return name.replace(STAR, text, 1)


def may_match(name: str) -> bool:
    """Whether a name that a client sent is matched at all: it may go on to an upstream, into entries and into logs.

    Some upstreams take the model's name as a path, where `.` and `..` would lead out of what the operator has written.
    """
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip() or STAR in name:
        return False
    return not {".", ".."} & set(name.split("/"))
