"""Servers of `/v1/videos`: forms as OpenAI's SDK sends them, and its `Video` objects."""

from __future__ import annotations

from app.core.media import Measured, Status
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Part, Running, Site
from tests.providers.media_fixtures import (
    FETCHED,
    PNG,
    PNG_BYTES,
    VIDEO_LINK,
    Cancels,
    Case,
    Fault,
    Finds,
    Polled,
    Polls,
    Refused,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("openai_videos",)
SITE = Site("https://videos.example/v1")

ID = "video_68d7512d07848190b3e45da0ecbebcde"


def form(*parts: Part, prompt: str = "a cat") -> Call:
    return Call(
        "POST", "/videos", form=(Part("prompt", prompt), Part("model", "upstream-model"), *parts), timeout=120.0
    )


def units(milliseconds: int = 4000, **traits: str) -> Usage:
    """The API's defaults, changed."""
    known = {"duration": "4", "size": "720x1280", "resolution": "720p", "aspect_ratio": "9:16", "input": "text"}
    return Usage(videos=1, milliseconds=milliseconds, traits=known | traits)


def video(status: str, **fields: object) -> dict[str, object]:
    return {
        "id": ID,
        "object": "video",
        "model": "sora-2",
        "status": status,
        "progress": 0,
        "created_at": 1758941485,
        "seconds": "8",
        "size": "1280x720",
    } | fields


def made(measured: Measured) -> Done:
    return Done((Output("video/mp4", call=Call("GET", f"/videos/{ID}/content")),), measured)


MADE = Measured(videos=1, milliseconds=8000, traits={"size": "1280x720", "resolution": "720p", "duration": "8"})
NO_LENGTH = Measured(videos=1, traits={"size": "1280x720", "resolution": "720p"})

CASES: tuple[Case, ...] = (
    Sent("nothing but a prompt", job(), form(), units()),
    Sent(
        "a length and a picture",
        job(seconds=8.0, images=(PNG,)),
        form(Part("seconds", "8"), Part("input_reference", PNG_BYTES, "reference.png", "image/png")),
        units(8000, duration="8", input="image"),
    ),
    Sent(
        "a picture that was fetched",
        job(images=(FETCHED,)),
        form(Part("input_reference", PNG_BYTES, "reference.png", "image/png")),
        units(input="image"),
    ),
    Sent(
        "landscape",
        job(aspect_ratio="16:9"),
        form(Part("size", "1280x720")),
        units(size="1280x720", aspect_ratio="16:9"),
    ),
    Sent("portrait", job(aspect_ratio="9:16"), form(Part("size", "720x1280")), units()),
    Sent(
        "hd",
        job(hd=True),
        form(Part("size", "1024x1792")),
        units(size="1024x1792", resolution="1080p", hd="true"),
    ),
    Sent(
        "1080p landscape",
        job(resolution="1080p", aspect_ratio="16:9"),
        form(Part("size", "1792x1024")),
        units(size="1792x1024", resolution="1080p", aspect_ratio="16:9"),
    ),
    Sent("720p", job(resolution="720p"), form(Part("size", "720x1280")), units()),
    Sent(
        "a size of the server's own, and what agrees with it",
        job(size="1920x1080", aspect_ratio="16:9", resolution="1080p", hd=True),
        form(Part("size", "1920x1080")),
        units(size="1920x1080", resolution="1080p", aspect_ratio="16:9", hd="true"),
    ),
    Sent(
        "fields of the server's own",
        job(extra={"seed": 7, "watermark": False, "camera": {"zoom": [1, 2]}, "style": None}),
        Call(
            "POST",
            "/videos",
            form=(
                Part("seed", "7"),
                Part("watermark", "false"),
                Part("camera[zoom][]", "1"),
                Part("camera[zoom][]", "2"),
                Part("prompt", "a cat"),
                Part("model", "upstream-model"),
            ),
            timeout=120.0,
        ),
        units(),
    ),
    Refused("parts of a second", job(seconds=7.5), "duration"),
    Refused("two pictures", job(images=(PNG, PNG)), "images"),
    Refused("a video", job(videos=(VIDEO_LINK,)), "videos"),
    Refused("several", job(count=2), "n"),
    Refused("square", job(aspect_ratio="1:1"), "aspect_ratio"),
    Refused("480p", job(resolution="480p"), "resolution"),
    Refused("4k", job(resolution="4k", aspect_ratio="16:9"), "resolution"),
    Refused("hd and 720p", job(resolution="720p", hd=True), "hd"),
    Refused("a shape against a size", job(size="1280x720", aspect_ratio="9:16"), "aspect_ratio"),
    Refused("a resolution against a size", job(size="1280x720", resolution="1080p"), "resolution"),
    Refused("hd against a size", job(size="1280x720", hd=True), "hd"),
    Refused("a size that is none", job(size="large"), "size"),
    Refused("a character", job(character_url="https://client.example/me.mp4"), "character_url"),
    Refused("a character's stretch", job(character_timestamps="1,3"), "character_timestamps"),
    Submitted("queued", job(), reply(video("queued")), Running(Status.QUEUED, ID, 0)),
    Submitted(
        "with a pause",
        job(),
        reply(video("in_progress", progress=12), openai_poll_after_ms="2500"),
        Running(Status.IN_PROGRESS, ID, 12, poll_after=2.5),
    ),
    Submitted("done at once", job(), reply(video("completed", progress=100)), made(MADE)),
    Submitted("no id", job(), reply(video("queued", id=None)), Fault("upstream_bad_response")),
    Submitted(
        "refused",
        job(),
        reply(
            {"error": {"message": "Unknown size.", "type": "invalid_request_error", "param": "size", "code": None}}, 400
        ),
        Failed("Unknown size.", "invalid_request_error"),
    ),
    Polls("by id", handle(ID), Call("GET", f"/videos/{ID}")),
    Polls("quoted", handle("a/b"), Call("GET", "/videos/a%2Fb")),
    Cancels("never", handle(ID), None),
    Finds("never: two jobs may have the same prompt", job(), None),
    Polled("queued", handle(ID), reply(video("queued")), Running(Status.QUEUED, ID, 0)),
    Polled("half done", handle(ID), reply(video("in_progress", progress=45)), Running(Status.IN_PROGRESS, ID, 45)),
    Polled(
        "asking for a century",
        handle(ID),
        reply(video("queued"), openai_poll_after_ms="99999999999999"),
        Running(Status.QUEUED, ID, 0, poll_after=600.0),
    ),
    Polled(
        "a pause that is none",
        handle(ID),
        reply(video("queued", progress=None), openai_poll_after_ms="-5"),
        Running(Status.QUEUED, ID),
    ),
    Polled("made", handle(ID), reply(video("completed")), made(MADE)),
    Polled("a length as a number", handle(ID), reply(video("completed", seconds=8)), made(MADE)),
    Polled("no length", handle(ID), reply(video("completed", seconds=None)), made(NO_LENGTH)),
    Polled("no time at all", handle(ID), reply(video("completed", seconds="0")), made(NO_LENGTH)),
    Polled("milliseconds by mistake", handle(ID), reply(video("completed", seconds="8000")), made(NO_LENGTH)),
    Polled("a length that is none", handle(ID), reply(video("completed", seconds="nan")), made(NO_LENGTH)),
    Polled(
        "larger and longer than asked for",
        handle(ID),
        reply(video("completed", seconds="10.5", size="1024x1792")),
        made(
            Measured(
                videos=1,
                milliseconds=10_500,
                traits={"size": "1024x1792", "resolution": "1080p", "duration": "11"},
            )
        ),
    ),
    Polled(
        "failed",
        handle(ID),
        reply(video("failed", error={"code": "moderation_blocked", "message": "Blocked by moderation."})),
        Failed("Blocked by moderation.", "moderation_blocked"),
    ),
    Polled("failed in silence", handle(ID), reply(video("failed")), Failed("The upstream gave no reason.")),
    Polled("a status of its own", handle(ID), reply(video("thinking")), Fault("upstream_bad_response")),
    Polled(
        "forgotten", handle(ID), reply({"error": {"message": "no such video"}}, 404), Fault("upstream_refused", False)
    ),
)
