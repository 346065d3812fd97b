"""Another platform with the contract's API: the contract's own examples, and answers that stray from them."""

from __future__ import annotations

from app.core.media import Measured, Scope, Status
from app.core.usage import Usage
from app.providers.media import Call, Character, CharacterJob, Done, Failed, Output, Running, Site
from tests.providers.media_fixtures import (
    KEY,
    PNG,
    PNG_LINK,
    PNG_URI,
    VIDEO_LINK,
    Cancels,
    Case,
    Created,
    Creates,
    Fault,
    Finds,
    Found,
    Polled,
    Polls,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("unified",)
SITE = Site("https://platform.example")

VIDEOS = "/v2/videos/generations"
ID = "veo3:1756693796-YQVHH4A3Lg"
MP4 = "https://files.example/x.mp4"


def sent(path: str, **body: object) -> Call:
    return Call(
        "POST", path, json={"prompt": "a cat", "model": "upstream-model", **body}, headers={"idempotency-key": KEY}
    )


def query(status: str, **fields: object) -> dict[str, object]:
    """The contract's example of a query, changed."""
    return {
        "task_id": ID,
        "platform": "google",
        "action": "google-videos",
        "status": status,
        "fail_reason": "",
        "submit_time": 1756693797,
        "start_time": 1756693808,
        "finish_time": 0,
        "progress": "0%",
        "data": None,
        "search_item": "",
    } | fields


def made(url: str = MP4, content_type: str = "video/mp4", keep: bool = False) -> Output:
    return Output(content_type, url=url, keep=keep)


PICTURES = handle("p", {"count": 2}, Scope.IMAGES)

CASES: tuple[Case, ...] = (
    Sent("nothing but a prompt", job(), sent(VIDEOS), Usage(videos=1, traits={"input": "text"})),
    Sent(
        "every field",
        job(
            seconds=10.0,
            aspect_ratio="16:9",
            size="1280x720",
            resolution="720p",
            hd=True,
            images=(PNG_LINK, PNG),
            character_url="https://client.example/me.mp4",
            character_timestamps="1,3",
            extra={"watermark": False, "private": True, "enhance_prompt": True, "camera": {"zoom": [1, 2]}},
        ),
        sent(
            VIDEOS,
            duration="10",
            aspect_ratio="16:9",
            size="1280x720",
            resolution="720p",
            hd=True,
            images=["https://client.example/cat.png", PNG_URI],
            character_url="https://client.example/me.mp4",
            character_timestamps="1,3",
            watermark=False,
            private=True,
            enhance_prompt=True,
            camera={"zoom": [1, 2]},
        ),
        Usage(
            videos=1,
            milliseconds=10_000,
            traits={
                "duration": "10",
                "aspect_ratio": "16:9",
                "size": "1280x720",
                "resolution": "720p",
                "hd": "true",
                "input": "image",
            },
        ),
    ),
    Sent(
        "a video to a video, and a length in parts of a second",
        job(seconds=7.5, videos=(VIDEO_LINK,)),
        sent(VIDEOS, duration="7.5", videos=["https://client.example/cat.mp4"]),
        Usage(videos=1, milliseconds=7_500, traits={"duration": "8", "input": "video"}),
    ),
    Sent(
        "the callback stays ours",
        job(extra={"notify_hook": "https://client.example/hook"}),
        sent(VIDEOS),
    ),
    Sent(
        "several videos are as long as all of them",
        job(seconds=5.0, count=2),
        sent(VIDEOS, duration="5", n=2),
        Usage(videos=2, milliseconds=10_000, traits={"duration": "5", "input": "text"}),
    ),
    Sent(
        "pictures",
        job(scope=Scope.IMAGES, count=3, extra={"quality": "high"}),
        sent("/v2/images/generations", n=3, quality="high"),
        Usage(images=3, traits={"quality": "high", "input": "text"}),
    ),
    Sent(
        "sound",
        job("héllo", Scope.AUDIO, extra={"voice": "alloy"}),
        sent("/v2/audio/generations", prompt="héllo", voice="alloy"),
        Usage(characters=5, traits={"input": "text"}),
    ),
    Submitted("the contract's answer", job(), reply({"task_id": ID}), Running(Status.SUBMITTED, ID)),
    Submitted("a number for an id", job(), reply({"task_id": 7}), Running(Status.SUBMITTED, "7")),
    Submitted(
        "how many pictures were asked for is kept",
        job(scope=Scope.IMAGES, count=2),
        reply({"task_id": "p"}),
        Running(Status.SUBMITTED, "p", memo={"count": 2}),
    ),
    Submitted("no id", job(), reply({"id": "x"}), Fault("upstream_bad_response")),
    Submitted("an id that is none", job(), reply({"task_id": ".."}), Fault("upstream_bad_response")),
    Submitted("no with a 200", job(), reply({"error": {"message": "no quota"}}), Fault("upstream_error")),
    Submitted(
        "refused", job(), reply({"error": {"message": "bad ratio"}}, 422), Failed("bad ratio", "upstream_refused")
    ),
    Polls("by id, its colon kept", handle(ID), Call("GET", f"{VIDEOS}/{ID}")),
    Polls("quoted", handle("a/b"), Call("GET", f"{VIDEOS}/a%2Fb")),
    Polls("in its scope", handle("a", scope=Scope.AUDIO), Call("GET", "/v2/audio/generations/a")),
    Cancels("by id", handle(ID), Call("DELETE", f"{VIDEOS}/{ID}")),
    Finds("never: the contract has no list", job(), None),
    Found("no answer is one", job(), reply({"data": []}), Fault("upstream_bad_response")),
    *(
        Polled(status, handle(ID), reply(query(status)), Running(Status(status), ID, 0))
        for status in ("NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS")
    ),
    Polled("percent", handle(ID), reply(query("IN_PROGRESS", progress="45%")), Running(Status.IN_PROGRESS, ID, 45)),
    Polled("a plain number", handle(ID), reply(query("in_progress", progress=45)), Running(Status.IN_PROGRESS, ID, 45)),
    Polled("no percent", handle(ID), reply(query("QUEUED", progress="soon")), Running(Status.QUEUED, ID)),
    Polled("beyond all", handle(ID), reply(query("QUEUED", progress="250%")), Running(Status.QUEUED, ID)),
    Polled("the memo lasts", PICTURES, reply(query("QUEUED")), Running(Status.QUEUED, "p", 0, {"count": 2})),
    Polled(
        "one result",
        handle(ID),
        reply(query("SUCCESS", progress="100%", data={"output": MP4})),
        Done((made(),)),
    ),
    Polled(
        "several, the first of them twice",
        handle(ID),
        reply(query("SUCCESS", data={"output": MP4, "outputs": [MP4, "http://files.example/y.webm"]})),
        Done((made(), made("http://files.example/y.webm", "video/webm"))),
    ),
    Polled("outputs alone", handle(ID), reply(query("SUCCESS", data={"outputs": [MP4]})), Done((made(),))),
    Polled("outputs as text", handle(ID), reply(query("SUCCESS", data={"outputs": MP4})), Done((made(),))),
    Polled(
        "a result is not a link", handle(ID), reply(query("SUCCESS", data={"outputs": [None, MP4]})), Done((made(),))
    ),
    Polled(
        "a link that expires is copied",
        handle(ID),
        reply(query("SUCCESS", data={"output": f"{MP4}?X-Amz-Expires=3600&X-Amz-Signature=00"})),
        Done((made(f"{MP4}?X-Amz-Expires=3600&X-Amz-Signature=00", keep=True),)),
    ),
    Polled(
        "a data URI",
        handle("i", scope=Scope.IMAGES),
        reply(query("SUCCESS", data={"output": PNG_URI})),
        Done((Output("image/png", data=b"\x89PNG\r\n\x1a\n-demo-"),)),
    ),
    Polled(
        "an ending that tells nothing",
        handle("i", scope=Scope.IMAGES),
        reply(query("SUCCESS", data={"output": "https://files.example/x"})),
        Done((made("https://files.example/x", "image/png"),)),
    ),
    Polled(
        "fewer pictures than were asked for",
        PICTURES,
        reply(query("SUCCESS", data={"output": "https://files.example/1.png"})),
        Done((made("https://files.example/1.png", "image/png"),), Measured(images=1)),
    ),
    Polled(
        "more pictures than were asked for",
        PICTURES,
        reply(query("SUCCESS", data={"outputs": [f"https://files.example/{n}.png" for n in range(3)]})),
        Done(
            tuple(made(f"https://files.example/{n}.png", "image/png") for n in range(3)),
            Measured(images=2),
        ),
    ),
    Polled("success without data", handle(ID), reply(query("SUCCESS")), Fault("upstream_bad_response")),
    Polled("no links", handle(ID), reply(query("SUCCESS", data={"output": ""})), Fault("upstream_bad_response")),
    Polled(
        "a link of another scheme",
        handle(ID),
        reply(query("SUCCESS", data={"output": "file:///etc/passwd"})),
        Fault("upstream_bad_response"),
    ),
    Polled(
        "failed",
        handle(ID),
        reply(query("FAILURE", fail_reason="The prompt was blocked.", progress="100%")),
        Failed("The prompt was blocked."),
    ),
    Polled("failed in silence", handle(ID), reply(query("FAILURE")), Failed("The upstream gave no reason.")),
    Polled("a status of its own", handle(ID), reply(query("UNKNOWN")), Fault("upstream_bad_response")),
    Polled("a page of HTML", handle(ID), reply(b"<html>"), Fault("upstream_bad_response")),
    Polled("forgotten", handle(ID), reply({"error": "no such task"}, 404), Fault("upstream_refused", False)),
    Creates(
        "from a video",
        CharacterJob("1,3", url="https://client.example/me.mp4"),
        Call("POST", "/sora/v1/characters", json={"timestamps": "1,3", "url": "https://client.example/me.mp4"}),
    ),
    Creates(
        "from a task",
        CharacterJob("1,3", from_task=ID),
        Call("POST", "/sora/v1/characters", json={"timestamps": "1,3", "from_task": ID}),
    ),
    Created(
        "the contract's answer",
        reply(
            {
                "id": "ch_1",
                "username": "cat",
                "permalink": "https://p.example",
                "profile_picture_url": "https://q.example",
            }
        ),
        Character("ch_1", "cat", "https://p.example", "https://q.example"),
    ),
    Created("the least", reply({"id": "ch_1", "username": "cat"}), Character("ch_1", "cat", "", "")),
    Created("without a name", reply({"id": "ch_1"}), Fault("upstream_bad_response")),
    Created("no with a 200", reply({"message": "no face"}), Fault("upstream_error")),
    Created("refused", reply({"error": {"message": "no face"}}, 400), Fault("upstream_refused", False)),
)
