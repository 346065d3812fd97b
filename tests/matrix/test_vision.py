"""Pictures, in base64 and by address."""

from __future__ import annotations

from tests.matrix.cells import Cell, cells
from tests.matrix.pictures import PNG
from tests.matrix.talk import Picture, Talk, User

INLINE = Picture(png=PNG)


@cells()
def test_two_pictures(cell: Cell, picture_url: str) -> None:
    fetches = cell.kind.fetches
    # Anthropic insists on https, and nobody fetches it here; what the gateway fetches is on this machine.
    linked = Picture(url="https://example.com/picture.png" if fetches else picture_url)
    asked = Talk(turns=(User("What differs?", (INLINE, linked)),))

    assert cell.ask(asked).finish == "stop"
    cell.assert_received(asked if fetches else Talk(turns=(User("What differs?", (INLINE, INLINE)),)))
