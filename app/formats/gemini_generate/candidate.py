"""One candidate of an answer while it comes: parts become blocks.

Text that comes in several parts is one block, and so are thoughts. A part with a signature is a block of its own: Google
wants it back as it was, neither split nor joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import (
    Block,
    BlockEnded,
    BlockStarted,
    Citation,
    Cited,
    Event,
    Finish,
    Finished,
    Grown,
    Media,
    Opaque,
    Signed,
    Text,
    Thinking,
    Token,
    ToolCall,
    Weighed,
)
from app.errors import UpstreamError, bad_upstream_response
from app.formats.gemini_generate.citations import read_citations
from app.formats.gemini_generate.fields import NAME
from app.formats.gemini_generate.parts import read_media, write_arguments
from app.formats.gemini_generate.spelling import respell_base64
from app.formats.gemini_generate.thoughts import read_signature, read_thought
from app.formats.refusals import read_late_error, read_words

_FILTERED = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION",
)  # fmt: skip

FINISHES: Mapping[str, Finish] = MappingProxyType(
    {
        "STOP": Finish.STOP,
        "MAX_TOKENS": Finish.LENGTH,
        "CONTINUATION": Finish.LENGTH,  # there is more, but only for a client that speaks this format
        **dict.fromkeys(_FILTERED, Finish.FILTERED),
    }
)

NO_REASON = "FINISH_REASON_UNSPECIFIED"
FAILURES = ("MALFORMED_", "UNEXPECTED_", "TOO_MANY_", "MISSING_", "PUP_")
"""Beginnings of reasons that say that the answer is of no use: a call that can't be read, a signature that is missing, an
account that is limited."""

KNOWN_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse", "fileData")


class Candidate:
    """`open` is the kind of the open block, Text or Thinking; None while there is none. `prefix`: of calls without an id."""

    __slots__ = ("_called", "_calls", "_cited", "_prefix", "_reason", "_signed", "choice", "finished", "open", "pieces")

    def __init__(self, choice: int, prefix: str) -> None:
        self.choice = choice
        self.finished = False
        self.open: type[Text] | type[Thinking] | None = None
        self.pieces: list[str] = []
        """The open text so far, which citations count in."""
        self._prefix = prefix
        self._reason = ""
        self._signed = False
        self._called = False
        self._calls = 0
        self._cited: set[Citation] = set()

    @property
    def grows(self) -> type[Text] | type[Thinking] | None:
        """What more of the open block is, if it can have more."""
        return None if self._signed else self.open

    def take(self, value: Mapping[str, Any]) -> list[Event]:
        """What one chunk tells of this candidate. Raises UpstreamError if it isn't what the format promises."""
        events: list[Event] = []
        content = value.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(content, dict | None) or not isinstance(parts, list | None):
            raise broken("content")
        for part in parts or ():
            if not isinstance(part, dict):
                raise broken("parts")
            events += self._part(part)
        if self.open is Text and ("groundingMetadata" in value or "citationMetadata" in value):
            events += self._cite(value)
        tokens = _read_logprobs(value.get("logprobsResult"))
        if tokens:
            events.append(Weighed(tokens, self.choice))
        self._note_reason(value)
        return events

    def _part(self, part: dict[str, Any]) -> list[Event]:
        text, signature = part.get("text"), part.get("thoughtSignature")
        if not isinstance(text, str | None) or not isinstance(signature, str | None):
            raise broken("parts")
        if "functionCall" in part:
            return [*self._sign(signature), *self._call(part["functionCall"])]
        if text is None and (block := self._read_whole(part)) is not None:
            return [*self._sign(signature), *self._whole(block)]
        if part.get("thought"):
            return self._think(text or "", signature)
        return self._speak(text or "", signature)

    def _speak(self, text: str, signature: str | None) -> list[Event]:
        if not signature:
            return self._more(Text, text)
        events = self._sign(signature)
        if text:
            events += self._more(Text, text)
            self._signed = True
        return events

    def _think(self, text: str, signature: str | None) -> list[Event]:
        if not signature:
            return self._more(Thinking, text)
        if not text and self.open is not Thinking:
            return self._sign(signature)
        events = self._more(Thinking, text)
        return [*events, Signed(read_signature(signature), self.choice), *self.close()]

    def _more(self, kind: type[Text] | type[Thinking], text: str) -> list[Event]:
        if not text:
            return []
        if self.grows is kind:
            self.pieces.append(text)
            return [Grown(text, self.choice)]
        events = self.close()
        self.open = kind
        self.pieces.append(text)
        return [*events, BlockStarted(kind(text), self.choice)]

    def _sign(self, signature: str | None) -> list[Event]:
        """The signature of what follows."""
        return self._whole(read_thought("", signature)) if signature else []

    def _whole(self, block: Block) -> list[Event]:
        return [*self.close(), BlockStarted(block, self.choice), BlockEnded(self.choice)]

    def close(self) -> list[Event]:
        if self.open is None:
            return []
        self.open, self._signed = None, False
        self.pieces.clear()
        self._cited.clear()
        return [BlockEnded(self.choice)]

    def _call(self, call: object) -> list[Event]:
        if not isinstance(call, dict) or not isinstance(name := call.get("name"), str):
            raise broken("functionCall")
        arguments, id = call.get("args"), call.get("id")
        # Arguments in pieces are Vertex AI's, and only for who asks for them.
        if not isinstance(arguments, dict | None) or call.get("partialArgs") or call.get("willContinue"):
            raise broken("functionCall.args")
        if not isinstance(id, str) or not id:
            id = f"{self._prefix}{self._calls}"
        self._calls += 1
        self._called = True
        return self._whole(ToolCall(id, name, write_arguments(arguments or {})))

    def _read_whole(self, part: dict[str, Any]) -> Block | None:
        """A block that can't grow; None for a part that is neither that nor text."""
        inline = part.get("inlineData")
        if isinstance(inline, dict) and not part.get("thought"):
            kind, data = inline.get("mimeType"), inline.get("data")
            if not isinstance(kind, str) or not isinstance(data, str):
                raise broken("inlineData")
            return read_media(kind, Media(kind, respell_base64(data))) or Opaque(NAME, "inlineData", part)
        names = [name for name in part if name not in ("thought", "thoughtSignature")]
        return Opaque(NAME, names[0], part) if names else None

    def _cite(self, value: Mapping[str, Any]) -> list[Event]:
        """A later chunk may repeat what an earlier one said."""
        found = [citation for citation in read_citations(value, "".join(self.pieces)) if citation not in self._cited]
        self._cited.update(found)
        return [Cited(citation, self.choice) for citation in found]

    def _note_reason(self, value: Mapping[str, Any]) -> None:
        """Why it ends, so far: some servers say so in every chunk, and the last one counts."""
        reason = value.get("finishReason")
        if not isinstance(reason, str) or reason in ("", NO_REASON):
            return
        if reason.startswith(FAILURES):
            words = read_words(value.get("finishMessage"))
            raise read_late_error(502, f"{reason}: {words}" if words else reason, reason)
        self.finished = True
        self._reason = reason

    def finish(self) -> list[Event]:
        """The end, once nothing more can come."""
        finish = FINISHES.get(self._reason, Finish.STOP)
        if finish is Finish.STOP and self._called:  # Google says STOP there too
            finish = Finish.TOOL_CALLS
        return [*self.close(), Finished(finish, self.choice)]


def broken(field: str) -> UpstreamError:
    return bad_upstream_response(f"The upstream's answer has a '{field}' that isn't what its format promises.")


def _read_logprobs(result: object) -> tuple[Token, ...]:
    if not isinstance(result, dict):
        return ()
    chosen, tops = result.get("chosenCandidates"), result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    found: list[Token] = []
    for number, entry in enumerate(chosen if isinstance(chosen, list) else []):
        pair = _read_token(entry)
        if pair is None:
            raise broken("logprobsResult")
        top = tops[number].get("candidates") if number < len(tops) and isinstance(tops[number], dict) else None
        others = [_read_token(other) for other in top] if isinstance(top, list) else []
        found.append(Token(*pair, tuple(other for other in others if other is not None)))
    return tuple(found)


def _read_token(value: object) -> tuple[str, float] | None:
    """A log probability of zero is left out, as protocol buffers do in JSON."""
    if not isinstance(value, dict):
        return None
    token, logprob = value.get("token", ""), value.get("logProbability", 0.0)
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    return token, float(logprob)
