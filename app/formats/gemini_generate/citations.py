"""Sources of an answer: Google's grounding and citation metadata, and the canonical citations of a text.

Source: google-genai's `types.py`. Google counts bytes of UTF-8 in the part, the canonical citation characters of the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.conversation import Citation

SOURCES = ("web", "retrievedContext", "maps", "image")


def read_citations(candidate: Mapping[str, Any], text: str) -> list[Citation]:
    """The sources that a candidate names for `text`, each place once."""
    found = [*_read_grounding(candidate.get("groundingMetadata"), text)]
    metadata = candidate.get("citationMetadata")
    for entry in _objects(metadata, "citations") or _objects(metadata, "citationSources"):
        if isinstance(url := entry.get("uri"), str):
            found.append(Citation(url, _title(entry), *_read_range(entry, text)))
    return list(dict.fromkeys(found))


def write_grounding(texts: Sequence[tuple[str, Sequence[Citation]]]) -> dict[str, Any] | None:
    """The `groundingMetadata` of texts with their citations; None without any."""
    chunks: list[dict[str, Any]] = []
    supports: list[dict[str, Any]] = []
    for text, citations in texts:
        for citation in citations:
            title = {} if citation.title is None else {"title": citation.title}
            if citation.start is not None and citation.end is not None:
                segment = _write_range(text, citation.start, citation.end)
                supports.append({"segment": segment, "groundingChunkIndices": [len(chunks)]})
            chunks.append({"web": {"uri": citation.url, **title}})
    if not chunks:
        return None
    return {"groundingChunks": chunks, "groundingSupports": supports} if supports else {"groundingChunks": chunks}


def _read_grounding(metadata: object, text: str) -> Iterator[Citation]:
    chunks = [_read_source(chunk) for chunk in _objects(metadata, "groundingChunks")]
    supported: set[int] = set()
    for support in _objects(metadata, "groundingSupports"):
        segment = support.get("segment")
        place = _read_range(segment, text) if isinstance(segment, dict) else (None, None)
        indices = support.get("groundingChunkIndices")
        for index in indices if isinstance(indices, list) else []:
            if isinstance(index, int) and 0 <= index < len(chunks) and (source := chunks[index]) is not None:
                supported.add(index)
                yield Citation(source.url, source.title, *place)
    yield from (source for index, source in enumerate(chunks) if source is not None and index not in supported)


def _read_source(chunk: Mapping[str, Any]) -> Citation | None:
    for kind in SOURCES:
        source = chunk.get(kind)
        if isinstance(source, dict) and isinstance(url := source.get("uri") or source.get("sourceUri"), str):
            return Citation(url, _title(source))
    return None


def _title(source: Mapping[str, Any]) -> str | None:
    title = source.get("title")
    return title if isinstance(title, str) else None


def _read_range(segment: Mapping[str, Any], text: str) -> tuple[int | None, int | None]:
    """Characters instead of bytes; nothing for a place that isn't in the text, or where another text stands."""
    start, end = segment.get("startIndex", 0), segment.get("endIndex")
    if not isinstance(start, int) or not isinstance(end, int):
        return None, None
    raw = text.encode("utf-8", "surrogatepass")
    if not 0 <= start < end <= len(raw):
        return None, None
    first = len(raw[:start].decode("utf-8", "ignore"))
    last = first + len(raw[start:end].decode("utf-8", "ignore"))
    told = segment.get("text")
    if isinstance(told, str) and told != text[first:last]:
        return None, None
    return first, last


def _write_range(text: str, start: int, end: int) -> dict[str, Any]:
    segment = text[start:end]
    first = len(text[:start].encode("utf-8", "surrogatepass"))
    return {
        "startIndex": first,
        "endIndex": first + len(segment.encode("utf-8", "surrogatepass")),
        "text": segment,
    }


def _objects(value: object, name: str) -> list[dict[str, Any]]:
    entries = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
