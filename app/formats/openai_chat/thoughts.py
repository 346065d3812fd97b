"""Thoughts and their signatures as Chat Completions carries them: `reasoning_details`, in OpenRouter's shape.

Source: OpenRouter's SDK (`reasoningdetail*.py`, `reasoningformat.py`) and its guide to reasoning tokens. `format` says whose
a signature is, so none has to be sealed. Google's signature of a tool's call names that call by `id`. Pieces of one thought
share an `index`; what is written here is whole, with an index of its own: official SDKs join texts of the same index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import Signature, Thinking
from app.core.signatures import unseal
from app.formats.openai_chat.fields import VENDOR

FORMATS: Mapping[str, str] = MappingProxyType(
    {"anthropic": "anthropic-claude-v1", "google": "google-gemini-v1", "openai": "openai-responses-v1"}
)
"""By the origin of a signature."""

_ORIGINS: Mapping[str, str] = MappingProxyType(
    {**{name: origin for origin, name in FORMATS.items()}, "azure-openai-responses-v1": "openai"}
)
"""By format. Other vendors' signatures are nothing that any upstream of another format could take."""

TEXT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"


class Detail(msgspec.Struct, frozen=True):
    """One entry of `reasoning_details`."""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None
    id: str | None = None
    index: int | None = None

    @property
    def words(self) -> str | None:
        return self.summary if self.type == SUMMARY else self.text

    def proof(self) -> Signature | None:
        """The entry's signature; None without one, and for a vendor's that nobody here knows."""
        value = self.data if self.type == ENCRYPTED else self.signature
        if not value:
            return None
        if self.format is None:  # what was meant before formats had names
            return unseal(value, VENDOR if self.type == ENCRYPTED else "anthropic")
        origin = _ORIGINS.get(self.format)
        return None if origin is None else unseal(value, origin)


def convert_details(value: object) -> list[Detail]:
    """Raises msgspec.ValidationError if it isn't an array of such entries; entries of unknown types are among them."""
    try:
        return msgspec.convert(value, list[Detail])
    except UnicodeEncodeError as error:
        raise msgspec.ValidationError("half a character stands in it") from error


class Gathered:
    """Entries put together again: `thoughts` in order; `bound`: signatures of tool calls, by the call's id.

    `lost`: whether a signature was of no known vendor, or an entry of no known type.
    """

    __slots__ = ("_last", "bound", "lost", "thoughts")

    def __init__(self, details: Iterable[Detail]) -> None:
        self.thoughts: list[Thinking] = []
        self.bound: dict[str, Signature] = {}
        self.lost = False
        self._last: Detail | None = None
        for detail in details:
            self._take(detail)

    def _take(self, detail: Detail) -> None:
        signature = detail.proof()
        if signature is None and (detail.data or detail.signature):
            self.lost = True
        if detail.type in (TEXT, SUMMARY):
            if self._last is not None and goes_on(self._last, detail):
                self._grow(detail.words or "", signature)
            else:
                self.thoughts.append(Thinking(detail.words or "", signature, id=detail.id))
            self._last = detail
        elif detail.type != ENCRYPTED:
            self.lost = True
        elif signature is not None:
            self._seal(detail, signature)

    def _seal(self, detail: Detail, signature: Signature) -> None:
        if signature.origin == "google" and detail.id:
            self.bound[detail.id] = signature
        elif self._last is not None and seals(self._last, detail):
            self._grow("", signature)
        else:
            self.thoughts.append(sealed(detail, signature))
        self._last = None

    def _grow(self, text: str, signature: Signature | None) -> None:
        last = self.thoughts[-1]
        self.thoughts[-1] = Thinking(last.text + text, signature or last.signature, id=last.id)


def goes_on(last: Detail, detail: Detail) -> bool:
    """Whether an entry is a further piece of the thought that the last one belongs to."""
    if last.type != detail.type:
        return False
    if detail.words is None and detail.signature:  # the signature alone
        return detail.index is None or detail.index == last.index
    return detail.index is not None and detail.index == last.index


def seals(last: Detail, detail: Detail) -> bool:
    """Whether an encrypted entry is what the summary before it tells of."""
    return last.type == SUMMARY and (last.id is None or detail.id is None or last.id == detail.id)


def sealed(detail: Detail, signature: Signature) -> Thinking:
    """An encrypted entry by itself. Google's has no thought in it: it signs what comes next."""
    if signature.origin == "google":
        return Thinking("", signature)
    return Thinking("", signature, redacted=True, id=detail.id)


def is_bound(thought: Thinking) -> bool:
    """Whether a thought is nothing but Google's signature of what comes next."""
    return not thought.text and thought.signature is not None and thought.signature.origin == "google"


def write_details(thought: Thinking, index: int, call_id: str | None = None) -> list[dict[str, Any]]:
    """The entries of one thought, numbered from `index`. `call_id`: of the tool's call that it signs."""
    signature = thought.signature
    if signature is None:
        return [_numbered({"type": TEXT, "text": thought.text}, thought, index)] if thought.text else []
    format = {"format": FORMATS[signature.origin]} if signature.origin in FORMATS else {}
    encrypted = {"type": ENCRYPTED, "data": signature.value, **format}
    if is_bound(thought):
        return [{**encrypted, "index": index} if call_id is None else {**encrypted, "id": call_id, "index": index}]
    if signature.origin == VENDOR and thought.text:
        summary = {"type": SUMMARY, "summary": thought.text, **format}
        return [_numbered(summary, thought, index), _numbered(encrypted, thought, index + 1)]
    if thought.redacted or signature.origin == VENDOR:
        return [_numbered(encrypted, thought, index)]
    return [_numbered({"type": TEXT, "text": thought.text, "signature": signature.value, **format}, thought, index)]


def _numbered(entry: dict[str, Any], thought: Thinking, index: int) -> dict[str, Any]:
    if thought.id is not None:
        entry = {**entry, "id": thought.id}
    return {**entry, "index": index}
