"""How well documents answer a query, and the requests that ask it: Jina's, vLLM's and Cohere's have the same fields."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from app.demo.openai_errors import Refusal
from app.demo.shapes import Anything, Flag, ListOf, Number, Record, Text
from app.demo.surfaces.intake import Asked

WORD = re.compile(r"\w+")
MOST_DOCUMENTS = 10_000
SHAPE = Record(
    needs={"model": Text(), "query": Text(), "documents": ListOf(Anything(), most=MOST_DOCUMENTS)},
    may={"top_n": Number(0), "return_documents": Flag(), "max_tokens_per_doc": Number(1)},
    nulls=True,
    open=True,
)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document and its place in the request."""

    index: int
    text: str
    score: float


def rank(asked: Asked) -> tuple[list[str], list[Ranked]]:
    """The documents' texts, and the best of them first, as many as `top_n` wants (0: all); raises Refusal."""
    documents = [_read_text(each, index) for index, each in enumerate(asked.fields["documents"])]
    if not documents:
        raise Refusal(400, "Invalid 'documents': empty array.", code="empty_array", param="documents")
    query = asked.fields["query"]
    ranked = [Ranked(index, text, score(query, text)) for index, text in enumerate(documents)]
    ranked.sort(key=lambda each: (-each.score, each.index))
    return documents, ranked[: asked.fields.get("top_n") or len(ranked)]


def score(query: str, text: str) -> float:
    """From 0 to 1: the share of the query's words that the text has, and a little that is the text's own."""
    wanted = set(WORD.findall(query.lower()))
    share = len(wanted.intersection(WORD.findall(text.lower()))) / max(1, len(wanted))
    own = hashlib.sha256(f"{query}\n{text}".encode("utf-8", "surrogatepass")).digest()[0] / 256
    return round(0.9 * share + 0.05 + 0.05 * own, 6)


def _read_text(document: Any, index: int) -> str:
    if isinstance(document, str):
        return document
    if isinstance(document, dict) and isinstance(document.get("text"), str):
        text: str = document["text"]
        return text
    path = f"documents[{index}]"
    raise Refusal(400, f"Invalid type for '{path}': expected a string.", code="invalid_type", param=path)
