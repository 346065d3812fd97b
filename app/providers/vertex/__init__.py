"""Google's Vertex AI: Veo, by a service account.

The channel's key is the JSON file of a service account's key, its base URL `https://LOCATION-aiplatform.googleapis.com`, or
`https://aiplatform.googleapis.com` for the global location. Its options name the `project`, and the `location` where the
base URL doesn't. Results come inline: no bucket is named, since its files would be on another host.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from app.core.media import Job, Scope, Status
from app.core.usage import Usage
from app.errors import Kind, UpstreamError, bad_upstream_response
from app.providers.base import NO_PATHS, Provider
from app.providers.gemini.answers import read_accepted, read_answer
from app.providers.jobs import check_scope
from app.providers.media import Call, Characters, Handle, Outcome, Reply, Running, Site
from app.providers.vertex import veo
from app.providers.vertex.account import ServiceAccount

_OPERATION = re.compile(
    r"projects/[A-Za-z0-9][A-Za-z0-9:._-]{0,99}/locations/[a-z0-9-]{1,60}/publishers/google"
    r"/models/[A-Za-z0-9][A-Za-z0-9._@-]{0,99}/operations/[A-Za-z0-9_-]{1,200}"
)
"""`name` of an operation, which stands in the path of its polls: `projects/…/publishers/google/models/…/operations/…`."""


class VertexMedia:
    """See `app.providers.media.Media`."""

    platform = "google"
    scopes = frozenset({Scope.VIDEOS})
    takes_urls = False
    idempotent = False
    # Operations of Veo offer no way to be stopped.
    cancels = False
    remixes = False
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "Veo")
        veo.check(job, model)

    def units(self, job: Job, model: str) -> Usage:
        return veo.units(job, model)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        """Raises UpstreamError for a channel that doesn't say of which project and location it is."""
        return veo.submit(job, model, _place(site))

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        memo = {"seconds": veo.length(job)}
        return read_accepted(reply, lambda body: Running(Status.SUBMITTED, _read_name(body.get("name")), memo=memo))

    def poll(self, handle: Handle, site: Site) -> Call:
        """At the place of the operation itself: the channel's options may have changed since."""
        name = _read_name(handle.id)
        resource = name.rpartition("/operations/")[0]
        return Call("POST", f"/v1beta1/{resource}:fetchPredictOperation", json={"operationName": name})

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        """An operation says no more than whether it is done."""
        body = read_answer(reply)
        if body.get("done") is True:
            return veo.read_operation(body, handle.memo)
        if "name" not in body or body.get("done"):
            raise bad_upstream_response("The upstream's answer isn't an operation.")
        return Running(Status.IN_PROGRESS, handle.id, memo=handle.memo)

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return None

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell whether a task arrived.")


def _read_name(value: object) -> str:
    if not isinstance(value, str) or not _OPERATION.fullmatch(value):
        raise bad_upstream_response("The upstream's operation has no usable name.")
    return value


def _place(site: Site) -> str:
    project, location = site.options.get("project"), site.options.get("location") or _location_of(site.base_url)
    if not isinstance(project, str) or not project or not isinstance(location, str):
        message = "The channel's options name no project, or no location."
        raise UpstreamError(Kind.UPSTREAM, "upstream_error", message)
    return f"projects/{quote(project, safe=':')}/locations/{quote(location, safe='')}"


def _location_of(base_url: str) -> str | None:
    """`us-central1` for `https://us-central1-aiplatform.googleapis.com`; None for a host that doesn't tell."""
    host = urlsplit(base_url).hostname or ""
    if host == "aiplatform.googleapis.com":
        return "global"
    return host.removesuffix("-aiplatform.googleapis.com") if host.endswith("-aiplatform.googleapis.com") else None


PROVIDERS = (Provider("vertex", None, NO_PATHS, media=VertexMedia(), token=ServiceAccount()),)
