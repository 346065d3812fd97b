"""xAI's media side: which of its two APIs does a job.

Videos are deferred requests that are polled; images are answered at once. Neither API documents an idempotency key, a list
of requests or a way to cancel one, so none is used: https://docs.x.ai/developers/rest-api-reference/inference.
"""

from __future__ import annotations

from app.core.media import Job, Scope
from app.core.usage import Usage
from app.errors import bad_upstream_response
from app.providers.jobs import check_scope
from app.providers.media import Call, Characters, Handle, Outcome, Reply, Running, Site
from app.providers.xai import images, videos


class XaiMedia:
    """See `app.providers.media.Media`."""

    platform: str = "xai"
    scopes: frozenset[Scope] = frozenset({Scope.VIDEOS, Scope.IMAGES})
    takes_urls: bool = True
    idempotent: bool = False
    cancels: bool = False
    remixes: bool = False
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "xAI")
        if job.scope is Scope.VIDEOS:
            videos.check(job)
        else:
            images.check(job)

    def units(self, job: Job, model: str) -> Usage:
        return videos.units(job) if job.scope is Scope.VIDEOS else images.units(job)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        return videos.submit(job, model) if job.scope is Scope.VIDEOS else images.submit(job, model)

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        return videos.read_submitted(reply) if job.scope is Scope.VIDEOS else images.read_submitted(reply)

    def poll(self, handle: Handle, site: Site) -> Call:
        return videos.poll(handle)

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        return videos.read_polled(handle, reply)

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return None

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell which tasks it has.")
