"""OpenAI's `/v1/vector_stores`, their files and batches of files (openai-python 3.54.0, `types/vector_store*`).

What was just added is shown as in progress once; there is nothing to wait for.
"""

from typing import Any

from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal
from app.demo.routes import Route
from app.demo.shapes import Anything, Either, Flag, ListOf, Number, Open, Record, Shape, Text
from app.demo.surfaces.clerk import METADATA, Clerk, Shelf, new_id, now, write_deleted, write_page
from app.demo.surfaces.files import Files
from app.demo.surfaces.intake import Asked, Intake, below_bases
from app.demo.surfaces.vector_store import STATUSES, FileBatch, Store, StoreFile

MOST_AT_ONCE = 2_000
EXPIRES = Record(needs={"anchor": Text(("last_active_at",)), "days": Number(1, 365)})
MAY: dict[str, Shape] = {"name": Text(), "expires_after": EXPIRES, "metadata": METADATA}
UPDATE = Record(may=MAY, nulls=True, open=True)
CREATE = Record(
    may={**MAY, "description": Text(), "file_ids": ListOf(Text(), most=500), "chunking_strategy": Open()},
    nulls=True,
    open=True,
)
ADDED: dict[str, Shape] = {"attributes": Open(), "chunking_strategy": Open()}
ADD = Record(needs={"file_id": Text()}, may=ADDED, nulls=True, open=True)
ADD_MANY = Record(
    may={"file_ids": ListOf(Text(), most=MOST_AT_ONCE), "files": ListOf(ADD, most=MOST_AT_ONCE), **ADDED},
    nulls=True,
    open=True,
)
ATTRIBUTES = Record(needs={"attributes": Open()}, open=True)
SEARCH = Record(
    needs={"query": Either(Text(), ListOf(Text()))},
    may={
        "max_num_results": Number(1, 50),
        "filters": Anything(),
        "ranking_options": Record(may={"score_threshold": Number(0, 1, fractions=True)}, nulls=True, open=True),
        "rewrite_query": Flag(),
    },
    nulls=True,
    open=True,
)


