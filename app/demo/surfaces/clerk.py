"""How objects that are kept are made, listed and shown: the steps that files, batches, stores and conversations share."""

import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, check_key, refuse, write_fault
from app.demo.options import Options
from app.demo.shapes import Open, Record
from app.demo.surfaces.forms import Form, read_form
from app.demo.surfaces.intake import Asked, Intake, read_fields

# The oldest of a kind are forgotten beyond this.
MOST_KEPT = 10_000
NO_FIELDS = Record(open=True)
METADATA = Open()

T = TypeVar("T")
Make = Callable[[Asked], Any | Awaitable[Any]]


class Shelf(Generic[T]):
    """Objects by id, of each key its own; `noun` is what the vendor calls one."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._kept: dict[str, tuple[str, T]] = {}

    def put(self, object_id: str, credential: str, thing: T) -> None:
        """Keeps an object, at the cost of the oldest one."""
        self._kept[object_id] = (credential, thing)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def find(self, object_id: str, credential: str) -> T | None:
        """The object of that id, if that key made it."""
        owner, thing = self._kept.get(object_id, ("", None))
        return thing if owner == credential else None

    def get(self, object_id: str, credential: str) -> T:
        """The same; raises Refusal 404."""
        thing = self.find(object_id, credential)
        if thing is None:
            raise missing(self._noun, object_id)
        return thing

    def remove(self, object_id: str, credential: str) -> T:
        """Forgets an object; raises Refusal 404."""
        thing = self.get(object_id, credential)
        del self._kept[object_id]
        return thing

    def all(self, credential: str) -> list[T]:
        """What that key made, the oldest first."""
        return [thing for owner, thing in self._kept.values() if owner == credential]


class Clerk:
    """Serves one kind of object. Faults are asked for by `x-demo`, or scripted for a model that is called like the kind."""

    def __init__(self, intake: Intake, kind: str) -> None:
        self._intake = intake
        self._kind = kind

    async def serve(self, exchange: Exchange, make: Make, shape: Record = NO_FIELDS) -> None:
        """Answers with what `make` makes of the request's fields; a fault that hides the answer comes before."""
        raw = await exchange.read_body()
        await self._answer(exchange, lambda: read_fields(raw, shape), make)

    async def serve_form(self, exchange: Exchange, make: Callable[[Asked, Form], Any]) -> None:
        """The same for a form, the files of which are kept."""
        try:
            form = await read_form(exchange, keeps=True)
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        await self._answer(exchange, lambda: form.fields, lambda asked: make(asked, form))

    async def _answer(self, exchange: Exchange, read: Callable[[], dict[str, Any]], make: Make) -> None:
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        try:
            credential, _ = check_key(exchange.headers)
            asked = self._intake.choose(exchange, self._kind, read(), credential)
            body = b"" if _hides(asked.options) else orjson.dumps(await _settle(make(asked)))
        except Refusal as refusal:
            await refuse(exchange, refusal)
            return
        await answer(exchange, Answering(asked.options, credential, None, lambda _: body, write_fault))


def missing(noun: str, object_id: str) -> Refusal:
    """There is none of that id."""
    return Refusal(404, f"No such {noun} object: {object_id}", param="id")


def new_id(prefix: str) -> str:
    """An id that no other run of the demo has."""
    return prefix + secrets.token_hex(12)


def now() -> int:
    """In Unix seconds."""
    return int(time.time())


def write_page(exchange: Exchange, items: Sequence[dict[str, Any]], *, usual: int = 20, most: int = 100) -> Any:
    """A page of a list whose oldest item is first: the newest come first unless `order=asc`; raises Refusal."""
    query = exchange.query()
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise Refusal(400, f"Invalid value: '{order}'. Supported values are: 'asc', 'desc'.", param="order")
    listed = list(items) if order == "asc" else list(items)[::-1]
    limit = _read_limit(query.get("limit", str(usual)), most)
    ids = [item["id"] for item in listed]
    start = _place(ids, query, "after") + 1 if query.get("after") else 0
    stop = _place(ids, query, "before") if query.get("before") else len(ids)
    page = listed[start : min(stop, start + limit)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < stop,
    }


def write_deleted(object_id: str, kind: str) -> dict[str, Any]:
    """What is told of an object that is gone."""
    return {"id": object_id, "object": kind, "deleted": True}


def _read_limit(text: str, most: int) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refusal(400, f"Invalid 'limit': expected an integer from 1 to {most}.", param="limit")
    return int(text)


def _place(ids: list[str], query: dict[str, str], name: str) -> int:
    if query[name] not in ids:
        raise Refusal(400, f"Invalid '{name}': no such object in this list.", code="invalid_value", param=name)
    return ids.index(query[name])


def _hides(options: Options) -> bool:
    return options.fails or options.drop or options.redirect is not None or options.stall in ("headers", "first")


async def _settle(made: Any) -> Any:
    return await made if inspect.isawaitable(made) else made
