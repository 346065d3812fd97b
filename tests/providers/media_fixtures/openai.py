"""OpenAI's images and speech: what is sent, in JSON and as forms, and the results in its answers."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from app.core.media import Job, Measured, Scope
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Part, Reply
from tests.providers.media_fixtures import (
    FETCHED,
    PNG,
    PNG_BYTES,
    PNG_URI,
    VIDEO_LINK,
    Cancels,
    Case,
    Fault,
    Finds,
    Refused,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("openai", "azure")

JPEG_BYTES = b"\xff\xd8\xff\xe0-demo-"
WEBP_BYTES = b"RIFF\x00\x00\x00\x00WEBPVP8 "


def picture(**fields: Any) -> Job:
    return job(scope=Scope.IMAGES, **fields)


def speech(prompt: str = "a cat", **extra: object) -> Job:
    return job(prompt, Scope.AUDIO, extra={"voice": "alloy", **extra})


def generation(**body: object) -> Call:
    fields = {"prompt": "a cat", "model": "upstream-model", **body}
    return Call("POST", "/images/generations", json=fields, timeout=300.0)


def edit(*parts: Part) -> Call:
    fields = (Part("prompt", "a cat"), Part("model", "upstream-model"))
    return Call("POST", "/images/edits", form=(*fields, *parts), timeout=300.0)


def spoken(**body: object) -> Call:
    fields = {"voice": "alloy", "input": "a cat", "model": "upstream-model", **body}
    return Call("POST", "/audio/speech", json=fields, timeout=300.0)


def units(made: int = 8300, images: int = 1, shown: int = 0, **traits: str) -> Usage:
    """`a cat` is two thirds of three tokens each."""
    return Usage(
        images=images,
        input_tokens=2 + shown,
        input_image_tokens=shown,
        output_tokens=made,
        output_image_tokens=made,
        traits={"input": "image" if shown else "text", **traits},
    )


def base64(data: bytes) -> dict[str, str]:
    return {"b64_json": b64encode(data).decode()}


def pictures(*items: object, **fields: object) -> Reply:
    return reply({"created": 1_760_000_000, "data": list(items), **fields})


def sound(body: bytes, content_type: str) -> Reply:
    return reply(body, content_type=content_type)


MASK = Part("mask", PNG_BYTES, "mask.png", "image/png")

CASES: tuple[Case, ...] = (
    Sent("a picture", picture(), generation(), units()),
    Sent(
        "a picture with everything",
        picture(
            size="1536x1024",
            count=2,
            extra={"quality": "high", "background": "transparent", "output_format": "webp", "moderation": "low"},
        ),
        generation(
            size="1536x1024", n=2, quality="high", background="transparent", output_format="webp", moderation="low"
        ),
        units(16_600, images=2, size="1536x1024", quality="high"),
    ),
    Sent(
        "a cheap one",
        picture(size="1024x1024", extra={"quality": "low"}),
        generation(size="1024x1024", quality="low"),
        units(500, size="1024x1024", quality="low"),
    ),
    Sent(
        "a large one holds more",
        picture(size="3840x2160"),
        generation(size="3840x2160"),
        units(23_914, size="3840x2160"),
    ),
    *(
        Sent(
            f"shape {ratio}",
            picture(aspect_ratio=ratio),
            generation(size=size),
            units(size=size, aspect_ratio=ratio),
        )
        for ratio, size in {"1:1": "1024x1024", "3:2": "1536x1024", "2:3": "1024x1536"}.items()
    ),
    Sent(
        "shape and size that agree",
        picture(size="1536x864", aspect_ratio="16:9"),
        generation(size="1536x864"),
        units(size="1536x864", aspect_ratio="16:9"),
    ),
    Sent(
        "an edit of one",
        picture(images=(PNG,)),
        edit(Part("image", PNG_BYTES, "image-1.png", "image/png")),
        units(shown=1445),
    ),
    Sent(
        "an edit of two, with a mask",
        picture(images=(PNG, FETCHED), size="1024x1024", count=2, extra={"mask": PNG_URI}),
        edit(
            Part("size", "1024x1024"),
            Part("n", "2"),
            Part("image[]", PNG_BYTES, "image-1.png", "image/png"),
            Part("image[]", PNG_BYTES, "image-2.png", "image/png"),
            MASK,
        ),
        units(16_600, images=2, shown=2890, size="1024x1024"),
    ),
    Sent("speech", speech(), spoken(), Usage(characters=5, traits={"input": "text"})),
    Sent(
        "speech with everything",
        speech("héllo", voice={"id": "voice_1"}, response_format="wav", speed=1.5, instructions="calm"),
        spoken(voice={"id": "voice_1"}, input="héllo", response_format="wav", speed=1.5, instructions="calm"),
        Usage(characters=5, traits={"input": "text"}),
    ),
    Refused("eleven", picture(count=11), "n"),
    Refused("seventeen pictures", picture(images=(PNG,) * 17), "images"),
    Refused("a video", picture(videos=(VIDEO_LINK,)), "videos"),
    Refused("a length", picture(seconds=4.0), "duration"),
    Refused("a resolution", picture(resolution="2k"), "resolution"),
    Refused("hd", picture(hd=True), "hd"),
    Refused("a shape that not every model has", picture(aspect_ratio="16:9"), "aspect_ratio"),
    Refused("a shape against a size", picture(aspect_ratio="1:1", size="1536x1024"), "aspect_ratio"),
    Refused("no multiple of 16", picture(size="1000x1000"), "size"),
    Refused("too narrow", picture(size="512x2048"), "size"),
    Refused("too long", picture(size="4096x2048"), "size"),
    Refused("too large", picture(size="3840x2400"), "size"),
    Refused("a stream", picture(extra={"stream": True}), "stream"),
    Refused("a mask of nothing", picture(extra={"mask": PNG_URI}), "mask"),
    Refused("a mask elsewhere", picture(images=(PNG,), extra={"mask": "https://client.example/mask.png"}), "mask"),
    Refused("too many words", job("a" * 32_001, Scope.IMAGES), "prompt"),
    Refused("no voice", job(scope=Scope.AUDIO), "voice"),
    Refused("too much to say", speech("a" * 4097), "prompt"),
    Refused("an unknown format", speech(response_format="midi"), "response_format"),
    Refused("speech as events", speech(stream_format="sse"), "stream_format"),
    Refused("speech of a picture", job(scope=Scope.AUDIO, images=(PNG,), extra={"voice": "alloy"}), "images"),
    Refused("two speeches", job(scope=Scope.AUDIO, count=2, extra={"voice": "alloy"}), "n"),
    Submitted(
        "a picture with usage",
        picture(),
        pictures(
            base64(PNG_BYTES),
            size="1024x1024",
            quality="medium",
            output_format="png",
            usage={"input_tokens": 11, "output_tokens": 1056, "total_tokens": 1067},
        ),
        Done(
            (Output("image/png", data=PNG_BYTES),),
            Measured(
                images=1,
                input_tokens=11,
                input_image_tokens=0,
                output_tokens=1056,
                output_image_tokens=1056,
                traits={"size": "1024x1024", "quality": "medium"},
            ),
        ),
    ),
    Submitted(
        "two, and half a usage",
        picture(count=2),
        pictures(base64(JPEG_BYTES), base64(WEBP_BYTES), usage={"input_tokens": 11}),
        Done((Output("image/jpeg", data=JPEG_BYTES), Output("image/webp", data=WEBP_BYTES)), Measured(images=2)),
    ),
    Submitted(
        "a type that bytes don't tell",
        picture(extra={"output_format": "svg"}),
        pictures(base64(b"<svg/>")),
        Done((Output("image/svg+xml", data=b"<svg/>"),), Measured(images=1)),
    ),
    Submitted(
        "a link, which ends soon",
        picture(),
        pictures({"url": "https://files.example/a.jpg", "revised_prompt": "cat"}),
        Done((Output("image/jpeg", url="https://files.example/a.jpg"),), Measured(images=1)),
    ),
    Submitted("none", picture(), pictures(), Fault("upstream_bad_response")),
    Submitted("no data", picture(), reply({"created": 1}), Fault("upstream_bad_response")),
    Submitted("no base64", picture(), pictures({"b64_json": "%"}), Fault("upstream_bad_response")),
    Submitted("neither bytes nor link", picture(), pictures({"url": "x"}), Fault("upstream_bad_response")),
    Submitted("one of two spoilt", picture(count=2), pictures(base64(PNG_BYTES), {}), Fault("upstream_bad_response")),
    Submitted(
        "refused",
        picture(),
        reply({"error": {"message": "Blocked.", "type": "user_error", "code": "moderation_blocked"}}, 400),
        Failed("Blocked.", "moderation_blocked"),
    ),
    Submitted("overloaded", picture(), reply({"error": {"message": "busy"}}, 503), Fault("upstream_error")),
    Submitted(
        "sound",
        speech(),
        sound(b"ID3sound", "audio/mpeg"),
        Done((Output("audio/mpeg", data=b"ID3sound"),), Measured(characters=5)),
    ),
    Submitted(
        "sound by the format asked for",
        speech(response_format="opus"),
        sound(b"OggSsound", "application/octet-stream"),
        Done((Output("audio/opus", data=b"OggSsound"),), Measured(characters=5)),
    ),
    Submitted(
        "sound of another kind than asked for",
        speech(response_format="mp3"),
        sound(b"RIFFsound", "Audio/WAV; rate=24000"),
        Done((Output("audio/wav", data=b"RIFFsound"),), Measured(characters=5)),
    ),
    Submitted("no sound", speech(), sound(b"", "audio/mpeg"), Fault("upstream_bad_response")),
    Submitted("an error with a 200", speech(), reply({"error": "no"}), Fault("upstream_bad_response")),
    Submitted("a page", speech(), sound(b"<html>", "text/html; charset=utf-8"), Fault("upstream_bad_response")),
    Submitted(
        "no such voice", speech(), reply({"error": {"message": "voice"}}, 400), Failed("voice", "upstream_refused")
    ),
    Cancels("never", handle("a", scope=Scope.IMAGES), None),
    Finds("never", picture(), None),
)