class VectorStores:
    """Keeps vector stores."""

    def __init__(self, intake: Intake, files: Files) -> None:
        self._clerk = Clerk(intake, "vector_stores")
        self._shelf: Shelf[Store] = Shelf("VectorStore")
        self._files = files

    def routes(self) -> list[Route]:
        """Those of every base."""
        one = "/vector_stores/{store_id}"
        file, batch = f"{one}/files/{{file_id}}", f"{one}/file_batches/{{batch_id}}"
        return below_bases(
            [
                ("POST", "/vector_stores", self.create),
                ("GET", "/vector_stores", self.list),
                ("GET", one, self.retrieve),
                ("POST", one, self.update),
                ("DELETE", one, self.delete),
                ("POST", f"{one}/search", self.search),
                ("POST", f"{one}/files", self.add_file),
                ("GET", f"{one}/files", self.list_files),
                ("GET", file, self.retrieve_file),
                ("POST", file, self.update_file),
                ("DELETE", file, self.delete_file),
                ("GET", f"{file}/content", self.show_content),
                ("POST", f"{one}/file_batches", self.add_batch),
                ("GET", batch, self.retrieve_batch),
                ("POST", f"{batch}/cancel", self.cancel_batch),
                ("GET", f"{batch}/files", self.list_batch),
            ]
        )

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/vector_stores`."""

        def make(asked: Asked) -> Any:
            store = Store(new_id("vs_"), asked.fields, now())
            for file_id in asked.fields.get("file_ids", ()):
                self._add(store, {"file_id": file_id, **asked.fields}, asked)
            self._shelf.put(store.id, asked.credential, store)
            return {**store.render(), "status": "in_progress" if store.files else "completed"}

        await self._clerk.serve(exchange, make, CREATE)

    async def list(self, exchange: Exchange) -> None:
        """`GET /v1/vector_stores`."""
        await self._clerk.serve(
            exchange,
            lambda asked: write_page(exchange, [store.render() for store in self._shelf.all(asked.credential)]),
        )

    async def retrieve(self, exchange: Exchange, store_id: str) -> None:
        """`GET /v1/vector_stores/{id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(store_id, asked).render())

    async def update(self, exchange: Exchange, store_id: str) -> None:
        """`POST /v1/vector_stores/{id}`: its name, metadata and when it expires."""

        def make(asked: Asked) -> Any:
            store = self._get(store_id, asked)
            store.fields = {**store.fields, **asked.fields}
            return store.render()

        await self._clerk.serve(exchange, make, UPDATE)

    async def delete(self, exchange: Exchange, store_id: str) -> None:
        """`DELETE /v1/vector_stores/{id}`: the files stay."""

        def make(asked: Asked) -> Any:
            self._shelf.remove(store_id, asked.credential)
            return write_deleted(store_id, "vector_store.deleted")

        await self._clerk.serve(exchange, make)

    async def search(self, exchange: Exchange, store_id: str) -> None:
        """`POST /v1/vector_stores/{id}/search`."""

        def make(asked: Asked) -> Any:
            query = asked.fields["query"]
            queries = [query] if isinstance(query, str) else query
            found = self._get(store_id, asked).search(" ".join(queries), asked.fields)
            page = {"object": "vector_store.search_results.page", "search_query": queries, "data": found}
            return {**page, "has_more": False, "next_page": None}

        await self._clerk.serve(exchange, make, SEARCH)

    async def add_file(self, exchange: Exchange, store_id: str) -> None:
        """`POST /v1/vector_stores/{id}/files`."""

        def make(asked: Asked) -> Any:
            return self._add(self._get(store_id, asked), asked.fields, asked).render("in_progress")

        await self._clerk.serve(exchange, make, ADD)

    async def list_files(self, exchange: Exchange, store_id: str) -> None:
        """`GET /v1/vector_stores/{id}/files`: with `filter`, those of that status."""
        await self._clerk.serve(
            exchange, lambda asked: _write_files(exchange, list(self._get(store_id, asked).files.values()))
        )

    async def retrieve_file(self, exchange: Exchange, store_id: str, file_id: str) -> None:
        """`GET /v1/vector_stores/{id}/files/{file_id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(store_id, asked).get(file_id).render())

    async def update_file(self, exchange: Exchange, store_id: str, file_id: str) -> None:
        """`POST /v1/vector_stores/{id}/files/{file_id}`: its attributes."""

        def make(asked: Asked) -> Any:
            file = self._get(store_id, asked).get(file_id)
            file.attributes = asked.fields["attributes"]
            return file.render()

        await self._clerk.serve(exchange, make, ATTRIBUTES)

    async def delete_file(self, exchange: Exchange, store_id: str, file_id: str) -> None:
        """`DELETE /v1/vector_stores/{id}/files/{file_id}`: it leaves the store, no more."""

        def make(asked: Asked) -> Any:
            store = self._get(store_id, asked)
            del store.files[store.get(file_id).file.id]
            return write_deleted(file_id, "vector_store.file.deleted")

        await self._clerk.serve(exchange, make)

    async def show_content(self, exchange: Exchange, store_id: str, file_id: str) -> None:
        """`GET /v1/vector_stores/{id}/files/{file_id}/content`."""

        def make(asked: Asked) -> Any:
            chunks = self._get(store_id, asked).get(file_id).chunks()
            data = [{"type": "text", "text": text} for text in chunks]
            return {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}

        await self._clerk.serve(exchange, make)

    async def add_batch(self, exchange: Exchange, store_id: str) -> None:
        """`POST /v1/vector_stores/{id}/file_batches`: `file_ids`, or `files` with attributes of their own."""

        def make(asked: Asked) -> Any:
            store, fields = self._get(store_id, asked), asked.fields
            wanted = fields.get("files") or [{**fields, "file_id": each} for each in fields.get("file_ids", ())]
            if not wanted:
                message = "Missing required parameter: 'file_ids'."
                raise Refusal(400, message, code="missing_required_parameter", param="file_ids")
            added = [self._add(store, each, asked) for each in wanted]
            batch = FileBatch(new_id("vsfb_"), store.id, now(), added)
            store.batches[batch.id] = batch
            return batch.render()

        await self._clerk.serve(exchange, make, ADD_MANY)

    async def retrieve_batch(self, exchange: Exchange, store_id: str, batch_id: str) -> None:
        """`GET /v1/vector_stores/{id}/file_batches/{batch_id}`: the first look finds it done."""

        def make(asked: Asked) -> Any:
            batch = self._get(store_id, asked).get_batch(batch_id)
            batch.status = "completed" if batch.status == "in_progress" else batch.status
            return batch.render()

        await self._clerk.serve(exchange, make)

    async def cancel_batch(self, exchange: Exchange, store_id: str, batch_id: str) -> None:
        """`POST /v1/vector_stores/{id}/file_batches/{batch_id}/cancel`: what is done stays so."""

        def make(asked: Asked) -> Any:
            batch = self._get(store_id, asked).get_batch(batch_id)
            if batch.status == "in_progress":
                batch.status = "cancelled"
                for file in batch.files:
                    file.status = "cancelled"
            return batch.render()

        await self._clerk.serve(exchange, make)

    async def list_batch(self, exchange: Exchange, store_id: str, batch_id: str) -> None:
        """`GET /v1/vector_stores/{id}/file_batches/{batch_id}/files`."""
        await self._clerk.serve(
            exchange, lambda asked: _write_files(exchange, self._get(store_id, asked).get_batch(batch_id).files)
        )

    def _get(self, store_id: str, asked: Asked) -> Store:
        return self._shelf.get(store_id, asked.credential)

    def _add(self, store: Store, fields: dict[str, Any], asked: Asked) -> StoreFile:
        file = self._files.shelf.get(fields["file_id"], asked.credential)
        return store.add(file, fields.get("attributes"), fields.get("chunking_strategy"))


def _write_files(exchange: Exchange, files: list[StoreFile]) -> Any:
    wanted = exchange.query().get("filter")
    if wanted not in (None, *STATUSES):
        raise Refusal(400, f"Invalid value: '{wanted}'.", code="invalid_value", param="filter")
    return write_page(exchange, [each.render() for each in files if wanted in (None, each.status)])
