"""A stream isn't held back: what the upstream has sent is there, while the rest isn't."""

from __future__ import annotations

import itertools

from app.demo.answers import DEFAULT_TEXT
from tests.matrix.cells import Cell, cells
from tests.matrix.talk import talk


@cells(main=True)
def test_pieces_arrive_while_the_upstream_is_silent(cell: Cell) -> None:
    # Up to eight of the fourteen chunks are reasoning.
    cell.arrange({"stall": "chunk:14"})
    with cell.client.deltas(cell.served.model, talk()) as deltas:
        heard = list(itertools.islice(deltas, 6))

        assert "".join(heard) == "The demo upstream wrote this short"
        assert not cell.requests()[-1]["finished"]


@cells(main=True)
def test_odd_but_legal_framing_makes_no_difference(cell: Cell) -> None:
    odd = {"split": 7, "crlf": True, "comments": True, "nospace": True, "gzip": True}

    assert cell.stream(talk(), **odd).text == DEFAULT_TEXT


@cells(main=True)
def test_a_character_that_is_cut_in_half_stays_one(cell: Cell) -> None:
    text = cell.stream(talk(), surrogates=True).text

    assert text.encode("utf-16", "surrogatepass").decode("utf-16") == DEFAULT_TEXT + "\N{GRINNING FACE}"
