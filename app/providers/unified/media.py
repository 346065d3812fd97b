"""Writes jobs for another platform's unified media API and reads its answers, more liberally than it promises them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage
from app.errors import Kind, UpstreamError, bad_upstream_response
from app.providers.jobs import (
    USUAL_TYPE,
    as_link,
    check_scope,
    read_id,
    read_link,
    requested,
    seconds_text,
    segment,
)
from app.providers.media import (
    Call,
    Character,
    CharacterJob,
    Characters,
    Done,
    Failed,
    Handle,
    Outcome,
    Output,
    Reply,
    Running,
    Site,
    refused,
)
from app.providers.replies import MAX_MESSAGE, read_error, read_json

NO_REASON = "The upstream gave no reason."

_PERCENT = re.compile(r"\s*(\d{1,3})(?:\.\d{1,9})?\s*%?\s*", re.ASCII)


class UnifiedMedia:
    """The media side of a platform with the contract's API.

    Submissions carry an `Idempotency-Key`: this gateway honours it, and a server that doesn't know the header ignores it
    (RFC 9110, 5.1). `idempotent` is False all the same, since nothing says that another platform would honour it. Whether
    a lost submission arrived can't be told: the contract has no list of tasks, and prompts may come twice.
    """

    platform: str = "unified"
    scopes: frozenset[Scope] = frozenset(Scope)
    takes_urls: bool = True
    idempotent: bool = False
    cancels: bool = True
    remixes: bool = False
    """This gateway does; another platform answers 404 or 405, which is not cancelled."""

    def __init__(self) -> None:
        self.characters: Characters | None = UnifiedCharacters(self)

    def root(self, site: Site) -> str:
        """What stands before a path."""
        return ""

    def check(self, job: Job, model: str) -> None:
        """All of a job can be said in the same API; what of it the platform takes, it says itself."""
        check_scope(job, self.scopes, "this upstream")

    def units(self, job: Job, model: str) -> Usage:
        """What the request tells. A length that it doesn't name stays zero: which one a platform then takes isn't known,
        nor does an answer tell, so that a price by the second needs a request that names it. Each piece of speech is paid.
        """
        known = requested(job)
        return replace(known, characters=known.characters * job.count)

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        return Call(
            "POST",
            f"{self.root(site)}/v2/{job.scope.value}/generations",
            json=write_body(job, model),
            headers={"idempotency-key": key},
        )

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        try:
            body = read_json(reply)
        except UpstreamError as error:
            if (failed := refused(error)) is not None:
                return failed
            raise
        if body.get("task_id") is None:
            raise _refusal_within(body, reply.status)
        # How many were asked for bounds how many are charged for.
        memo = {"count": job.count} if job.count > 1 else {}
        return Running(Status.SUBMITTED, read_id(body["task_id"]), memo=memo)

    def poll(self, handle: Handle, site: Site) -> Call:
        return Call("GET", self._task(handle, site))

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        body = read_json(reply)
        status = _read_status(body.get("status"))
        match status:
            case Status.SUCCESS:
                outputs = _read_outputs(body.get("data"), handle.scope)
                return Done(outputs, _measured(handle, len(outputs)))
            case Status.FAILURE:
                reason = body.get("fail_reason")
                said = reason.strip()[:MAX_MESSAGE] if isinstance(reason, str) else ""
                return Failed(said or NO_REASON)
            case _:
                return Running(status, handle.id, _read_progress(body.get("progress")), handle.memo)

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        return Call("DELETE", self._task(handle, site))

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell which tasks it has.")

    def _task(self, handle: Handle, site: Site) -> str:
        return f"{self.root(site)}/v2/{handle.scope.value}/generations/{segment(handle.id)}"


class UnifiedCharacters:
    """Characters of a platform with the contract's API."""

    def __init__(self, media: UnifiedMedia) -> None:
        self._media = media

    def create(self, job: CharacterJob, site: Site) -> Call:
        source = {"from_task": job.from_task} if job.from_task is not None else {"url": job.url}
        path = f"{self._media.root(site)}/sora/v1/characters"
        return Call("POST", path, json={"timestamps": job.timestamps, **source})

    def read_created(self, reply: Reply) -> Character:
        body = read_json(reply)
        if body.get("id") is None:
            raise _refusal_within(body, reply.status)
        id, username = read_id(body["id"]), _text(body, "username")
        if not username:
            raise bad_upstream_response("The upstream's character has no username.")
        return Character(id, username, _text(body, "permalink"), _text(body, "profile_picture_url"))


def write_body(job: Job, model: str) -> dict[str, Any]:
    """A submission's body. The client's own fields go as they came; `notify_hook` never does: the callback is ours."""
    body: dict[str, Any] = {name: value for name, value in job.extra.items() if name != "notify_hook"}
    body |= {"prompt": job.prompt, "model": model}
    if job.seconds is not None:
        body["duration"] = seconds_text(job.seconds)
    for name in ("aspect_ratio", "size", "resolution", "character_url", "character_timestamps"):
        if (value := getattr(job, name)) is not None:
            body[name] = value
    if job.hd:
        body["hd"] = True
    if job.count != 1:
        body["n"] = job.count  # the contract has no field for it; this is OpenAI's
    if job.images:
        body["images"] = [as_link(item) for item in job.images]
    if job.videos:
        body["videos"] = [as_link(item) for item in job.videos]
    return body


def _refusal_within(body: Mapping[str, Any], status: int) -> UpstreamError:
    """Some platforms say no with a 200. Whose fault it is can't be told, so another channel may do."""
    message, code = read_error(body)
    if message is None:
        return bad_upstream_response("The upstream's answer has no id.")
    return UpstreamError(
        Kind.UPSTREAM,
        "upstream_error",
        f"The upstream answered {status} with an error.",
        upstream_status=status,
        upstream_code=code,
    )


def _read_status(value: object) -> Status:
    try:
        return Status(value.strip().upper() if isinstance(value, str) else "")
    except ValueError as error:
        raise bad_upstream_response("The upstream's answer has no status that is known.") from error


def _read_progress(value: object) -> int | None:
    """`45%` → 45; a plain number will do. None for anything else."""
    match = _PERCENT.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    percent = -1 if match is None else int(match[1])
    return percent if 0 <= percent <= 100 else None


def _read_outputs(data: object, scope: Scope) -> tuple[Output, ...]:
    """`{"output", "outputs"}`: either may be missing, and `output` is usually the first of the others."""
    listed: list[object] = []
    if isinstance(data, dict):
        several, single = data.get("outputs"), data.get("output")
        listed = [*(several if isinstance(several, list) else [several])]
        if single not in listed:
            listed.insert(0, single)
    links = (read_link(value, USUAL_TYPE[scope]) for value in listed)
    outputs = tuple(link for link in links if link is not None)
    if not outputs:
        raise bad_upstream_response("The upstream says that it succeeded, and names no result.")
    return outputs


def _measured(handle: Handle, made: int) -> Measured:
    """Fewer pictures than were asked for are charged as fewer. Of anything else the API tells nothing."""
    asked = handle.memo.get("count")
    if handle.scope is not Scope.IMAGES or not isinstance(asked, int):
        return Measured()
    return Measured(images=min(made, asked))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value[:2048] if isinstance(value, str) else ""
