"""Finds the handler of a request: by its exact path at once, else by the patterns that media APIs need."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from app.demo.exchange import Exchange

Handler = Callable[[Exchange], Awaitable[None]]
PatternHandler = Callable[..., Awaitable[None]]
"""Takes the exchange, then one text for each name in braces."""

NAME = re.compile(r"\{(\w+)(\*?)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `{name}` in `path` stands for text without a slash, `{name*}` for any text that isn't empty.

    Paths are matched after `%` escapes are decoded, so a model `demo?polls=3` inside a path arrives as such when the
    caller escaped it.
    """

    method: str
    path: str
    handler: PatternHandler


class Router:
    """Routes by method and path. A path without braces wins over one with; of those the one that was added first.

    `exact` has those without: chat is measured in benchmarks, and finds its handler there.
    """

    def __init__(self) -> None:
        self.exact: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], PatternHandler]]] = {}

    def add(self, routes: Iterable[Route]) -> None:
        """Raises ValueError for a path without braces that is there already."""
        for route in routes:
            if "{" in route.path:
                pattern = re.compile(_write_pattern(route.path), re.DOTALL)
                self._patterns.setdefault(route.method, []).append((pattern, route.handler))
            elif (route.method, route.path) in self.exact:
                raise ValueError(f"two handlers for {route.method} {route.path}")
            else:
                self.exact[route.method, route.path] = route.handler

    def match(self, method: str, path: str) -> tuple[PatternHandler, tuple[str, ...]] | None:
        """The handler of the first pattern that fits, and the texts that the path holds for it; look in `exact` first."""
        for pattern, handler in self._patterns.get(method, ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return handler, match.groups()
        return None


def _write_pattern(path: str) -> str:
    parts, end = [], 0
    for match in NAME.finditer(path):
        parts.append(re.escape(path[end : match.start()]) + ("(.+)" if match[2] else "([^/]+)"))
        end = match.end()
    return "".join(parts) + re.escape(path[end:])
