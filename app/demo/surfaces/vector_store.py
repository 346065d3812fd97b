"""A vector store, the files in it, and how it is searched: by the words that a query and a text share."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.demo.openai_errors import Refusal
from app.demo.surfaces.clerk import missing, now
from app.demo.surfaces.files import StoredFile
from app.demo.surfaces.ranking import score

STATUSES = ("in_progress", "completed", "failed", "cancelled")
DAY = 86_400
CHUNK = 4_096
AUTO = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, listed: value in listed,
    "nin": lambda value, listed: value not in listed,
}


@dataclass(slots=True)
class StoreFile:
    """A file in a store; its text is cut into chunks."""

    file: StoredFile
    store_id: str
    created_at: int
    attributes: dict[str, Any]
    chunking: dict[str, Any]
    status: str = "completed"

    def render(self, status: str | None = None) -> dict[str, Any]:
        """As OpenAI shows it; just added, it is still in progress."""
        return {
            "id": self.file.id,
            "object": "vector_store.file",
            "created_at": self.created_at,
            "usage_bytes": self.file.spool.size,
            "vector_store_id": self.store_id,
            "status": status or self.status,
            "last_error": None,
            "attributes": self.attributes,
            "chunking_strategy": self.chunking,
        }

    def chunks(self) -> list[str]:
        """Its text, in pieces."""
        text = self.file.spool.read().decode("utf-8", "replace")
        return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


@dataclass(slots=True)
class FileBatch:
    """Files that were added at once; done as of the first look."""

    id: str
    store_id: str
    created_at: int
    files: list[StoreFile]
    status: str = "in_progress"

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        statuses = [each.status if self.status != "in_progress" else self.status for each in self.files]
        return {
            "id": self.id,
            "object": "vector_store.files_batch",
            "created_at": self.created_at,
            "vector_store_id": self.store_id,
            "status": self.status,
            "file_counts": count_statuses(statuses),
        }


@dataclass(slots=True)
class Store:
    """One store, its files by id and its batches, the oldest first."""

    id: str
    fields: dict[str, Any]
    created_at: int
    files: dict[str, StoreFile] = field(default_factory=dict)
    batches: dict[str, FileBatch] = field(default_factory=dict)

    def add(self, file: StoredFile, attributes: dict[str, Any] | None, chunking: dict[str, Any] | None) -> StoreFile:
        """Adds a file."""
        strategy = chunking if chunking and chunking.get("type") == "static" else AUTO
        added = StoreFile(file, self.id, now(), attributes or {}, strategy)
        self.files[file.id] = added
        return added

    def get(self, file_id: str) -> StoreFile:
        """Raises Refusal 404."""
        if file_id not in self.files:
            raise missing("VectorStoreFile", file_id)
        return self.files[file_id]

    def get_batch(self, batch_id: str) -> FileBatch:
        """Raises Refusal 404."""
        if batch_id not in self.batches:
            raise missing("VectorStoreFileBatch", batch_id)
        return self.batches[batch_id]

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        expires = self.fields.get("expires_after")
        at = now()
        return {
            "id": self.id,
            "object": "vector_store",
            "created_at": self.created_at,
            "name": self.fields.get("name", ""),
            "description": self.fields.get("description"),
            "usage_bytes": sum(each.file.spool.size for each in self.files.values()),
            "file_counts": count_statuses([each.status for each in self.files.values()]),
            "status": "completed",
            "expires_after": expires,
            "expires_at": None if expires is None else at + expires["days"] * DAY,
            "last_active_at": at,
            "metadata": self.fields.get("metadata", {}),
        }

    def search(self, query: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks that fit best first; raises Refusal for filters that make no sense."""
        least = fields.get("ranking_options", {}).get("score_threshold", 0)
        found: list[dict[str, Any]] = []
        for each in self.files.values():
            if each.status != "completed" or not fits(each.attributes, fields.get("filters")):
                continue
            for text in each.chunks():
                found.append(
                    {
                        "file_id": each.file.id,
                        "filename": each.file.filename,
                        "score": score(query, text),
                        "attributes": each.attributes,
                        "content": [{"type": "text", "text": text}],
                    }
                )
        found.sort(key=lambda result: -result["score"])
        return [result for result in found if result["score"] >= least][: fields.get("max_num_results", 10)]


def count_statuses(statuses: list[str]) -> dict[str, int]:
    """How many files have each."""
    return {**{status: statuses.count(status) for status in STATUSES}, "total": len(statuses)}


def fits(attributes: dict[str, Any], wanted: Any) -> bool:
    """Whether a filter lets a file through; raises Refusal."""
    match wanted:
        case None:
            return True
        case {"type": "and", "filters": [*inner]}:
            return all(fits(attributes, each) for each in inner)
        case {"type": "or", "filters": [*inner]}:
            return any(fits(attributes, each) for each in inner)
        case {"type": str(kind), "key": str(key), "value": value} if kind in COMPARE:
            try:
                return key in attributes and bool(COMPARE[kind](attributes[key], value))
            except TypeError:
                return False
        case _:
            raise Refusal(400, "Invalid 'filters'.", code="invalid_value", param="filters")
