"""Transcripts of a sound in OpenAI's formats: how long it is, its segments, subtitles, and what it counts."""

import math
import struct
from dataclasses import dataclass
from typing import Any

from app.demo.surfaces.spool import Spool

# Of a sound whose length nobody can tell: 128 kbit/s.
BYTES_A_SECOND = 16_000
LEAST_SECONDS = 0.1
WORDS_A_SEGMENT = 8
AUDIO_TOKENS_A_SECOND = 10
SPEAKERS = "AB"


@dataclass(frozen=True, slots=True)
class Segment:
    """A few words and when they are said, in seconds."""

    index: int
    start: float
    end: float
    text: str

    @property
    def speaker(self) -> str:
        """Two take turns."""
        return SPEAKERS[self.index % len(SPEAKERS)]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in so many seconds; `prompt_tokens` and `tokens` are those of the prompt and of the text."""

    text: str
    seconds: float
    prompt_tokens: int
    tokens: int

    def segments(self) -> list[Segment]:
        """Groups of words, one after the other."""
        words = self.text.split()
        step = self.seconds / max(1, len(words))
        return [
            Segment(
                start // WORDS_A_SEGMENT,
                round(start * step, 3),
                round(min(len(words), start + WORDS_A_SEGMENT) * step, 3),
                " ".join(words[start : start + WORDS_A_SEGMENT]),
            )
            for start in range(0, len(words), WORDS_A_SEGMENT)
        ]

    def words(self) -> list[dict[str, Any]]:
        """Each word and when it is said."""
        words = self.text.split()
        step = self.seconds / max(1, len(words))
        return [
            {"word": word, "start": round(index * step, 3), "end": round((index + 1) * step, 3)}
            for index, word in enumerate(words)
        ]

    def count_tokens(self) -> dict[str, Any]:
        """Usage of a model that counts tokens."""
        audio = math.ceil(self.seconds * AUDIO_TOKENS_A_SECOND)
        read = audio + self.prompt_tokens
        return {
            "type": "tokens",
            "input_tokens": read,
            "input_token_details": {"text_tokens": self.prompt_tokens, "audio_tokens": audio},
            "output_tokens": self.tokens,
            "total_tokens": read + self.tokens,
        }

    def count_seconds(self) -> dict[str, Any]:
        """Usage of a model that counts seconds, whole ones."""
        return {"type": "duration", "seconds": math.ceil(self.seconds)}


def measure(sound: Spool) -> float:
    """The seconds of a file: as its head tells if it is a WAV, else as its size would have it."""
    seconds = _measure_wav(sound)
    return round(max(LEAST_SECONDS, sound.size / BYTES_A_SECOND if seconds is None else seconds), 3)


def _measure_wav(sound: Spool) -> float | None:
    head, at, rate = sound.head, 12, 0
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    while at + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, at)
        if name == b"fmt " and at + 20 <= len(head):
            (rate,) = struct.unpack_from("<I", head, at + 16)
        elif name == b"data" and rate:
            return min(int(size), sound.size - at - 8) / rate  # one that was written as it was made has no true size
        at += 8 + size + size % 2
    return None


def write_segment(segment: Segment) -> dict[str, Any]:
    """A segment of `verbose_json`."""
    return {
        "id": segment.index,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def write_turn(segment: Segment) -> dict[str, Any]:
    """A segment of `diarized_json`, which is an event too."""
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.index:03d}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker,
    }


def write_srt(transcript: Transcript) -> str:
    """Subtitles as SubRip has them."""
    return "".join(
        f"{each.index + 1}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n{each.text}\n\n"
        for each in transcript.segments()
    )


def write_vtt(transcript: Transcript) -> str:
    """Subtitles as WebVTT has them."""
    cues = (f"{_clock(each.start)} --> {_clock(each.end)}\n{each.text}\n\n" for each in transcript.segments())
    return "WEBVTT\n\n" + "".join(cues)


def _clock(seconds: float, point: str = ".") -> str:
    minutes, left = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{left // 1000:02d}{point}{left % 1000:03d}"
