"""Being written."""

from app.demo.media.desk import Desk
from app.demo.routes import Route


class OpenAIVideos:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        return []
