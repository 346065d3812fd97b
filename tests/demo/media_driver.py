"""Drives an adapter of media against the demo over HTTP: makes the calls that it describes, and polls until the end."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import httpx2 as httpx

from app.core.media import Job
from app.providers import discover
from app.providers.base import Provider
from app.providers.media import Call, Handle, Media, Outcome, Output, Reply, Running, Site

PROVIDERS = discover()
MOST_POLLS = 20


@dataclass(frozen=True, slots=True)
class Driver:
    """A channel of one provider whose base URL is a path of the demo's."""

    client: httpx.AsyncClient
    provider: Provider
    site: Site
    secret: str = "sk-test"

    @property
    def media(self) -> Media:
        assert self.provider.media is not None
        return self.provider.media

    async def call(self, call: Call) -> Reply:
        """The answer, with the channel's credentials sent."""
        assert call.form is None, "no adapter here sends forms"
        url = call.path if call.path.startswith("http") else self.site.base_url + call.path
        assert url.startswith(self.site.base_url), "the key would go elsewhere"
        headers = {**self.provider.sign(self.secret), **call.headers}
        answer = await self.client.request(call.method, url, json=call.json, headers=headers)
        return Reply(
            answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content
        )

    async def submit(self, job: Job, model: str) -> Outcome:
        """What becomes of a submission."""
        self.media.check(job, model)
        return self.media.read_submitted(job, await self.call(self.media.submit(job, model, "task-key", self.site)))

    async def poll(self, running: Running, job: Job, model: str) -> Outcome:
        """What one poll tells."""
        handle = Handle(running.id, running.memo, job.scope, model)
        return self.media.read_polled(handle, await self.call(self.media.poll(handle, self.site)))

    async def cancel(self, running: Running, job: Job, model: str) -> Reply | None:
        """The answer to cancelling; None: it can't be."""
        call = self.media.cancel(Handle(running.id, running.memo, job.scope, model), self.site)
        return None if call is None else await self.call(call)

    async def run(self, job: Job, model: str) -> list[Outcome]:
        """Every outcome in order; the last one is the verdict."""
        outcomes = [await self.submit(job, model)]
        while isinstance(outcomes[-1], Running):
            assert len(outcomes) <= MOST_POLLS, outcomes
            outcomes.append(await self.poll(outcomes[-1], job, model))
        return outcomes

    async def fetch(self, output: Output) -> bytes:
        """A result's bytes, as anybody gets them."""
        if output.data is not None:
            return output.data
        assert output.url is not None
        answer = await self.client.get(output.url, headers={"authorization": ""})
        assert answer.headers["content-type"] == output.content_type
        return answer.content


def drive(client: httpx.AsyncClient, provider: str, path: str, secret: str = "sk-test") -> Driver:
    """A driver of the provider of that name; `path` is where the demo has its API."""
    base_url = str(client.base_url).rstrip("/") + quote(path)
    return Driver(client, PROVIDERS[provider], Site(base_url), secret)
