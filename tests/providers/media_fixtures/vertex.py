"""Vertex AI: Veo by predictLongRunning and fetchPredictOperation (google-genai 3.4, `_GenerateVideos*_vertex`)."""

from __future__ import annotations

from typing import Any

from app.core.media import Attachment, Job, Measured, Status
from app.core.usage import Usage
from app.providers.media import Call, Done, Failed, Output, Running, Site
from tests.providers.media_fixtures import (
    FETCHED,
    PNG,
    Cancels,
    Case,
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

PROVIDERS = ("vertex",)
SITE = Site("https://us-central1-aiplatform.googleapis.com", {"project": "our-project"})

RESOURCE = "projects/our-project/locations/us-central1/publishers/google/models/upstream-model"
NAME = f"{RESOURCE}/operations/0a1b2c3d-4e5f"
IMAGE = {"bytesBase64Encoded": "iVBORw0KGgotZGVtby0=", "mimeType": "image/png"}
MP4 = Attachment(key="inputs/2026-01-01/abc/1.mp4", content_type="video/mp4", data=b"mp4")
TASK = handle(NAME, {"seconds": 8})


def veo(instance: dict[str, Any] | None = None, **parameters: Any) -> Call:
    body = {
        "instances": [{"prompt": "a cat", **(instance or {})}],
        "parameters": {"sampleCount": 1, "durationSeconds": 8, "generateAudio": True, **parameters},
    }
    return Call("POST", f"/v1beta1/{RESOURCE}:predictLongRunning", json=body)


def usage(seconds: int = 8, count: int = 1, **traits: str) -> Usage:
    return Usage(
        videos=count,
        milliseconds=seconds * count * 1000,
        traits={
            "resolution": "720p",
            "duration": str(seconds),
            "aspect_ratio": "16:9",
            "input": "text",
            "audio": "true",
            **traits,
        },
    )


def named(model: str, *images: Attachment, **fields: Any) -> Job:
    """By what the client calls the model, which tells what its images are."""
    return Job(scope=job().scope, model=model, prompt="a cat", images=images, **fields)


def done(**response: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"
    return {"name": NAME, "done": True, "response": {"@type": kind, **response}}


REFERENCES = [{"image": IMAGE, "referenceType": "ASSET"}] * 3

CASES: tuple[Case, ...] = (
    Sent("text", job(), veo(), usage()),
    Sent(
        "all that can be wished for",
        job(
            seconds=6,
            aspect_ratio="9:16",
            resolution="1080p",
            count=3,
            extra={
                "enhance_prompt": True,
                "generate_audio": False,
                "negative_prompt": "dogs",
                "person_generation": "allow_adult",
                "seed": 7,
                "watermark": True,
                "unknown": "left out",
            },
        ),
        veo(
            sampleCount=3,
            durationSeconds=6,
            aspectRatio="9:16",
            resolution="1080p",
            enhancePrompt=True,
            generateAudio=False,
            negativePrompt="dogs",
            personGeneration="allow_adult",
            seed=7,
        ),
        usage(6, 3, aspect_ratio="9:16", resolution="1080p", audio="false"),
    ),
    Sent("upsampled", job(extra={"enable_upsample": True}), veo(resolution="1080p"), usage(resolution="1080p")),
    Sent("a first frame", job(images=(PNG,)), veo({"image": IMAGE}), usage(input="image")),
    Sent(
        "first and last frame",
        named("veo3-pro-frames", PNG, FETCHED),
        veo({"image": IMAGE, "lastFrame": IMAGE}),
        usage(input="image"),
    ),
    Sent("a model that adapts", named("veo3.1", PNG, PNG), veo({"image": IMAGE, "lastFrame": IMAGE})),
    Sent("and to references", named("veo3.1", PNG, PNG, PNG), veo({"referenceImages": REFERENCES})),
    Sent("components", named("veo2-fast-components", PNG), veo({"referenceImages": REFERENCES[:1]})),
    Sent(
        "a video",
        job(videos=(MP4,)),
        veo({"video": {"bytesBase64Encoded": "bXA0", "mimeType": "video/mp4"}}),
        usage(input="video"),
    ),
    Refused("half a second", job(seconds=7.5), "duration"),
    Refused("a square", job(aspect_ratio="1:1"), "aspect_ratio"),
    Refused("a resolution below", job(resolution="360p"), "resolution"),
    Refused("a size below", job(size="640x360"), "size"),
    Refused("too many", job(count=5), "n"),
    Refused("two videos in", job(videos=(MP4, MP4)), "videos"),
    Refused("image and video", job(videos=(MP4,), images=(PNG,)), "images"),
    Refused("four references", job(images=(PNG,) * 4), "images"),
    Refused("a character", job(character_url="https://client.example/c.mp4"), "character_url"),
    Refused("a seed of words", job(extra={"seed": "seven"}), "seed"),
    Refused("a sound of words", job(extra={"generate_audio": "yes"}), "generate_audio"),
    Refused("a yes that counts", job(extra={"seed": True}), "seed"),
    Submitted("accepted", job(), reply({"name": NAME}), Running(Status.SUBMITTED, NAME, memo={"seconds": 8})),
    Submitted(
        "of another length", job(seconds=4), reply({"name": NAME}), Running(Status.SUBMITTED, NAME, memo={"seconds": 4})
    ),
    Submitted("without a name", job(), reply({}), Fault("upstream_bad_response")),
    Submitted(
        "with a name that leads elsewhere", job(), reply({"name": "../x/operations/1"}), Fault("upstream_bad_response")
    ),
    Submitted(
        "a model that isn't known",
        job(),
        reply({"error": {"code": 404, "message": "Publisher Model was not found.", "status": "NOT_FOUND"}}, 404),
        Fault("upstream_model_not_found"),
    ),
    Polls(
        "by its own name",
        TASK,
        Call("POST", f"/v1beta1/{RESOURCE}:fetchPredictOperation", json={"operationName": NAME}),
    ),
    Polled("at work", TASK, reply({"name": NAME}), Running(Status.IN_PROGRESS, NAME, memo={"seconds": 8})),
    Polled(
        "at work, and says so",
        TASK,
        reply({"name": NAME, "done": False}),
        Running(Status.IN_PROGRESS, NAME, memo={"seconds": 8}),
    ),
    Polled("no operation", TASK, reply({}), Fault("upstream_bad_response")),
    Polled(
        "made",
        TASK,
        reply(done(raiMediaFilteredCount=0, videos=[{"bytesBase64Encoded": "bXA0", "mimeType": "video/mp4"}])),
        Done((Output("video/mp4", data=b"mp4"),), Measured(videos=1, milliseconds=8000)),
    ),
    Polled(
        "made, some withheld",
        TASK,
        reply(
            done(
                raiMediaFilteredCount=1,
                raiMediaFilteredReasons=["Violence."],
                videos=[{"bytesBase64Encoded": "b25l"}, {"bytesBase64Encoded": "dHdv"}],
            )
        ),
        Done(
            (Output("video/mp4", data=b"one"), Output("video/mp4", data=b"two")),
            Measured(videos=2, milliseconds=16000),
        ),
    ),
    Polled(
        "all withheld",
        TASK,
        reply(done(raiMediaFilteredCount=2, raiMediaFilteredReasons=["Violence.", "Violence.", "A child."])),
        Failed("Violence.; A child.", "content_filtered"),
    ),
    Polled(
        "withheld without a reason",
        TASK,
        reply(done(raiMediaFilteredCount=1, videos=[])),
        Failed("The upstream's filters withheld the result.", "content_filtered"),
    ),
    Polled(
        "nothing at all", TASK, reply({"name": NAME, "done": True}), Failed("The upstream finished without a video.")
    ),
    Polled(
        "the request's fault",
        TASK,
        reply({"name": NAME, "done": True, "error": {"code": 3, "message": "The prompt was blocked."}}),
        Failed("The prompt was blocked."),
    ),
    Polled(
        "the operator's fault",
        TASK,
        reply({"name": NAME, "done": True, "error": {"code": 7, "message": "Project 123 lacks permission."}}),
        Failed("The upstream failed (7)."),
    ),
    Cancels("not at all", TASK, None),
    Finds("not at all", job(), None),
    Found("nothing can be told", job(), reply({}), Fault("upstream_bad_response")),
)
