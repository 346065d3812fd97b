"""A task as OpenAI's videos API shows it. Source: openai-python, `types/video.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.core.media import Status
from app.media.task import Task

_STATUS = {
    Status.NOT_START: "queued",
    Status.SUBMITTED: "queued",
    Status.QUEUED: "queued",
    Status.IN_PROGRESS: "in_progress",
    Status.SUCCESS: "completed",
    Status.FAILURE: "failed",
}

_DEFAULT_SECONDS = "4"
_DEFAULT_SIZE = "720x1280"
"""OpenAI's own: said of a video of which neither the client nor the upstream has said more, since the SDKs want a value."""

_SIZE_BY_SHAPE = {
    ("16:9", False): "1280x720",
    ("9:16", False): "720x1280",
    ("16:9", True): "1920x1080",
    ("9:16", True): "1080x1920",
}


def write_video(task: Task, retention: timedelta) -> dict[str, Any]:
    """`retention`: how long stored files are kept. Times are Unix seconds."""
    job = task.job
    finished = task.finished_at
    kept = task.status is Status.SUCCESS and bool(task.outputs) and task.outputs[0].key is not None
    return {
        "id": task.id,
        "object": "video",
        "model": job.model,
        "status": _STATUS[task.status],
        "progress": task.progress,
        "created_at": int(task.created_at.timestamp()),
        "completed_at": None if finished is None else int(finished.timestamp()),
        "expires_at": int((finished + retention).timestamp()) if kept and finished is not None else None,
        "prompt": job.prompt,
        "seconds": _seconds(task),
        "size": _size(task),
        "remixed_from_video_id": job.remixed_from,
        "error": _error(task),
    }


def _seconds(task: Task) -> str:
    """What was asked for, else what the task is paid for."""
    if task.job.seconds is not None:
        return f"{task.job.seconds:g}"
    milliseconds = task.units.get("milliseconds", 0) // task.job.count
    return f"{milliseconds / 1000:g}" if milliseconds else _DEFAULT_SECONDS


def _size(task: Task) -> str:
    traits = task.units.get("traits", {})
    size = task.job.size or traits.get("size")
    if size is None:
        ratio = task.job.aspect_ratio or traits.get("aspect_ratio")
        sharp = (task.job.resolution or traits.get("resolution")) == "1080p"
        size = _SIZE_BY_SHAPE.get((ratio, sharp), _DEFAULT_SIZE)
    return str(size)


def _error(task: Task) -> dict[str, str] | None:
    if task.status is not Status.FAILURE:
        return None
    return {"code": task.fail_code or "upstream_failed", "message": task.fail_reason}
