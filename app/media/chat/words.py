"""What the answer says while a video is made, and when it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.core.media import Status
from app.errors import Blame, GatewayError, Kind
from app.media.task import Task

STEP = 5
"""Percent by which progress has to grow to be worth a line."""

_CLIENTS = re.compile(
    r"invalid|unsupported|moderat|policy|safety|sensitive|blocked|violat|filter|prohibited|nsfw|too_large|media_unreachable|refused\Z|rejected",
    re.IGNORECASE,
)
"""Codes of failures that another try of the same request wouldn't mend: those of ours, and the words that vendors use. What
isn't known counts as the upstream's trouble."""

_KINDS = {"task_timeout": Kind.TIMEOUT, "task_cancelled": Kind.CONFLICT}


class Teller:
    """Turns a task's states into lines; says nothing twice."""

    def __init__(self) -> None:
        self._said: Status | None = None
        self._percent = 0

    def tell(self, task: Task) -> str:
        """What is new, as whole lines; empty if nothing is."""
        lines = [] if self._said else [f"📝 任务已提交：{task.id}"]
        if task.status is Status.IN_PROGRESS:
            grown = task.progress >= self._percent + STEP
            if grown or self._said is not Status.IN_PROGRESS:
                lines.append(f"🎬 生成中 {task.progress}%")
                self._percent = task.progress
            self._said = Status.IN_PROGRESS
        elif not task.status.final:
            if self._said is None:
                lines.append("⏳ 排队中…")
            self._said = Status.QUEUED
        return "".join(f"{line}\n\n" for line in lines)


def tell_success(urls: Sequence[str]) -> str:
    """The contract's line, once for each result."""
    return "\n\n".join(f"✅ 视频生成成功，[点击这里]({_in_markdown(url)}) 查看视频~~~" for url in urls)


def failure_of(task: Task) -> GatewayError:
    """Why a task failed, as a client of the chat is told: 400 where the request is at fault, else 502 or 504."""
    code = task.fail_code or "upstream_failed"
    kind = _KINDS.get(code) or (Kind.INVALID if _CLIENTS.search(code) else Kind.UPSTREAM)
    blame = Blame.CLIENT if kind is Kind.INVALID else Blame.CHANNEL
    return GatewayError(kind, code, task.fail_reason or "The video couldn't be made.", blame=blame)


def _in_markdown(url: str) -> str:
    """A bracket or a blank would end the link."""
    return url.replace("(", "%28").replace(")", "%29").replace(" ", "%20")
