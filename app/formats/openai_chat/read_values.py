"""Values inside an upstream's answer, checked by type; what an answer can't do without raises UpstreamError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.conversation import Signature, Token
from app.core.signatures import unseal
from app.errors import UpstreamError, bad_upstream_response
from app.formats.framing import write_text


def broken(field: str) -> UpstreamError:
    return bad_upstream_response(f"The upstream's answer has a '{field}' that isn't what its format promises.")


def read_signature(call: Mapping[str, Any]) -> Signature | None:
    """As Gemini's OpenAI-compatible endpoint puts it on calls."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    value = google.get("thought_signature") if isinstance(google, dict) else None
    return unseal(value, "google") if isinstance(value, str) and value else None


def read_arguments(value: object) -> str:
    """JSON text. Some servers give the object itself."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return write_text(value)
    raise broken("arguments")


def read_text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise broken(field)
    return value


def read_thinking(value: object) -> str:
    """Mistral's `thinking`: parts of text."""
    if isinstance(value, str):
        return value
    return "".join(
        [read_text(part.get("text"), "thinking") for part in read_objects(value) if part.get("type") == "text"]
    )


def read_objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_tokens(value: object) -> tuple[Token, ...]:
    """Log probabilities; what isn't told as OpenAI does is left out."""
    content = value.get("content") if isinstance(value, dict) else None
    return tuple([token for entry in read_objects(content) if (token := _read_token(entry)) is not None])


def _read_token(entry: Mapping[str, Any]) -> Token | None:
    pair = _read_pair(entry)
    if pair is None:
        return None
    top = [other for given in read_objects(entry.get("top_logprobs")) if (other := _read_pair(given)) is not None]
    return Token(*pair, tuple(top))


def _read_pair(entry: Mapping[str, Any]) -> tuple[str, float] | None:
    token, logprob = entry.get("token"), entry.get("logprob")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    return token, float(logprob)
