"""An upstream of OpenAI's videos API on loopback whose jobs a test moves on by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

POLL_AFTER_MS = "50"
PATIENCE = 20.0


@dataclass
class Job:
    """What was submitted under a prompt, and how far it is."""

    fields: dict[str, str]
    files: list[bytes]
    video: dict[str, Any]


@dataclass
class Studio:
    """Jobs by their prompts, which a test makes its own."""

    jobs: dict[str, Job] = field(default_factory=dict)
    submissions: list[str] = field(default_factory=list)

    def move(self, prompt: str, status: str, progress: int = 0, **more: Any) -> None:
        """What polls tell from now on."""
        self.jobs[prompt].video |= {"status": status, "progress": progress, **more}

    async def job(self, prompt: str) -> Job:
        """The job of a prompt, once it was submitted."""
        async with asyncio.timeout(PATIENCE):
            while prompt not in self.jobs:
                await asyncio.sleep(0.01)
        return self.jobs[prompt]

    async def submit(self, request: web.Request) -> web.Response:
        fields: dict[str, str] = {}
        files: list[bytes] = []
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files.append(value.file.read())
            elif isinstance(value, str):
                fields[name] = value
        prompt = fields["prompt"]
        self.submissions.append(prompt)
        video = {"id": f"video_{len(self.submissions)}", "object": "video", "status": "queued", "progress": 0}
        self.jobs[prompt] = Job(fields, files, video)
        return self._answer(video)

    async def poll(self, request: web.Request) -> web.Response:
        return self._answer(self._video(request.match_info["id"]))

    async def content(self, request: web.Request) -> web.Response:
        video = self._video(request.match_info["id"])
        assert video["status"] == "completed"
        return web.Response(body=film_of(video["id"]), content_type="video/mp4")

    def _video(self, id: str) -> dict[str, Any]:
        return next(job.video for job in self.jobs.values() if job.video["id"] == id)

    def _answer(self, video: dict[str, Any]) -> web.Response:
        return web.json_response(video, headers={"openai-poll-after-ms": POLL_AFTER_MS})


def film_of(id: str) -> bytes:
    """What is downloaded as a job's video."""
    return b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + id.encode()


@asynccontextmanager
async def open_studio() -> AsyncIterator[tuple[Studio, str]]:
    """The studio, and the base URL for a channel of provider `openai_videos`."""
    studio = Studio()
    application = web.Application(client_max_size=1 << 26)
    application.add_routes(
        [
            web.post("/v1/videos", studio.submit),
            web.get("/v1/videos/{id}", studio.poll),
            web.get("/v1/videos/{id}/content", studio.content),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield studio, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()
