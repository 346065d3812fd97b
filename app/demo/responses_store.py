"""The responses that the demo remembers: what went in, what came out, and how far those in the background are."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

MOST = 1_000

Items = list[dict[str, Any]]


@dataclass(slots=True)
class Stored:
    """One response in its final form. `history` is what it was made from, those before it included; `items` what was new.

    `wait` are the looks at it, the one that finds it done included, that a response in the background takes.
    """

    response: dict[str, Any]
    credential: str
    items: Items
    history: Items
    wait: int = 0

    @property
    def done(self) -> bool:
        """Whether it has its final form."""
        return self.wait <= 0

    def look(self) -> dict[str, Any]:
        """The response as this look finds it."""
        self.wait -= 1
        return self.response if self.done else begin(self.response, "in_progress")

    def cancel(self) -> None:
        """Ends it without a result, if it hasn't ended yet."""
        if not self.done:
            self.response, self.wait = begin(self.response, "cancelled"), 0


def begin(response: dict[str, Any], status: str) -> dict[str, Any]:
    """A response without what it will hold once it is done."""
    later: dict[str, Any] = {"output": [], "usage": None, "completed_at": None, "incomplete_details": None}
    return {**response, **later, "status": status}


class ResponseStore:
    """Responses by id, of each key its own; beyond a bound the oldest are forgotten."""

    def __init__(self) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def put(self, stored: Stored) -> None:
        """Remembers a response."""
        self._stored[stored.response["id"]] = stored
        while len(self._stored) > MOST:
            self._stored.popitem(last=False)

    def find(self, response_id: str, credential: str) -> Stored | None:
        """The response of that id, if that key made it."""
        stored = self._stored.get(response_id)
        return stored if stored is not None and stored.credential == credential else None

    def remove(self, response_id: str) -> None:
        """Forgets a response."""
        self._stored.pop(response_id, None)

    def has_item(self, item_id: str, credential: str) -> bool:
        """Whether an item of that id came out of a response that is remembered."""
        return any(
            item["id"] == item_id
            for stored in self._stored.values()
            if stored.credential == credential
            for item in stored.response["output"]
        )
