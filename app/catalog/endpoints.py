"""Where a channel's upstream speaks which format: URLs, made once, not for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from yarl import URL

from app.providers.base import Provider

MODEL = "{model}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URLs of one format: of whole answers, of streams, of token counts (None: it can't count)."""

    whole: URL | str
    stream: URL | str
    count: URL | str | None

    def url(self, model: str, *, stream: bool) -> URL:
        return _fill(self.stream if stream else self.whole, model)

    def count_url(self, model: str) -> URL | None:
        return None if self.count is None else _fill(self.count, model)


@dataclass(frozen=True, slots=True)
class SurfaceEndpoint:
    """The URL of one surface, and the dialect that is spoken there."""

    address: URL | str
    dialect: str

    def url(self, model: str) -> URL:
        return _fill(self.address, model)


def open_surfaces(provider: Provider, base: URL, query: Mapping[str, str]) -> Mapping[str, SurfaceEndpoint]:
    """What a channel serves beside chat, by the surface's name."""
    return {
        name: SurfaceEndpoint(_join(base, spot.path, query), spot.dialect) for name, spot in provider.surfaces.items()
    }


def open_endpoints(
    provider: Provider, base: URL, query: Mapping[str, str], wanted: Sequence[str] | None
) -> Mapping[str, Endpoint]:
    """The endpoints of a channel by format name, the preferred one first.

    `wanted`: the channel's own choice and order; None: what the provider speaks by itself. Raises ValueError for a format
    that the provider has no path for.
    """
    paths = {**provider.paths, **provider.more_paths}
    if wanted is None:
        names: Sequence[str] = tuple(provider.paths)
    elif unknown := [name for name in wanted if name not in paths]:
        raise ValueError(f"formats: {unknown[0]} is not one of {', '.join(paths) or 'none: it has no chat formats'}")
    else:
        names = wanted
    found = {}
    for name in names:
        count = provider.count_paths.get(name)
        found[name] = Endpoint(
            _join(base, paths[name], query),
            _join(base, provider.stream_paths.get(name, paths[name]), query),
            None if count is None else _join(base, count, query),
        )
    return found


def _join(base: URL, path: str, query: Mapping[str, str]) -> URL | str:
    """A URL; as text, where a model's name still has to be put in."""
    root = str(base.origin()) if path.startswith("^") else str(base).rstrip("/")
    url = root + path.removeprefix("^")
    if query:
        more = str(URL.build(query=dict(query))).lstrip("?")
        url += ("&" if "?" in url else "?") + more
    return url if MODEL in url else URL(url, encoded=True)


def _fill(url: URL | str, model: str) -> URL:
    return url if isinstance(url, URL) else URL(url.replace(MODEL, quote(model, safe="")), encoded=True)
