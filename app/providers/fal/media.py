"""fal's queue: a request is submitted under the model's path, asked for its status, and fetched once it is complete.

Sources: https://fal.ai/docs/api-reference/inference-api and its openapi/queue.json (`Authorization: Key`, submit, status,
result, cancel; the three links of a submission are to be used as they come); https://fal.ai/docs/inference-api/queue/result
(the result is the model's own answer, errors included; kept for an hour, large ones for 6 minutes);
https://fal.ai/docs/documentation/model-apis/errors and …/request-errors (both shapes of errors);
https://fal.ai/docs/inference-api/queue/cancel; fal-client 1.0.3 (`error` and `error_type` of a completed request, how links
are built from an id).

No idempotency key is documented, nor a list of requests on the queue's host that a lost submission could be found in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from app.core.media import Job, Scope, Status
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.providers.fal import body, results
from app.providers.jobs import check_scope, is_link, read_id, segment
from app.providers.media import Call, Characters, Failed, Handle, Outcome, Reply, Running, Site
from app.providers.replies import MAX_MESSAGE, read_json

NAMESPACES = frozenset({"workflows", "comfy"})
"""What may stand before owner and app (fal-client, `APP_NAMESPACES`)."""

_LINKS = ("status_url", "response_url", "cancel_url")


class FalMedia:
    """See `app.providers.media.Media`.

    The memo holds the links that the submission gave, how many results were asked for, and `state`: `queued` as long as it
    can be cancelled, and `completed` once the status said so: from then on `poll` fetches the result.
    """

    platform: str = "fal"
    scopes: frozenset[Scope] = frozenset(Scope)
    takes_urls: bool = True
    idempotent: bool = False
    cancels: bool = True
    remixes: bool = False
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "fal")
        body.check(job, model)

    def units(self, job: Job, model: str) -> Usage:
        return body.units(job)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        return Call("POST", f"/{_path(model)}", json=body.write_body(job, model))

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        try:
            said = read_json(reply)
        except UpstreamError as error:
            if error.retryable:
                raise
            return results.read_failure(reply)
        links = {name: said[name] for name in _LINKS if isinstance(said.get(name), str) and is_link(said[name])}
        return Running(
            Status.QUEUED, read_id(said.get("request_id")), memo={**links, "count": job.count, "state": "queued"}
        )

    def poll(self, handle: Handle, site: Site) -> Call:
        if handle.memo.get("state") == "completed":
            return Call("GET", _link(handle, site, "response_url", ""))
        return Call("GET", _link(handle, site, "status_url", "/status"))

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        if handle.memo.get("state") == "completed":
            return results.read_result(handle, reply)
        if reply.status == 404:
            # A request that was removed from the queue, or whose result has run out: it is durable as long as it waits.
            return Failed("The upstream doesn't have the request any more.", "not_found")
        said = read_json(reply)
        match said.get("status"):
            case "IN_QUEUE":
                return Running(Status.QUEUED, handle.id, memo={**handle.memo, "state": "queued"})
            case "IN_PROGRESS":
                return Running(Status.IN_PROGRESS, handle.id, memo={**handle.memo, "state": "running"})
            case "COMPLETED" if said.get("error"):
                return Failed(*_read_error(said))
            case "COMPLETED":
                return Running(Status.IN_PROGRESS, handle.id, memo={**handle.memo, "state": "completed"}, poll_after=0)
            case _:
                raise bad_upstream_response("The upstream's answer has no status that is known.")

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        """A request that waits is removed. One in progress would only be told to stop: how, the model decides, and what it
        did until then may be billed.
        """
        if handle.memo.get("state") != "queued":
            return None
        return Call("PUT", _link(handle, site, "cancel_url", "/cancel"))

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell which tasks it has.")


def _path(model: str) -> str:
    return "/".join(quote(part, safe=":@") for part in model.strip("/").split("/"))


def _link(handle: Handle, site: Site, name: str, ending: str) -> str:
    """The link as it came if it leads to the channel's upstream; else (behind a proxy, say) the path that it stands for:
    owner and app, without what follows them in the model's id.
    """
    link = handle.memo.get(name)
    if isinstance(link, str) and is_link(link) and _origin(link) == _origin(site.base_url):
        return link
    parts = _path(handle.model).split("/")
    app = "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])
    return f"/{app}/requests/{segment(handle.id)}{ending}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Raises nothing: what isn't a URL has an origin of its own."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", url, None


def _read_error(said: Mapping[str, Any]) -> tuple[str, str]:
    reason, code = said.get("error"), said.get("error_type")
    return (
        reason[:MAX_MESSAGE] if isinstance(reason, str) else "The upstream gave no reason.",
        code[:MAX_MESSAGE] if isinstance(code, str) and code else "upstream_failed",
    )
