"""The kinds of upstream that make media: channels to the demo's fakes of them, and which of the flows each can do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

OK = "SUCCESS"


@dataclass(frozen=True)
class Upstream:
    """One kind. `path` follows the demo's address; `model` is the upstream's name, to which the script is added.

    `flows`: by name of the flow, OK or the field that the gateway's refusal names.
    """

    provider: str
    path: str
    model: str
    flows: Mapping[str, str]
    scope: str = "videos"
    fields: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def long(self) -> bool:
        """Left to the long runs: every kind has been tried by then with one scope."""
        return self.scope != "videos" and self.provider not in ("openai", "demo")

    def __str__(self) -> str:
        return f"{self.provider}-{self.scope}"

    def api_key(self, demo_url: str) -> str:
        if self.provider != "vertex":
            return "upstream-secret-0123456789"
        return json.dumps(httpx2.get(f"{demo_url}/_demo/google/account").json())


VIDEO_FLOWS = ("text", "two", "image", "video", "storyboard", "cameo")
ALL_BUT_TWO = {**dict.fromkeys(VIDEO_FLOWS, OK), "two": "n", "cameo": "character_url"}
"""Of one video a call, and without characters."""

PICTURES = dict.fromkeys(("text", "two", "image"), OK)

UPSTREAMS = [
    Upstream("demo", "/v1", "demo-video", dict.fromkeys(VIDEO_FLOWS, OK)),
    Upstream("unified", "", "their-video", dict.fromkeys(VIDEO_FLOWS, OK)),
    Upstream("openai_videos", "/v1", "sora-2", {**ALL_BUT_TWO, "video": "videos"}),
    Upstream("gemini", "", "gemini-omni-1.1-flash", ALL_BUT_TWO),
    Upstream(
        "vertex",
        "",
        "veo-3.1-generate-001",
        # Veo makes 4, 6 or 8 seconds: a storyboard of ten can't be told in them.
        {**ALL_BUT_TWO, "two": OK, "storyboard": "duration"},
        options={"project": "demo-project", "location": "us-central1"},
    ),
    Upstream("xai", "/xai/v1", "grok-imagine-video", ALL_BUT_TWO),
    Upstream("ark", "/api/v3", "doubao-seedance-2-0", ALL_BUT_TWO),
    Upstream("fal", "/fal", "fal-ai/some/text-to-video", ALL_BUT_TWO),
    Upstream("demo", "/v1", "demo-image", PICTURES, "images"),
    Upstream("openai", "/v1", "gpt-image-2", PICTURES, "images"),
    Upstream("openai_compatible", "/v1", "flux", PICTURES, "images"),
    Upstream("gemini", "", "gemini-3.1-flash-image", {**PICTURES, "two": "n"}, "images"),
    Upstream("xai", "/xai/v1", "grok-imagine-image", PICTURES, "images"),
    Upstream("fal", "/fal", "fal-ai/flux", PICTURES, "images"),
    Upstream("demo", "/v1", "demo-speech", {"text": OK, "two": OK}, "audio"),
    Upstream(
        "openai",
        "/v1",
        "gpt-4o-mini-tts",
        {"text": OK, "two": "n"},
        "audio",
        {"voice": "alloy", "response_format": "wav"},
    ),
    Upstream("fal", "/fal", "fal-ai/some/speech", {"text": OK, "two": "n"}, "audio"),
]
