"""The demo's media jobs: each lives by its script, by polls or by time, and counts what was done to it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from app.demo.media.options import MediaOptions

Scope = Literal["images", "videos", "audio"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
Verdict = Literal["done", "failed", "cancelled"]

# The oldest jobs are forgotten beyond this.
MAX_JOBS = 100_000
# The share of its life that a job waits before its work begins.
QUEUED_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asked for: `model` as received, options and all; pixels, seconds, how many results.

    `details` are the fields that a format needs again when it answers. Leave bytes out: jobs are many, and they stay.
    """

    scope: Scope
    model: str
    prompt: str
    width: int
    height: int
    seconds: float = 0.0
    count: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """How far a job is; `progress` in percent, times in Unix seconds and None until known."""

    state: State
    progress: int
    reason: str | None = None
    code: str | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def final(self) -> bool:
        return self.state not in ("queued", "running")


@dataclass(slots=True, eq=False)
class Job:
    """One job and the counts of what was done to it; `born` is of the monotonic clock."""

    id: str
    model: str
    order: Order
    options: MediaOptions
    created_at: float
    born: float
    idempotency_key: str | None
    polls: int = 0
    open_polls: int = 0
    most_open_polls: int = 0
    last_polled_at: float | None = None
    started_at: float | None = None
    downloads: dict[int, int] = field(default_factory=dict)
    final: Look | None = None

    @property
    def count(self) -> int:
        """How many results it has once it is done."""
        return self.order.count if self.options.outputs is None else self.options.outputs

    @property
    def seconds(self) -> float:
        """The length of its results."""
        return self.order.seconds if self.options.made_seconds is None else self.options.made_seconds


class Studio:
    """Makes jobs and moves them on; everything here costs the same however many jobs there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._by_key: dict[str, str] = {}
        self._submissions: dict[str, int] = {}
        self._counts = {"submissions": 0, "accepted": 0, "polls": 0, "most_open_polls": 0, "cancels": 0}

    def note_submission(self, key: str | None) -> None:
        """Counts a submission that arrived, whatever becomes of it; `key` is its idempotency key."""
        self._counts["submissions"] += 1
        if key is not None:
            self._submissions[key] = self._submissions.get(key, 0) + 1

    def make(self, order: Order, options: MediaOptions, *, job_id: str | None = None, key: str | None = None) -> Job:
        """A new job, or with `idempotent=1` the one that this idempotency key made already."""
        known = self._jobs.get(self._by_key.get(key, "")) if key is not None and options.idempotent else None
        if known is not None:
            return known
        job = Job(
            id=job_id or secrets.token_hex(12),
            model=order.model.partition("?")[0],
            order=order,
            options=options,
            created_at=time.time(),
            born=self._clock(),
            idempotency_key=key,
        )
        self._jobs[job.id] = job
        self._counts["accepted"] += 1
        if key is not None:
            self._by_key[key] = job.id
        if len(self._jobs) > MAX_JOBS:
            self._forget(next(iter(self._jobs)))
        return job

    def find(self, job_id: str) -> Job | None:
        """The job of that id."""
        return self._jobs.get(job_id)

    def latest(self, limit: int) -> list[Job]:
        """The last `limit` jobs, the oldest of them first."""
        return list(islice(reversed(self._jobs.values()), max(0, limit)))[::-1]

    @contextmanager
    def polling(self, job: Job) -> Iterator[int]:
        """Counts one poll, and that it is open as long as the block runs; yields its number, counted from 1."""
        job.polls += 1
        job.open_polls += 1
        job.most_open_polls = max(job.most_open_polls, job.open_polls)
        job.last_polled_at = time.time()
        self._counts["polls"] += 1
        self._counts["most_open_polls"] = max(self._counts["most_open_polls"], job.open_polls)
        try:
            yield job.polls
        finally:
            job.open_polls -= 1

    def look(self, job: Job) -> Look:
        """How far the job is by now; a job that was final stays as it was."""
        if job.final is not None:
            return job.final
        share = self._share(job)
        if share >= 1:
            return self.finish(job, "done" if job.options.fail is None else "failed", job.options.fail)
        if share < QUEUED_SHARE:
            return Look("queued", 0)
        if job.started_at is None:
            job.started_at = time.time()
        return Look("running", min(99, int(share * 100)), started_at=job.started_at)

    def finish(self, job: Job, verdict: Verdict, reason: str | None = None) -> Look:
        """Ends a job, unless it has ended; how it ended."""
        if job.final is None:
            now = time.time()
            started = job.started_at or now
            if verdict == "failed":
                code = job.options.fail_code
                job.final = Look("failed", 100, reason or "The demo was told to fail.", code, started, now)
            else:
                job.final = Look(verdict, 100, reason, None, started, now)
            self._counts["cancels"] += verdict == "cancelled"
        return job.final

    def delete(self, job: Job) -> None:
        """Forgets one job; its counts in the totals stay."""
        self._forget(job.id)

    def count_download(self, job: Job, number: int) -> int:
        """Counts a download of the result of that number; how many there have been."""
        job.downloads[number] = job.downloads.get(number, 0) + 1
        return job.downloads[number]

    def clear(self) -> None:
        """Forgets every job and counter."""
        self._jobs.clear()
        self._by_key.clear()
        self._submissions.clear()
        self._counts.update(dict.fromkeys(self._counts, 0))

    def stats(self) -> dict[str, Any]:
        """The counters since the start or the last `clear`: submissions by idempotency key among them."""
        return {**self._counts, "by_key": dict(self._submissions)}

    def _share(self, job: Job) -> float:
        options = job.options
        if options.never:
            return 0.5
        if options.polls is not None:
            # The first poll finds it queued, the last one final, and those between see it move.
            return 1.0 if job.polls >= options.polls else max(0, job.polls - 1) / max(1, options.polls - 1)
        if options.seconds == 0:
            return 1.0
        return (self._clock() - job.born) / options.seconds

    def _forget(self, job_id: str) -> None:
        job = self._jobs.pop(job_id)
        if job.idempotency_key is not None and self._by_key.get(job.idempotency_key) == job_id:
            del self._by_key[job.idempotency_key]


def render_job(job: Job, look: Look) -> dict[str, Any]:
    """A job as JSON for `GET /_demo/jobs`."""
    return {
        "id": job.id,
        "scope": job.order.scope,
        "model": job.order.model,
        "prompt": job.order.prompt,
        "created_at": job.created_at,
        "idempotency_key": job.idempotency_key,
        "polls": job.polls,
        "open_polls": job.open_polls,
        "most_open_polls": job.most_open_polls,
        "last_polled_at": job.last_polled_at,
        "downloads": {str(number): count for number, count in job.downloads.items()},
        "state": look.state,
        "progress": look.progress,
        "reason": look.reason,
    }
