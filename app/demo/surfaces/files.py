"""OpenAI's `/v1/files` (openai-python 3.54.0, `types/file_*.py`); any of them may be downloaded, whatever its purpose."""

from dataclasses import dataclass
from typing import Any

from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, check_key, refuse
from app.demo.routes import Route
from app.demo.shapes import Number, Record, Text
from app.demo.surfaces.clerk import Clerk, Shelf, new_id, now, write_deleted, write_page
from app.demo.surfaces.forms import Form
from app.demo.surfaces.intake import Asked, Intake, below_bases, fit
from app.demo.surfaces.spool import Spool

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MOST_LISTED = 10_000
PIECE = 64 << 10
HOUR, MONTH = 3_600, 2_592_000
EXPIRES = Record(needs={"anchor": Text(("created_at",)), "seconds": Number(HOUR, MONTH)})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file and its bytes."""

    id: str
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None
    spool: Spool

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.spool.size,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """Keeps files; uploads and batches add theirs."""

    def __init__(self, intake: Intake) -> None:
        self._clerk = Clerk(intake, "files")
        self.shelf: Shelf[StoredFile] = Shelf("File")

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases(
            [
                ("POST", "/files", self.create),
                ("GET", "/files", self.list),
                ("GET", "/files/{file_id}", self.retrieve),
                ("DELETE", "/files/{file_id}", self.delete),
                ("GET", "/files/{file_id}/content", self.download),
            ]
        )

    def add(self, credential: str, filename: str, purpose: str, spool: Spool, seconds: int | None = None) -> StoredFile:
        """Keeps a file, for so many seconds as they say."""
        created = now()
        expires = None if seconds is None else created + seconds
        file = StoredFile(new_id("file-"), filename, purpose, created, expires, spool)
        self.shelf.put(file.id, credential, file)
        return file

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/files`: a form with `file` and `purpose`."""

        def make(asked: Asked, form: Form) -> dict[str, Any]:
            upload = form.file("file")
            fields = fit(_spell_numbers(asked.fields), Record(needs={"purpose": Text(PURPOSES)}, open=True))
            seconds = _read_expiry(asked.fields)
            name = upload.filename or "upload"
            return self.add(asked.credential, name, fields["purpose"], upload.spool, seconds).render()

        await self._clerk.serve_form(exchange, make)

    async def list(self, exchange: Exchange) -> None:
        """`GET /v1/files`: `purpose`, `limit`, `after`, `order`."""

        def make(asked: Asked) -> Any:
            wanted = exchange.query().get("purpose")
            files = [file for file in self.shelf.all(asked.credential) if wanted in (None, file.purpose)]
            return write_page(exchange, [file.render() for file in files], usual=MOST_LISTED, most=MOST_LISTED)

        await self._clerk.serve(exchange, make)

    async def retrieve(self, exchange: Exchange, file_id: str) -> None:
        """`GET /v1/files/{id}`."""
        await self._clerk.serve(exchange, lambda asked: self.shelf.get(file_id, asked.credential).render())

    async def delete(self, exchange: Exchange, file_id: str) -> None:
        """`DELETE /v1/files/{id}`."""

        def make(asked: Asked) -> Any:
            self.shelf.remove(file_id, asked.credential)
            return write_deleted(file_id, "file")

        await self._clerk.serve(exchange, make)

    async def download(self, exchange: Exchange, file_id: str) -> None:
        """`GET /v1/files/{id}/content`."""
        await exchange.read_body()
        try:
            credential, _ = check_key(exchange.headers)
            file = self.shelf.get(file_id, credential)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        await send_spool(exchange, file.spool, file.filename)


async def send_spool(exchange: Exchange, spool: Spool, filename: str) -> None:
    """Answers with bytes, piece by piece."""
    quoted = filename.encode("ascii", "replace").decode().replace('"', "'")
    headers = (
        (b"content-type", b"application/octet-stream"),
        (b"content-disposition", f'attachment; filename="{quoted}"'.encode()),
        (b"content-length", str(spool.size).encode()),
    )
    await exchange.start(200, headers)
    for start in range(0, spool.size, PIECE):
        await exchange.write(spool.read(start, PIECE))
        await exchange.pause(0)
    await exchange.finish()


def read_expiry(value: dict[str, Any] | None) -> int | None:
    """The seconds of an `expires_after` that was found good."""
    return None if value is None else int(value["seconds"])


def _read_expiry(fields: dict[str, Any]) -> int | None:
    given = _spell_numbers(fields)
    return read_expiry(fit(given, Record(may={"expires_after": EXPIRES}, open=True)).get("expires_after"))


def _spell_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """A form has texts alone."""
    expires = fields.get("expires_after")
    if not isinstance(expires, dict) or not str(expires.get("seconds")).isdecimal():
        return fields
    return {**fields, "expires_after": {**expires, "seconds": int(expires["seconds"])}}
