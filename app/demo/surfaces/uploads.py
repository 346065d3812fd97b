"""OpenAI's `/v1/uploads`: a file that comes in parts (openai-python 3.54.0, `types/upload*.py`)."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal
from app.demo.routes import Route
from app.demo.shapes import ListOf, Number, Record, Text
from app.demo.surfaces.clerk import Clerk, Shelf, missing, new_id, now
from app.demo.surfaces.files import EXPIRES, PIECE, PURPOSES, Files, StoredFile, read_expiry
from app.demo.surfaces.forms import Form
from app.demo.surfaces.intake import Asked, Intake, below_bases
from app.demo.surfaces.spool import Spool

LIFE = 3_600
CREATE = Record(
    needs={"bytes": Number(1), "filename": Text(), "mime_type": Text(), "purpose": Text(PURPOSES)},
    may={"expires_after": EXPIRES},
    nulls=True,
    open=True,
)
COMPLETE = Record(needs={"part_ids": ListOf(Text())}, may={"md5": Text()}, nulls=True, open=True)


@dataclass(slots=True)
class Upload:
    """One upload and the parts that have arrived."""

    id: str
    fields: dict[str, Any]
    created_at: int
    status: str = "pending"
    parts: dict[str, Spool] = field(default_factory=dict)
    file: StoredFile | None = None

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.fields["bytes"],
            "created_at": self.created_at,
            "expires_at": self.created_at + LIFE,
            "filename": self.fields["filename"],
            "purpose": self.fields["purpose"],
            "status": self.status,
            "file": None if self.file is None else self.file.render(),
        }


class Uploads:
    """Takes parts, and makes files of them."""

    def __init__(self, intake: Intake, files: Files) -> None:
        self._clerk = Clerk(intake, "uploads")
        self._shelf: Shelf[Upload] = Shelf("Upload")
        self._files = files

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases(
            [
                ("POST", "/uploads", self.create),
                ("POST", "/uploads/{upload_id}/parts", self.add_part),
                ("POST", "/uploads/{upload_id}/complete", self.complete),
                ("POST", "/uploads/{upload_id}/cancel", self.cancel),
            ]
        )

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/uploads`."""

        def make(asked: Asked) -> Any:
            upload = Upload(new_id("upload_"), asked.fields, now())
            self._shelf.put(upload.id, asked.credential, upload)
            return upload.render()

        await self._clerk.serve(exchange, make, CREATE)

    async def add_part(self, exchange: Exchange, upload_id: str) -> None:
        """`POST /v1/uploads/{id}/parts`: a form with `data`."""

        def make(asked: Asked, form: Form) -> Any:
            upload = self._pending(upload_id, asked)
            part_id = new_id("part_")
            upload.parts[part_id] = form.file("data").spool
            return {"id": part_id, "object": "upload.part", "created_at": now(), "upload_id": upload_id}

        await self._clerk.serve_form(exchange, make)

    async def complete(self, exchange: Exchange, upload_id: str) -> None:
        """`POST /v1/uploads/{id}/complete`: the parts in the order of `part_ids`."""

        def make(asked: Asked) -> Any:
            upload = self._pending(upload_id, asked)
            upload.file = self._join(upload, asked)
            upload.status = "completed"
            return upload.render()

        await self._clerk.serve(exchange, make, COMPLETE)

    async def cancel(self, exchange: Exchange, upload_id: str) -> None:
        """`POST /v1/uploads/{id}/cancel`."""

        def make(asked: Asked) -> Any:
            upload = self._pending(upload_id, asked)
            upload.status = "cancelled"
            upload.parts.clear()
            return upload.render()

        await self._clerk.serve(exchange, make)

    def _pending(self, upload_id: str, asked: Asked) -> Upload:
        upload = self._shelf.get(upload_id, asked.credential)
        if upload.status != "pending":
            raise Refusal(400, f"Upload {upload_id} is {upload.status}.", code="invalid_upload_status")
        return upload

    def _join(self, upload: Upload, asked: Asked) -> StoredFile:
        whole, digest = Spool(), hashlib.md5(usedforsecurity=False)
        for part_id in asked.fields["part_ids"]:
            part = upload.parts.get(part_id)
            if part is None:
                raise missing("UploadPart", part_id)
            for start in range(0, part.size, PIECE):
                piece = part.read(start, PIECE)
                whole.write(piece)
                digest.update(piece)
        wanted = upload.fields["bytes"]
        if whole.size != wanted:
            raise Refusal(400, f"The parts have {whole.size} bytes, not {wanted}.", param="part_ids")
        if asked.fields.get("md5", digest.hexdigest()) != digest.hexdigest():
            raise Refusal(400, "The parts' MD5 is another.", param="md5")
        upload.parts.clear()
        seconds = read_expiry(upload.fields.get("expires_after"))
        return self._files.add(asked.credential, upload.fields["filename"], upload.fields["purpose"], whole, seconds)
