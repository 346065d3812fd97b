"""Usage as OpenAI's image, transcription, speech and Realtime endpoints report it, in the gateway's one shape.

Source: OpenAI's `images_response.py`, `image_gen_completed_event.py`, `transcription.py`. Speech reports usage only in a
stream's `speech.audio.done`, which no SDK has types for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.core.usage import Usage, read_count, read_details, read_milliseconds, read_name, read_part

TRAITS = ("size", "quality")


def read_images(reply: object) -> Usage | None:
    """What a whole images reply used, or a stream's `…completed` event, which is one picture.

    Without a usage object the tokens are zero: such upstreams are priced by the image. None: neither usage nor pictures.
    """
    if not isinstance(reply, dict):
        return None
    pictures = reply.get("data")
    count = len(pictures) if isinstance(pictures, list) else int("b64_json" in reply)
    tokens = _read_tokens(reply.get("usage"))
    if tokens is None and not count:
        return None
    traits = {name: value for name in TRAITS if (value := read_name(reply.get(name))) is not None}
    return replace(_with_image_tokens(tokens, read_details(reply, "usage")), images=count, traits=traits)


def _with_image_tokens(tokens: Usage | None, report: Mapping[str, object]) -> Usage:
    if tokens is None:
        return Usage()
    inside, outside = tokens.input_tokens, tokens.output_tokens
    made = read_details(report, "output_tokens_details")
    return replace(
        tokens,
        input_image_tokens=read_part(read_details(report, "input_tokens_details"), "image_tokens", inside),
        # What comes out is a picture; only newer models say how much of it was text.
        output_image_tokens=read_part(made, "image_tokens", outside) if "image_tokens" in made else outside,
    )


def read_transcription(value: object) -> Usage | None:
    """The usage object of a transcription: tokens for some models, the audio's length for others."""
    if not isinstance(value, dict):
        return None
    if value.get("type") == "duration":
        length = read_milliseconds(value, "seconds")
        return None if length is None else Usage(milliseconds=length)
    tokens = _read_tokens(value)
    if tokens is None:
        return None
    heard = read_part(read_details(value, "input_token_details"), "audio_tokens", tokens.input_tokens)
    return replace(tokens, input_audio_tokens=heard)


def read_speech(value: object) -> Usage | None:
    """The usage object of `speech.audio.done`: text in, audio out. Plain replies have none and are priced by character."""
    tokens = _read_tokens(value)
    return None if tokens is None else replace(tokens, output_audio_tokens=tokens.output_tokens)


def _read_tokens(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    inside, outside = read_count(value, "input_tokens"), read_count(value, "output_tokens")
    return None if inside is None or outside is None else Usage(input_tokens=inside, output_tokens=outside)


def read_realtime(value: object) -> Usage | None:
    """The usage object of a Realtime `response.done`: text, audio and pictures in, text and audio out.

    Cached audio is in the cached tokens and in the audio tokens alike. None: missing, or beyond belief. Source: OpenAI's
    `realtime_response_usage.py` and its two details.
    """
    tokens = _read_tokens(value)
    if tokens is None or not isinstance(value, dict):
        return None
    heard, said = read_details(value, "input_token_details"), read_details(value, "output_token_details")
    inside = tokens.input_tokens
    audio, cached = read_part(heard, "audio_tokens", inside), read_part(heard, "cached_tokens", inside)
    cached_audio = read_part(read_details(heard, "cached_tokens_details"), "audio_tokens", min(audio, cached))
    return replace(
        tokens,
        cache_read_tokens=cached,
        cache_audio_read_tokens=cached_audio,
        input_audio_tokens=audio,
        input_image_tokens=read_part(heard, "image_tokens", inside),
        output_audio_tokens=read_part(said, "audio_tokens", tokens.output_tokens),
    )
