"""OpenAI's `/v1/conversations` (openai-python 3.54.0, `types/conversations/`). Responses take no notice of them here."""

from dataclasses import dataclass, field
from typing import Any

from app.demo.exchange import Exchange
from app.demo.routes import Route
from app.demo.shapes import ListOf, Open, Record
from app.demo.surfaces.clerk import METADATA, Clerk, Shelf, missing, new_id, now, write_deleted, write_page
from app.demo.surfaces.intake import Asked, Intake, below_bases

MOST_AT_ONCE = 20
CREATE = Record(may={"items": ListOf(Open(), most=MOST_AT_ONCE), "metadata": METADATA}, nulls=True, open=True)
UPDATE = Record(needs={"metadata": METADATA}, open=True)
ADD = Record(needs={"items": ListOf(Open(), most=MOST_AT_ONCE)}, open=True)
PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "function_call_output": "fco_"}


@dataclass(slots=True)
class Conversation:
    """One conversation and its items by id, the oldest first."""

    id: str
    created_at: int
    metadata: dict[str, Any]
    items: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adds items, as they are shown from then on."""
        added = [_write_item(item) for item in items]
        self.items.update((item["id"], item) for item in added)
        return added

    def get(self, item_id: str) -> dict[str, Any]:
        """Raises Refusal 404."""
        if item_id not in self.items:
            raise missing("ConversationItem", item_id)
        return self.items[item_id]

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }


class Conversations:
    """Keeps conversations."""

    def __init__(self, intake: Intake) -> None:
        self._clerk = Clerk(intake, "conversations")
        self._shelf: Shelf[Conversation] = Shelf("Conversation")

    def routes(self) -> list[Route]:
        """Those of every base."""
        one = "/conversations/{conversation_id}"
        return below_bases(
            [
                ("POST", "/conversations", self.create),
                ("GET", one, self.retrieve),
                ("POST", one, self.update),
                ("DELETE", one, self.delete),
                ("POST", f"{one}/items", self.add_items),
                ("GET", f"{one}/items", self.list_items),
                ("GET", f"{one}/items/{{item_id}}", self.retrieve_item),
                ("DELETE", f"{one}/items/{{item_id}}", self.delete_item),
            ]
        )

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/conversations`."""

        def make(asked: Asked) -> Any:
            made = Conversation(new_id("conv_"), now(), asked.fields.get("metadata", {}))
            made.add(asked.fields.get("items", []))
            self._shelf.put(made.id, asked.credential, made)
            return made.render()

        await self._clerk.serve(exchange, make, CREATE)

    async def retrieve(self, exchange: Exchange, conversation_id: str) -> None:
        """`GET /v1/conversations/{id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(conversation_id, asked).render())

    async def update(self, exchange: Exchange, conversation_id: str) -> None:
        """`POST /v1/conversations/{id}`: its metadata."""

        def make(asked: Asked) -> Any:
            found = self._get(conversation_id, asked)
            found.metadata = asked.fields["metadata"]
            return found.render()

        await self._clerk.serve(exchange, make, UPDATE)

    async def delete(self, exchange: Exchange, conversation_id: str) -> None:
        """`DELETE /v1/conversations/{id}`."""

        def make(asked: Asked) -> Any:
            self._shelf.remove(conversation_id, asked.credential)
            return write_deleted(conversation_id, "conversation.deleted")

        await self._clerk.serve(exchange, make)

    async def add_items(self, exchange: Exchange, conversation_id: str) -> None:
        """`POST /v1/conversations/{id}/items`: twenty at once."""

        def make(asked: Asked) -> Any:
            added = self._get(conversation_id, asked).add(asked.fields["items"])
            ends = {"first_id": added[0]["id"] if added else None, "last_id": added[-1]["id"] if added else None}
            return {"object": "list", "data": added, **ends, "has_more": False}

        await self._clerk.serve(exchange, make, ADD)

    async def list_items(self, exchange: Exchange, conversation_id: str) -> None:
        """`GET /v1/conversations/{id}/items`: `limit`, `after`, `order`."""
        await self._clerk.serve(
            exchange, lambda asked: write_page(exchange, list(self._get(conversation_id, asked).items.values()))
        )

    async def retrieve_item(self, exchange: Exchange, conversation_id: str, item_id: str) -> None:
        """`GET /v1/conversations/{id}/items/{item_id}`."""
        await self._clerk.serve(exchange, lambda asked: self._get(conversation_id, asked).get(item_id))

    async def delete_item(self, exchange: Exchange, conversation_id: str, item_id: str) -> None:
        """`DELETE /v1/conversations/{id}/items/{item_id}`: answers with the conversation."""

        def make(asked: Asked) -> Any:
            found = self._get(conversation_id, asked)
            del found.items[found.get(item_id)["id"]]
            return found.render()

        await self._clerk.serve(exchange, make)

    def _get(self, conversation_id: str, asked: Asked) -> Conversation:
        return self._shelf.get(conversation_id, asked.credential)


def _write_item(item: dict[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    shown = {"id": new_id(PREFIXES.get(kind, "item_")), "type": kind, "status": "completed", **item}
    if kind == "message" and isinstance(item.get("content"), str):
        text = {"type": "input_text", "text": item["content"]}
        if item.get("role") == "assistant":
            text = {"type": "output_text", "text": item["content"], "annotations": [], "logprobs": []}
        shown["content"] = [text]
    return shown
