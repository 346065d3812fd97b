"""Signatures in `thoughtSignature`: Google's own as they are, another vendor's sealed, and how those are kept from Google."""

from __future__ import annotations

from typing import Any

import msgspec

from app.core.conversation import Signature, Thinking
from app.core.signatures import seal, unseal
from app.formats.gemini_generate.spelling import respell_base64

VENDOR = "google"
"""Whose signatures stand in this format as they are; see `app.core.signatures`."""

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""What stands for the signature of a call that no Gemini model made. Without any, Gemini 3 refuses the first call of a step.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures ("FAQs", on histories of other models), and Vertex AI's page
of that name; Google's gemini-cli sends it too, in this spelling, which is base64 to a reader of URL-safe base64.
"""

_REDACTED = "redacted:"
"""Stands before the value of another vendor's thought that may not be read: Anthropic keeps those in a block of their own.
No signature has a colon."""

_MARK = seal(Signature("anthropic", ""), VENDOR)[:12]

_contents = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_parts = msgspec.json.Decoder(list[msgspec.Raw])
_part = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str | None)
_encode = msgspec.json.Encoder().encode


def write_signature(thought: Thinking) -> str | None:
    """The `thoughtSignature` of a thought, or of what follows it; None for one without a signature."""
    signature = thought.signature
    if signature is None:
        return None
    if thought.redacted and signature.origin != VENDOR:
        signature = Signature(signature.origin, _REDACTED + signature.value)
    return seal(signature, VENDOR)


def read_signature(text: str) -> Signature:
    """google-genai takes a signature for bytes, and writes it back in the URL-safe alphabet."""
    return unseal(respell_base64(text) if text.startswith(_MARK) else text, VENDOR)


def read_thought(text: str, signature: str | None) -> Thinking:
    """A thought with its signature, or without text the signature of what follows."""
    if not signature:
        return Thinking(text)
    read = read_signature(signature)
    if read.origin != VENDOR and read.value.startswith(_REDACTED):
        return Thinking(text, Signature(read.origin, read.value.removeprefix(_REDACTED)), redacted=True)
    return Thinking(text, read)


def write_thought(text: str, signature: str | None) -> dict[str, Any]:
    part: dict[str, Any] = {"text": text, "thought": True}
    return part if signature is None else {**part, "thoughtSignature": signature}


def write_bare_signature(signature: str) -> dict[str, Any]:
    """Google's own way to tell one at the end of a text: with an empty text."""
    return {"text": "", "thoughtSignature": signature}


def without_foreign_thoughts(contents: msgspec.Raw) -> msgspec.Raw:
    """The conversation without the signatures that the gateway itself has sealed for another vendor.

    A client that changes the model in the middle of a conversation sends them along, and Google refuses what it can't read.
    Everything else stays the bytes that it was.
    """
    if _MARK.encode() not in bytes(contents):
        return contents
    try:
        turns = _contents.decode(contents)
        kept = [turn for turn in turns if _clean_turn(turn)]
    except msgspec.MsgspecError:
        return contents  # Google says what is wrong with it
    return msgspec.Raw(_encode(kept))


def _clean_turn(turn: dict[str, msgspec.Raw]) -> bool:
    """Takes foreign signatures out; whether anything is left of the turn."""
    raw = turn.get("parts")
    if raw is None or _MARK.encode() not in bytes(raw):
        return True
    parts = [kept for part in _parts.decode(raw) if (kept := _clean_part(part)) is not None]
    turn["parts"] = msgspec.Raw(_encode(parts))
    return bool(parts)


def _clean_part(raw: msgspec.Raw) -> msgspec.Raw | None:
    """None for another vendor's thought, and for a part that was nothing but a signature."""
    if _MARK.encode() not in bytes(raw):
        return raw
    part = _part.decode(raw)
    names = [name for name in ("thoughtSignature", "thought_signature") if _is_foreign(part.get(name))]
    if not names:
        return raw
    if bytes(part.get("thought", msgspec.Raw(b"false"))) == b"true" or bytes(part.get("text", b"_")) == b'""':
        return None
    for name in names:
        del part[name]
    if "functionCall" in part or "function_call" in part:
        part["thoughtSignature"] = msgspec.Raw(_encode(SKIP_SIGNATURE))
    return msgspec.Raw(_encode(part))


def _is_foreign(raw: msgspec.Raw | None) -> bool:
    signature = None if raw is None else _string.decode(raw)
    return signature is not None and read_signature(signature).origin != VENDOR
