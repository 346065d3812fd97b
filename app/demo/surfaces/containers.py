"""OpenAI's `/v1/containers` and their files (openai-python 3.54.0, `types/container*.py`, `types/containers/`)."""

from dataclasses import dataclass, field
from typing import Any

from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, check_key, refuse
from app.demo.routes import Route
from app.demo.shapes import ListOf, Number, Open, Record, Text
from app.demo.surfaces.clerk import Clerk, Shelf, missing, new_id, now, write_deleted, write_page
from app.demo.surfaces.files import Files, send_spool
from app.demo.surfaces.forms import Form
from app.demo.surfaces.intake import Asked, Intake, below_bases
from app.demo.surfaces.spool import Spool

FOLDER = "/mnt/data/"
EXPIRES = Record(needs={"anchor": Text(("last_active_at",)), "minutes": Number(1, 20)})
CREATE = Record(
    needs={"name": Text()},
    may={
        "expires_after": EXPIRES,
        "file_ids": ListOf(Text()),
        "memory_limit": Text(("1g", "4g", "16g", "64g")),
        "network_policy": Open(),
    },
    nulls=True,
    open=True,
)
ADD = Record(needs={"file_id": Text()}, open=True)


@dataclass(frozen=True, slots=True)
class Held:
    """A file inside of a container."""

    id: str
    container_id: str
    name: str
    source: str
    created_at: int
    spool: Spool

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id,
            "object": "container.file",
            "created_at": self.created_at,
            "bytes": self.spool.size,
            "container_id": self.container_id,
            "path": FOLDER + self.name,
            "source": self.source,
        }


@dataclass(slots=True)
class Container:
    """One container and its files by id, the oldest first."""

    id: str
    fields: dict[str, Any]
    created_at: int
    files: dict[str, Held] = field(default_factory=dict)

    def add(self, name: str, spool: Spool) -> Held:
        """Puts a file in."""
        held = Held(new_id("cfile_"), self.id, name, "user", now(), spool)
        self.files[held.id] = held
        return held

    def get(self, file_id: str) -> Held:
        """Raises Refusal 404."""
        if file_id not in self.files:
            raise missing("ContainerFile", file_id)
        return self.files[file_id]

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id,
            "object": "container",
            "created_at": self.created_at,
            "status": "running",
            "expires_after": self.fields.get("expires_after", {"anchor": "last_active_at", "minutes": 20}),
            "last_active_at": now(),
            "memory_limit": self.fields.get("memory_limit", "1g"),
            "network_policy": self.fields.get("network_policy", {"type": "disabled"}),
            "name": self.fields["name"],
        }


class Containers:
    """Keeps containers, in which nothing ever runs."""

    def __init__(self, intake: Intake, files: Files) -> None:
        self._clerk = Clerk(intake, "containers")
        self._shelf: Shelf[Container] = Shelf("Container")
        self._files = files

    def routes(self) -> list[Route]:
        """Those of every base."""
        one = "/containers/{container_id}"
        return below_bases(
            [
                ("POST", "/containers", self.create),
                ("GET", "/containers", self.list),
                ("GET", one, self.retrieve),
                ("DELETE", one, self.delete),
                ("POST", f"{one}/files", self.add_file),
                ("GET", f"{one}/files", self.list_files),
                ("GET", f"{one}/files/{{file_id}}", self.retrieve_file),
                ("DELETE", f"{one}/files/{{file_id}}", self.delete_file),
                ("GET", f"{one}/files/{{file_id}}/content", self.download),
            ]
        )

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/containers`."""

        def make(asked: Asked) -> Any:
            container = Container(new_id("cntr_"), asked.fields, now())
            for file_id in asked.fields.get("file_ids", ()):
                self._copy(container, file_id, asked)
            self._shelf.put(container.id, asked.credential, container)
            return container.render()

        await self._clerk.serve(exchange, make, CREATE)

    async def list(self, exchange: Exchange) -> None:
        """`GET /v1/containers`: `limit`, `after`, `order`, `name`."""

        def make(asked: Asked) -> Any:
            name = exchange.query().get("name")
            kept = self._shelf.all(asked.credential)
            return write_page(exchange, [each.render() for each in kept if name in (None, each.fields["name"])])

        await self._clerk.serve(exchange, make)

    async def retrieve(self, exchange: Exchange, container_id: str) -> None:
        """`GET /v1/containers/{id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(container_id, asked).render())

    async def delete(self, exchange: Exchange, container_id: str) -> None:
        """`DELETE /v1/containers/{id}`."""

        def make(asked: Asked) -> Any:
            self._shelf.remove(container_id, asked.credential)
            return write_deleted(container_id, "container.deleted")

        await self._clerk.serve(exchange, make)

    async def add_file(self, exchange: Exchange, container_id: str) -> None:
        """`POST /v1/containers/{id}/files`: a form with `file`, or JSON with the `file_id` of a file."""

        def copy(asked: Asked) -> Any:
            return self._copy(self._get(container_id, asked), asked.fields["file_id"], asked).render()

        def take(asked: Asked, form: Form) -> Any:
            upload = form.file("file")
            return self._get(container_id, asked).add(upload.filename or "upload", upload.spool).render()

        if exchange.header(b"content-type").startswith("multipart/"):
            await self._clerk.serve_form(exchange, take)
        else:
            await self._clerk.serve(exchange, copy, ADD)

    async def list_files(self, exchange: Exchange, container_id: str) -> None:
        """`GET /v1/containers/{id}/files`."""

        def make(asked: Asked) -> Any:
            held = self._get(container_id, asked).files.values()
            return write_page(exchange, [each.render() for each in held])

        await self._clerk.serve(exchange, make)

    async def retrieve_file(self, exchange: Exchange, container_id: str, file_id: str) -> None:
        """`GET /v1/containers/{id}/files/{file_id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(container_id, asked).get(file_id).render())

    async def delete_file(self, exchange: Exchange, container_id: str, file_id: str) -> None:
        """`DELETE /v1/containers/{id}/files/{file_id}`."""

        def make(asked: Asked) -> Any:
            container = self._get(container_id, asked)
            del container.files[container.get(file_id).id]
            return write_deleted(file_id, "container.file.deleted")

        await self._clerk.serve(exchange, make)

    async def download(self, exchange: Exchange, container_id: str, file_id: str) -> None:
        """`GET /v1/containers/{id}/files/{file_id}/content`."""
        await exchange.read_body()
        try:
            credential, _ = check_key(exchange.headers)
            held = self._shelf.get(container_id, credential).get(file_id)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        await send_spool(exchange, held.spool, held.name)

    def _get(self, container_id: str, asked: Asked) -> Container:
        return self._shelf.get(container_id, asked.credential)

    def _copy(self, container: Container, file_id: str, asked: Asked) -> Held:
        file = self._files.shelf.get(file_id, asked.credential)
        return container.add(file.filename, file.spool)
