"""fal's queue. Shapes as its openapi (queue.json), fal-client 1.0.3 and its pages on errors have them."""

from __future__ import annotations

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Running
from tests.providers.media_fixtures import (
    MODEL,
    PNG,
    PNG_BYTES,
    PNG_LINK,
    PNG_URI,
    VIDEO_LINK,
    Cancels,
    Fault,
    Finds,
    Found,
    Polled,
    Polls,
    Refused,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("fal",)

ID = "80e732af-660e-45cd-bd63-580e4f2a94cc"
BASE = f"https://queue.fal.run/upstream-model/requests/{ID}"
LINKS = {"status_url": f"{BASE}/status", "response_url": BASE, "cancel_url": f"{BASE}/cancel"}
MEMO = {**LINKS, "count": 1, "state": "queued"}
WORKING = {**MEMO, "state": "running"}
ELSEWHERE = {name: url.replace("queue.fal.run", "evil.example") for name, url in LINKS.items()}
ACCEPTED = {"status": "IN_QUEUE", "request_id": ID, **LINKS, "queue_position": 3}

TASK = handle(ID, MEMO)
COMPLETED = handle(ID, {**MEMO, "state": "completed"})
PICTURES = handle(ID, {**MEMO, "count": 2, "state": "completed"}, Scope.IMAGES)
SOUND = handle(ID, {**MEMO, "state": "completed"}, Scope.AUDIO)
FETCHABLE = Running(Status.IN_PROGRESS, ID, memo=COMPLETED.memo, poll_after=0)

URL = "https://v3b.fal.media/files/b/0a90/uJG2pMMJ"
FILE = {"url": f"{URL}.mp4", "content_type": "video/mp4", "file_name": "uJG2pMMJ.mp4", "file_size": 40_442}
INVALID = {"detail": [{"loc": ["body", "duration"], "msg": "Must be 5 or 10.", "type": "value_error", "input": "7"}]}
TIMED_OUT = {"detail": "Request timed out", "error_type": "request_timeout"}


def call(**fields: object) -> Call:
    return Call("POST", f"/{MODEL}", json={"prompt": "a cat", **fields})


def image(url: str, **fields: object) -> dict[str, object]:
    return {"url": url, "width": 1024, "height": 768, "content_type": "image/jpeg", **fields}


def named(model: str, **fields: object) -> Job:
    return Job(scope=Scope.VIDEOS, model=model, prompt="a cat", **fields)  # type: ignore[arg-type]


SENT = (
    Sent("text alone", job(), call(), Usage(videos=1, traits={"input": "text"})),
    Sent(
        "everything said",
        job(seconds=5.0, aspect_ratio="9:16", resolution="720p", extra={"generate_audio": False, "seed": 7}),
        call(duration="5", aspect_ratio="9:16", resolution="720p", generate_audio=False, seed=7),
        Usage(
            videos=1,
            milliseconds=5000,
            traits={"input": "text", "duration": "5", "resolution": "720p", "aspect_ratio": "9:16", "audio": "false"},
        ),
    ),
    Sent("a broken length", job(seconds=7.5), call(duration="7.5")),
    Sent("hd is 1080p", job(hd=True), call(resolution="1080p")),
    Sent("the contract's own fields stay here", job(extra={"private": True, "enable_upsample": False}), call()),
    Sent(
        "a field of the contract that some models know", job(extra={"enhance_prompt": True}), call(enhance_prompt=True)
    ),
    Sent(
        "first frame by link",
        job(images=(PNG_LINK,)),
        call(image_url=PNG_LINK.url),
        Usage(videos=1, traits={"input": "image"}),
    ),
    Sent("first frame by bytes", job(images=(PNG,)), call(image_url=PNG_URI)),
    Sent("several are references", job(images=(PNG, PNG_LINK)), call(image_urls=[PNG_URI, PNG_LINK.url])),
    Sent("components are references", named("veo2-fast-components", images=(PNG,)), call(image_urls=[PNG_URI])),
    Sent(
        "a model's own name for a frame",
        job(extra={"start_image_url": "https://a.test/1.png"}),
        call(start_image_url="https://a.test/1.png"),
        Usage(videos=1, traits={"input": "image"}),
    ),
    Sent(
        "a video", job(videos=(VIDEO_LINK,)), call(video_url=VIDEO_LINK.url), Usage(videos=1, traits={"input": "video"})
    ),
    Sent(
        "a video by a model's own name",
        job(extra={"video_urls": ["https://a.test/1.mp4"]}),
        call(video_urls=["https://a.test/1.mp4"]),
        Usage(videos=1, traits={"input": "video"}),
    ),
    Sent(
        "images",
        job(scope=Scope.IMAGES, count=2, size="1024x768"),
        call(image_size={"width": 1024, "height": 768}, num_images=2),
        Usage(images=2, traits={"input": "text", "size": "1024x768"}),
    ),
    Sent("an image from one", job(scope=Scope.IMAGES, images=(PNG,)), call(image_url=PNG_URI)),
    Sent("an image from two", job(scope=Scope.IMAGES, images=(PNG, PNG)), call(image_urls=[PNG_URI, PNG_URI])),
    Sent(
        "speech",
        job("Hello.", Scope.AUDIO, extra={"voice": "Rachel"}),
        Call("POST", f"/{MODEL}", json={"prompt": "Hello.", "text": "Hello.", "voice": "Rachel"}),
        Usage(characters=6, traits={"input": "text"}),
    ),
)

REFUSED = (
    Refused("two videos", job(count=2), "n"),
    Refused("a video of a size", job(size="1280x720"), "size"),
    Refused("a last frame", named("veo3-pro-frames", images=(PNG, PNG)), "images"),
    Refused("two videos in", job(videos=(VIDEO_LINK, VIDEO_LINK)), "videos"),
    Refused("pictures twice", job(images=(PNG,), extra={"image_urls": []}), "image_urls"),
    Refused("a video twice", job(videos=(VIDEO_LINK,), extra={"video_url": "https://a.test"}), "video_url"),
    Refused("results in its own word", job(scope=Scope.IMAGES, extra={"num_images": 4}), "num_images"),
    Refused("a length in frames", job(extra={"num_frames": 400}), "num_frames"),
    Refused("another text than what is counted", job(scope=Scope.AUDIO, extra={"text": "much longer"}), "text"),
    Refused("sound from pictures", job(scope=Scope.AUDIO, images=(PNG,)), "images"),
    Refused("two sounds", job(scope=Scope.AUDIO, count=2), "n"),
    Refused("an image of a length", job(scope=Scope.IMAGES, seconds=5.0), "duration"),
    Refused("a character", job(character_url="https://a.test", character_timestamps="1,3"), "character_url"),
)

SUBMITTED = (
    Submitted("accepted", job(), reply(ACCEPTED), Running(Status.QUEUED, ID, memo=MEMO)),
    Submitted(
        "accepted, links missing",
        job(count=1),
        reply({"request_id": ID}),
        Running(Status.QUEUED, ID, memo={"count": 1, "state": "queued"}),
    ),
    Submitted("no id", job(), reply(LINKS), Fault("upstream_bad_response")),
    Submitted("invalid", job(), reply(INVALID, 422), Failed("duration: Must be 5 or 10.", "value_error")),
    Submitted(
        "no such model",
        job(),
        reply({"detail": "Application 'x' not found"}, 404),
        Failed("Application 'x' not found", "upstream_refused"),
    ),
    Submitted(
        "no balance",
        job(),
        reply({"detail": "User is locked. Reason: Exhausted balance."}, 403),
        Fault("upstream_error"),
    ),
    Submitted("no key", job(), reply({"detail": "Authentication is required."}, 401), Fault("upstream_error")),
)

STATUS = (
    Polled(
        "waits", TASK, reply({"status": "IN_QUEUE", "queue_position": 0}, 202), Running(Status.QUEUED, ID, memo=MEMO)
    ),
    Polled(
        "works",
        TASK,
        reply({"status": "IN_PROGRESS", "logs": None}, 202),
        Running(Status.IN_PROGRESS, ID, memo=WORKING),
    ),
    Polled("complete", TASK, reply({"status": "COMPLETED", "metrics": {"inference_time": 3.2}}), FETCHABLE),
    Polled(
        "complete, with an error",
        TASK,
        reply({"status": "COMPLETED", "error": "Request timed out", "error_type": "request_timeout"}),
        Failed("Request timed out", "request_timeout"),
    ),
    Polled(
        "complete, with an error of another form",
        TASK,
        reply({"status": "COMPLETED", "error": {"a": 1}}),
        Failed("The upstream gave no reason.", "upstream_failed"),
    ),
    Polled(
        "gone",
        TASK,
        reply({"detail": "Not found"}, 404),
        Failed("The upstream doesn't have the request any more.", "not_found"),
    ),
    Polled("a new status", TASK, reply({"status": "PAUSED"}), Fault("upstream_bad_response")),
)

RESULTS = (
    Polled(
        "a video", COMPLETED, reply({"video": FILE}), Done((Output("video/mp4", url=f"{URL}.mp4"),), Measured(videos=1))
    ),
    Polled(
        "a video that says its length",
        COMPLETED,
        reply({"video": {**FILE, "duration": 5.04, "fps": 24}}),
        Done((Output("video/mp4", url=f"{URL}.mp4"),), Measured(videos=1, milliseconds=5040, traits={"duration": "6"})),
    ),
    Polled(
        "a video of another type",
        COMPLETED,
        reply({"video": {"url": URL, "content_type": "video/webm"}}),
        Done((Output("video/webm", url=URL),), Measured(videos=1)),
    ),
    Polled(
        "a type that isn't one",
        COMPLETED,
        reply({"video": {"url": URL, "content_type": "application/octet-stream"}}),
        Done((Output("video/mp4", url=URL),), Measured(videos=1)),
    ),
    Polled(
        "images",
        PICTURES,
        reply({"images": [image(f"{URL}.jpg"), image(PNG_URI, content_type="image/png")], "seed": 7}),
        Done((Output("image/jpeg", url=f"{URL}.jpg"), Output("image/png", data=PNG_BYTES)), Measured(images=2)),
    ),
    Polled(
        "more images than were asked for are not charged",
        PICTURES,
        reply({"images": [image(f"{URL}.jpg")] * 3}),
        Done((Output("image/jpeg", url=f"{URL}.jpg"),) * 3, Measured(images=2)),
    ),
    Polled(
        "one image", PICTURES, reply({"image": image(URL)}), Done((Output("image/jpeg", url=URL),), Measured(images=1))
    ),
    Polled(
        "speech",
        SOUND,
        reply({"audio": {"url": f"{URL}.mp3", "content_type": "audio/mpeg"}, "duration_ms": 1500}),
        Done((Output("audio/mpeg", url=f"{URL}.mp3"),), Measured(milliseconds=1500, traits={"duration": "2"})),
    ),
    Polled(
        "music", SOUND, reply({"audio_file": {"url": f"{URL}.wav"}}), Done((Output("audio/wav", url=f"{URL}.wav"),))
    ),
    Polled(
        "nothing of that kind",
        COMPLETED,
        reply({"images": [image(URL)]}),
        Failed("The model's answer holds no result of the kind that was asked for.", "no_result"),
    ),
    Polled("invalid", COMPLETED, reply(INVALID, 422), Failed("duration: Must be 5 or 10.", "value_error")),
    Polled(
        "the model broke",
        COMPLETED,
        reply({"detail": [{"msg": "Boom.", "type": "internal_server_error"}]}, 500),
        Failed("Boom.", "internal_server_error"),
    ),
    Polled("the runner broke", COMPLETED, reply(TIMED_OUT, 504), Failed("Request timed out", "request_timeout")),
    Polled(
        "an error told by its header",
        COMPLETED,
        reply({"detail": "Gone."}, 503, x_fal_error_type="runner_disconnected"),
        Failed("Gone.", "upstream_error"),
    ),
    Polled("run out", COMPLETED, reply({"detail": "Not found"}, 404), Failed("Not found", "upstream_refused")),
    Polled("a gateway's page", COMPLETED, reply(b"<html>nginx</html>", 502), Fault("upstream_error")),
    Polled("too many requests", COMPLETED, reply({"detail": "Slow down."}, 429), Fault("upstream_error")),
)

CASES = (
    *SENT,
    *REFUSED,
    *SUBMITTED,
    *STATUS,
    *RESULTS,
    Polls("by its link", TASK, Call("GET", LINKS["status_url"])),
    Polls("once complete, the result", COMPLETED, Call("GET", BASE)),
    Polls("without links, by the path", handle(ID), Call("GET", f"/upstream-model/requests/{ID}/status")),
    Polls("a link that leads elsewhere", handle(ID, ELSEWHERE), Call("GET", f"/upstream-model/requests/{ID}/status")),
    Cancels("by its link", TASK, Call("PUT", LINKS["cancel_url"])),
    Cancels("without links", handle(ID, {"state": "queued"}), Call("PUT", f"/upstream-model/requests/{ID}/cancel")),
    Cancels("not once it runs", handle(ID, WORKING), None),
    Cancels("not once it is complete", COMPLETED, None),
    Finds("can't be told", job(), None),
    Found("can't be told", job(), reply({}), Fault("upstream_bad_response")),
)
