"""Thoughts of other vendors in `encrypted_content`: how they stand there, and how they are kept from OpenAI."""

from __future__ import annotations

import msgspec

from app.core.conversation import Signature, Thinking
from app.core.signatures import seal, unseal

VENDOR = "openai"
"""Whose signatures stand in this format as they are; see `app.core.signatures`."""

_REDACTED = "redacted:"
"""Stands before the value of another vendor's thought that may not be read: Anthropic keeps those in another block than
thoughts that are only left out, and an item without a summary may be either. No signature has a colon."""

_SEALED = seal(Signature("anthropic", ""), VENDOR)[:12].encode()


class _Item(msgspec.Struct):
    type: str = ""
    encrypted_content: str | None = None


_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(_Item)


def seal_thought(thought: Thinking) -> str | None:
    """The `encrypted_content` of a thought; None for one without a signature."""
    signature = thought.signature
    if signature is None:
        return None
    if thought.redacted and signature.origin != VENDOR:
        signature = Signature(signature.origin, _REDACTED + signature.value)
    return seal(signature, VENDOR)


def unseal_thought(encrypted: str, text: str = "", id: str | None = None) -> Thinking:
    """The thought of an item with this `encrypted_content` and this summary."""
    signature = unseal(encrypted, VENDOR)
    if signature.origin == VENDOR:
        return Thinking(text, signature, not text, id)
    if signature.value.startswith(_REDACTED):
        return Thinking("", Signature(signature.origin, signature.value.removeprefix(_REDACTED)), True, id)
    return Thinking(text, signature, False, id)


def without_foreign_thoughts(given: msgspec.Raw) -> msgspec.Raw:
    """An input without the reasoning items that the gateway itself has sealed for another vendor.

    A client that changes the model in the middle of a conversation replays them, and OpenAI refuses a request with an
    `encrypted_content` that it can't read. Everything else stays the bytes that it was.
    """
    if _SEALED not in bytes(given):
        return given
    try:
        items = _items.decode(given)
    except msgspec.MsgspecError:
        return given
    kept = [item for item in items if not _is_foreign(item)]
    if len(kept) == len(items):
        return given
    return msgspec.Raw(b"[" + b",".join(map(bytes, kept)) + b"]")


def _is_foreign(raw: msgspec.Raw) -> bool:
    if _SEALED not in bytes(raw):
        return False
    try:
        item = _item.decode(raw)
    except msgspec.MsgspecError:
        return False
    return item.type == "reasoning" and unseal(item.encrypted_content or "", VENDOR).origin != VENDOR
