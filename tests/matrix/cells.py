"""One cell of the matrix: a client, a kind of upstream, and the looks at both ends that a test takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.demo.process import DemoProcess
from tests.matrix.clients import CLIENTS
from tests.matrix.kinds import KINDS, Kind, Served
from tests.matrix.received import Received, expect, read_received
from tests.matrix.talk import Client, Seen, Talk
from tests.matrix.untold import untold_field


@dataclass(frozen=True, slots=True)
class Cell:
    """A client, and a model whose upstream is of some kind."""

    client: Client
    served: Served
    demo: DemoProcess

    @property
    def kind(self) -> Kind:
        return self.served.kind

    @property
    def native(self) -> bool:
        """Whether nothing has to be converted."""
        return self.client.format == self.kind.format

    def arrange(self, *options: dict[str, Any]) -> None:
        """How the upstream answers the next requests, one after the other; beyond them as always."""
        self.demo.script(self.served.upstream, *options)

    def ask(self, talk: Talk, **options: Any) -> Seen:
        """A whole answer, of an upstream that answers so."""
        self.arrange(options)
        return self.client.ask(self.served.model, talk)

    def stream(self, talk: Talk, **options: Any) -> Seen:
        """The same, streamed."""
        self.arrange(options)
        return self.client.stream(self.served.model, talk)

    def requests(self) -> list[dict[str, Any]]:
        """The upstream's requests so far, the newest last."""
        entries = self.demo.control("GET", "requests?limit=8")["requests"]
        return [entry for entry in entries if self._is_mine(entry)]

    def received(self) -> Received:
        """The last request that reached the upstream."""
        return read_received(self.kind.format, self.requests()[-1]["body"])

    def expected(self, talk: Talk) -> Received:
        """What ought to have reached it."""
        says_failure = self.client.says_failure and self.kind.format in ("anthropic_messages", "gemini_generate")
        return expect(talk, says_failure=says_failure)

    def assert_received(self, talk: Talk) -> Received:
        """The last request told the upstream all of this. The cap is looked at where the client named one."""
        received = self.received()
        cap = received.cap if talk.cap is not None else None
        assert replace(received, cap=cap, thoughts=0) == self.expected(talk)
        return received

    @contextmanager
    def unless_untold(self, feature: str) -> Iterator[None]:
        """What follows is refused with the client's field by name, and reaches no upstream, where it can't be told there."""
        field = untold_field(feature, self.client, self.kind)
        if field is None:
            yield
            return
        before = {request["id"] for request in self.requests()}
        with pytest.raises(self.client.errors[400]) as refused:
            yield
        failure = self.client.read_failure(refused.value)
        assert failure.status == 400
        assert field in failure.field
        assert {request["id"] for request in self.requests()} <= before  # the journal forgets old ones

    def _is_mine(self, entry: dict[str, Any]) -> bool:
        path: str = entry["path"]
        model = (entry["body"] or {}).get("model")
        return self.served.upstream == model or f"/{self.served.upstream}:" in path


def cells(feature: str = "", *, only: str | None = None, main: bool = False, also: str = "") -> pytest.MarkDecorator:
    """Runs a test for every client that has words for a feature, with every kind of upstream.

    `only`: with this kind. `main`: the feature is the same in all dialects of a format, so that all of them but `also` run
    with the long tests.
    """
    pairs = [
        pytest.param(
            (name, kind.name), id=f"{name}-{kind.name}", marks=_marks(name, kind, late=main and kind.name != also)
        )
        for name, client in CLIENTS.items()
        for kind in KINDS
        if feature not in client.lacks and only in (None, kind.name)
    ]
    return pytest.mark.parametrize("cell", pairs, indirect=True)


def _marks(client: str, kind: Kind, *, late: bool) -> list[pytest.MarkDecorator]:
    group = pytest.mark.xdist_group(f"matrix {client}")
    return [group, pytest.mark.long] if late and kind.dialect else [group]
