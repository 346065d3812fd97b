"""Thoughts as they stand in this format: signed by Anthropic, sealed by the gateway for another vendor, or unsigned."""

from __future__ import annotations

import msgspec

from app.core.conversation import Signature, Thinking
from app.core.signatures import seal, unseal
from app.formats.anthropic_messages.fields import VENDOR

UNSIGNED = seal(Signature("openai", ""), VENDOR)
"""What stands in place of a signature where an upstream of another format gave none: tells such a thought from an unsigned
one of a server that speaks Anthropic's format itself, and wants it back."""

_SEALED = UNSIGNED[:12].encode()


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str | None = None


_encode = msgspec.json.Encoder().encode
_values = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_block = msgspec.json.Decoder(_Block)


def read_signature(text: str) -> Signature | None:
    """Empty is none: some upstreams don't sign."""
    signature = unseal(text, VENDOR)
    return signature if signature.value else None


def write_signature(signature: Signature | None) -> str:
    return UNSIGNED if signature is None else seal(signature, VENDOR)


def read_thinking(text: str, signature: str) -> Thinking:
    return Thinking(text, read_signature(signature))


def read_redacted(data: str) -> Thinking:
    return Thinking("", unseal(data, VENDOR), redacted=True)


def without_foreign_thoughts(messages: msgspec.Raw) -> msgspec.Raw:
    """Messages without the thoughts that the gateway itself has sealed for another vendor.

    A client that changes the model in the middle of a conversation replays them, and Anthropic refuses a signature that isn't
    its own. Everything else stays the bytes that it was.
    """
    if _SEALED not in bytes(messages):
        return messages
    try:
        kept = [written for turn in _values.decode(messages) if (written := _clean_turn(turn)) is not None]
    except msgspec.MsgspecError:
        return messages  # the upstream says what is wrong with it
    return msgspec.Raw(_encode(kept))


def _clean_turn(turn: msgspec.Raw) -> msgspec.Raw | None:
    """None for a turn that had nothing else to say."""
    if _SEALED not in bytes(turn):
        return turn
    fields = _fields.decode(turn)
    content = fields.get("content")
    if content is None or bytes(content)[:1] != b"[":
        return turn
    blocks = _values.decode(content)
    kept = [block for block in blocks if not _is_sealed(block)]
    if len(kept) == len(blocks):
        return turn
    fields["content"] = msgspec.Raw(_encode(kept))
    return msgspec.Raw(_encode(fields)) if kept else None


def _is_sealed(block: msgspec.Raw) -> bool:
    if _SEALED not in bytes(block):
        return False
    read = _block.decode(block)
    text = read.signature if read.type == "thinking" else read.data if read.type == "redacted_thinking" else None
    return text is not None and unseal(text, VENDOR).origin != VENDOR
