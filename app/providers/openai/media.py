"""OpenAI's images and speech as tasks: one call that answers with the result itself."""

from __future__ import annotations

from app.core.media import Job, Scope
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.providers.jobs import check_scope
from app.providers.media import Call, Characters, Handle, Outcome, Reply, Running, Site, refused
from app.providers.openai import images, speech


class OpenAIMedia:
    """The media side of servers with `/images/generations`, `/images/edits` and `/audio/speech`.

    `exact`: what OpenAI's reference says of sizes, counts and lengths is checked before money moves. Other servers have
    bounds of their own, and say so themselves. `idempotent`: openai-python sends no idempotency key to these endpoints
    (`_base_client.py`: the header has no name), and nothing documents one.
    """

    scopes: frozenset[Scope] = frozenset({Scope.IMAGES, Scope.AUDIO})
    takes_urls: bool = False
    idempotent: bool = False
    cancels: bool = False
    remixes: bool = False
    characters: Characters | None = None

    def __init__(self, platform: str, *, exact: bool = True) -> None:
        self.platform: str = platform
        self._exact = exact

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "this upstream")
        (speech if job.scope is Scope.AUDIO else images).check(job, exact=self._exact)

    def units(self, job: Job, model: str) -> Usage:
        return speech.units(job) if job.scope is Scope.AUDIO else images.units(job, exact=self._exact)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        return speech.write(job, model) if job.scope is Scope.AUDIO else images.write(job, model)

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        """Done at once, or failed."""
        try:
            return speech.read(job, reply) if job.scope is Scope.AUDIO else images.read(job, reply)
        except UpstreamError as error:
            if (failed := refused(error)) is not None:
                return failed
            raise

    def poll(self, handle: Handle, site: Site) -> Call:
        raise ValueError("a call that answers with the result is never polled")

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        raise bad_upstream_response("This upstream has no tasks.")

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return None

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream has no tasks.")
