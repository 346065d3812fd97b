"""What an answer says of a task: progress in steps, links, and whose fault a failure was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.core.media import Job, Scope, Status
from app.media.chat.words import Teller, failure_of, tell_success
from app.media.task import Source, Task

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TASK = Task(
    account_id=1, id="sora_video2:1-abc", key_id=1, source=Source.CHAT, scope=Scope.VIDEOS, platform="demo",
    model="sora_video2",
    job=Job(Scope.VIDEOS, "sora_video2", "a cat"), units={}, status=Status.NOT_START, progress=0, fail_reason="",
    fail_code=None, outputs=(), created_at=NOW, started_at=None, finished_at=None, deadline_at=NOW, cancelled=False,
    channel_id=None, upstream_id=None,
)  # fmt: skip


def tell(*states: tuple[Status, int]) -> list[str]:
    """The lines of a whole run."""
    teller = Teller()
    told = "".join(teller.tell(replace(TASK, status=status, progress=progress)) for status, progress in states)
    assert not told or told.endswith("\n\n")
    return told.split("\n\n")[:-1]


def test_a_run_is_told_in_steps() -> None:
    run = [(Status.NOT_START, 0), (Status.SUBMITTED, 0), (Status.QUEUED, 0)]
    run += [(Status.IN_PROGRESS, percent) for percent in (0, 3, 4, 5, 7, 10, 11, 60)]
    run += [(Status.SUCCESS, 100)]
    assert tell(*run) == [
        "📝 任务已提交：sora_video2:1-abc",
        "⏳ 排队中…",
        "🎬 生成中 0%",
        "🎬 生成中 5%",
        "🎬 生成中 10%",
        "🎬 生成中 60%",
    ]


def test_a_task_that_runs_already_was_never_queued() -> None:
    assert tell((Status.IN_PROGRESS, 45)) == ["📝 任务已提交：sora_video2:1-abc", "🎬 生成中 45%"]
    assert tell((Status.SUCCESS, 100)) == ["📝 任务已提交：sora_video2:1-abc"]


def test_links() -> None:
    assert tell_success(["https://x/1.mp4"]) == "✅ 视频生成成功，[点击这里](https://x/1.mp4) 查看视频~~~"
    lines = tell_success(["https://x/1.mp4", "https://x/a (2).mp4"]).splitlines()
    assert lines == [
        "✅ 视频生成成功，[点击这里](https://x/1.mp4) 查看视频~~~",
        "",
        "✅ 视频生成成功，[点击这里](https://x/a%20%282%29.mp4) 查看视频~~~",
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (None, 502),
        ("upstream_failed", 502),
        ("upstream_error", 502),
        ("upstream_refused_credentials", 502),
        ("internal_error", 502),
        ("channel_removed", 502),
        ("task_timeout", 504),
        ("task_cancelled", 409),
        ("upstream_refused", 400),
        ("invalid_image", 400),
        ("moderation_blocked", 400),
        ("content_filtered", 400),
        ("InputImageSensitiveContentDetected", 400),
    ],
)
def test_whose_fault_a_failure_is(code: str | None, status: int) -> None:
    failed = replace(TASK, status=Status.FAILURE, fail_reason="No cats.", fail_code=code)
    error = failure_of(failed)
    assert (error.status, error.message) == (status, "No cats.")
