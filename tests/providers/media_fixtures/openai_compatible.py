"""Servers with OpenAI's paths and bounds of their own: what OpenAI would refuse goes on to them."""

from __future__ import annotations

from app.core.media import Scope
from app.core.usage import Usage
from app.providers.media import Call, Part, Site
from tests.providers.media_fixtures import PNG, PNG_BYTES, Case, Refused, Sent, Submitted, job, openai

PROVIDERS = ("openai_compatible",)
SITE = Site("http://10.0.0.5:8080/v1")

CASES: tuple[Case, ...] = (
    Sent(
        "a size of its own; no tokens are held",
        job(scope=Scope.IMAGES, size="1080x1920", count=12),
        Call(
            "POST",
            "/images/generations",
            json={"prompt": "a cat", "model": "upstream-model", "size": "1080x1920", "n": 12},
            timeout=300.0,
        ),
        Usage(images=12, traits={"size": "1080x1920", "input": "text"}),
    ),
    Sent(
        "an edit",
        job(scope=Scope.IMAGES, images=(PNG,), extra={"strength": 0.5}),
        Call(
            "POST",
            "/images/edits",
            form=(
                Part("strength", "0.5"),
                Part("prompt", "a cat"),
                Part("model", "upstream-model"),
                Part("image", PNG_BYTES, "image-1.png", "image/png"),
            ),
            timeout=300.0,
        ),
        Usage(images=1, traits={"input": "image"}),
    ),
    Sent(
        "speech without a voice, in a format of its own",
        job("a" * 5000, Scope.AUDIO, extra={"response_format": "ogg"}),
        Call(
            "POST",
            "/audio/speech",
            json={"response_format": "ogg", "input": "a" * 5000, "model": "upstream-model"},
            timeout=300.0,
        ),
        Usage(characters=5000, traits={"input": "text"}),
    ),
    Refused("a shape that it may not have", job(scope=Scope.IMAGES, aspect_ratio="21:9"), "aspect_ratio"),
    Refused("hd", job(scope=Scope.IMAGES, hd=True), "hd"),
    *(case for case in openai.CASES if isinstance(case, Submitted)),
)
