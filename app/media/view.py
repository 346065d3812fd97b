"""A task as clients see it: the body of a query, and of the callback when it is final."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.core.media import Status
from app.media.links import Links
from app.media.task import Task


class View:
    """Writes tasks; results in our storage appear under signed links."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def write(self, task: Task) -> dict[str, Any]:
        """The contract's shape of a query. Times are Unix seconds, 0 until known; `progress` is text such as `45%`."""
        return {
            "task_id": task.id,
            "platform": task.platform,
            "action": f"{task.platform}-{task.scope.value}",
            "status": task.status.value,
            "fail_reason": task.fail_reason,
            "submit_time": _seconds(task.created_at),
            "start_time": _seconds(task.started_at),
            "finish_time": _seconds(task.finished_at),
            "progress": f"{task.progress}%",
            "data": self._data(task),
            "search_item": "",
        }

    def output_urls(self, task: Task) -> list[str]:
        """Where the results are; empty unless it has succeeded."""
        return [self._url(task, index) for index in range(len(task.outputs))]

    def _data(self, task: Task) -> dict[str, Any] | None:
        if task.status is not Status.SUCCESS:
            return None
        urls = self.output_urls(task)
        return {"output": urls[0], "outputs": urls} if urls else None

    def _url(self, task: Task, index: int) -> str:
        output = task.outputs[index]
        if output.key is None:
            assert output.url is not None
            return output.url
        return self._links.sign(output.key, task.finished_at or task.created_at)


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())
