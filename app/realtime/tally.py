"""What a session's responses are made of, kept until their usage comes: what they are charged by where it never does."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from app.core.tokens import count_text
from app.core.usage import Usage
from app.formats.openai_media.usage import read_realtime
from app.realtime.events import Head, length_of, text_of

MAX_TEXT = 400_000
MAX_TRANSCRIPT = 20_000
"""Characters of one transcription that are counted: they are some hundreds, and nobody waits for those."""

MAX_OPEN = 100
"""Responses under way at once; OpenAI allows one in the conversation, and some beside it."""

MAX_SETTLED = 1_000

PCM_BYTES = 48_000
G711_BYTES = 8_000
"""Bytes of a second of audio: 16 bits at 24 kHz, and 8 bits at 8 kHz."""

HEARD_TOKENS = 10
SPOKEN_TOKENS = 20
"""Tokens of a second of audio, in and out: one for 100 ms of a user's and for 50 ms of an assistant's. From OpenAI's guide
"Managing costs" of Realtime; not verified against bills."""

_BASE64 = 3 / 4
_G711 = ("g711_ulaw", "g711_alaw", "audio/pcmu", "audio/pcma")


@dataclass(slots=True)
class Produced:
    """Of one response: the text, bounded, and the seconds of audio that have come."""

    texts: list[str] = field(default_factory=list)
    characters: int = 0
    audio_seconds: float = 0.0


class Tally:
    """One session's. `asked`: responses that the client has asked for and that haven't begun."""

    def __init__(self) -> None:
        self.asked = 0
        self._open: dict[str, Produced] = {}
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._context = Usage()
        self._new_text: list[str] = []
        self._new_characters = 0
        self._new_seconds = 0.0
        self._untranscribed = 0.0
        self._heard_bytes = PCM_BYTES
        self._spoken_bytes = PCM_BYTES

    @property
    def under_way(self) -> bool:
        """Whether an upstream may be producing something that nobody has been charged for."""
        return bool(self._open) or self.asked > 0

    @property
    def expected(self) -> Usage:
        """What the next response reads at least: the conversation so far, from a cache."""
        before = self._context
        old = before.input_tokens + before.output_tokens
        audio = before.input_audio_tokens + before.output_audio_tokens
        return Usage(input_tokens=old, cache_read_tokens=old, cache_audio_read_tokens=audio, input_audio_tokens=audio)

    # -- the client's ------------------------------------------------------------------------------------------------

    def heard(self, head: Head) -> None:
        """A piece of the client's audio."""
        seconds = length_of(head.audio) * _BASE64 / self._heard_bytes
        self._new_seconds += seconds
        self._untranscribed += seconds

    def told(self, text: str) -> None:
        """An event of the client's that becomes part of the input."""
        if self._new_characters < MAX_TEXT:
            self._new_text.append(text)
            self._new_characters += len(text)

    # -- the upstream's ----------------------------------------------------------------------------------------------

    def configured(self, session: object) -> None:
        """The session as the upstream has it: which audio it speaks of."""
        if isinstance(session, dict):
            audio = session.get("audio")
            sides = audio if isinstance(audio, dict) else {}
            self._heard_bytes = _rate(_format(sides.get("input")), session.get("input_audio_format"))
            self._spoken_bytes = _rate(_format(sides.get("output")), session.get("output_audio_format"))

    def began(self, response: object) -> None:
        """`response.created`."""
        self.asked = max(0, self.asked - 1)
        id = response.get("id") if isinstance(response, dict) else None
        if isinstance(id, str) and len(self._open) < MAX_OPEN:
            self._open.setdefault(id, Produced())

    def refused(self) -> None:
        """An `error`: of what the client has asked for, one response won't begin."""
        self.asked = max(0, self.asked - 1)

    def produced(self, head: Head) -> None:
        """A delta of a response."""
        made = self._open.get(text_of(head.response_id))
        if made is None:
            return
        if head.type.endswith("audio.delta"):
            made.audio_seconds += length_of(head.delta) * _BASE64 / self._spoken_bytes
        elif made.characters < MAX_TEXT:
            text = text_of(head.delta)
            made.texts.append(text)
            made.characters += len(text)

    def is_new(self, what: str) -> bool:
        """Whether something that is charged once is seen for the first time."""
        if what in self._settled:
            return False
        self._settled[what] = None
        if len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)
        return True

    def ended(self, response: dict[str, Any]) -> tuple[Usage | None, Produced | None]:
        """`response.done`: its usage, or what it has produced where that is missing or beyond belief."""
        id = response.get("id")
        made = self._open.pop(id, None) if isinstance(id, str) else None
        usage = read_realtime(response.get("usage"))
        if usage is not None:
            self._context = usage
            self._forget_input()
            return usage, None
        if response.get("status") == "failed" and (made is None or not (made.texts or made.audio_seconds)):
            return None, None
        return None, made or Produced()

    def take_rest(self) -> Produced:
        """What all responses under way have produced, together."""
        rest = Produced()
        for made in self._open.values():
            rest.texts += made.texts
            rest.audio_seconds += made.audio_seconds
        self._open.clear()
        self.asked = 0
        return rest

    def estimate(self, made: Produced) -> Usage:
        """Takes milliseconds: call it in a thread. The conversation so far counts as cached, as it is once it was used."""
        before = self._context
        old_audio = before.input_audio_tokens + before.output_audio_tokens
        old = before.input_tokens + before.output_tokens
        text = count_text("".join(self._new_text)) if self._new_text else 0
        heard = round(self._new_seconds * HEARD_TOKENS)
        spoken = round(made.audio_seconds * SPOKEN_TOKENS)
        said = count_text("".join(made.texts)) if made.texts else 0
        self._forget_input()
        return Usage(
            input_tokens=old + text + heard,
            output_tokens=said + spoken,
            cache_read_tokens=old,
            cache_audio_read_tokens=old_audio,
            input_audio_tokens=old_audio + heard,
            output_audio_tokens=spoken,
        )

    def transcribed(self) -> float:
        """Seconds of audio since the last transcription, silence included."""
        seconds, self._untranscribed = self._untranscribed, 0.0
        return seconds

    def _forget_input(self) -> None:
        self._new_text, self._new_characters, self._new_seconds = [], 0, 0.0


def estimate_transcription(seconds: float, transcript: str) -> Usage:
    heard = round(seconds * HEARD_TOKENS)
    said = count_text(transcript[:MAX_TRANSCRIPT]) if transcript else 0
    return Usage(input_tokens=heard, input_audio_tokens=heard, output_tokens=said, milliseconds=round(seconds * 1000))


def _format(side: object) -> object:
    format = side.get("format") if isinstance(side, dict) else None
    return format.get("type") if isinstance(format, dict) else None


def _rate(*names: object) -> int:
    return G711_BYTES if any(name in _G711 for name in names) else PCM_BYTES
