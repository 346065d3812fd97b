"""A media task as the rest of the gateway sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.core.media import Job, Scope, Status


class Source(StrEnum):
    """Which of our APIs a task came by."""

    V2 = "v2"
    VIDEOS = "videos"
    CHAT = "chat"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One result: in our storage under `key`, or at an upstream's own public `url`."""

    content_type: str
    key: str | None = None
    url: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What an account may know of its task. `model` is the catalogue's name, `job.model` the client's.

    `progress` is percent. `fail_reason` is empty unless it failed. `cancelled`: a client has asked to stop it.
    """

    account_id: int
    id: str
    key_id: int
    source: Source
    scope: Scope
    platform: str
    model: str
    job: Job
    units: dict[str, Any]
    status: Status
    progress: int
    fail_reason: str
    fail_code: str | None
    outputs: tuple[StoredOutput, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime
    cancelled: bool
    channel_id: int | None
    upstream_id: str | None
