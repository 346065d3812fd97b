"""Pictures, in base64 and by address, and documents."""

from __future__ import annotations

import base64

from tests.matrix.cells import Cell, cells
from tests.matrix.pictures import PNG
from tests.matrix.talk import Picture, Talk, User

PDF = base64.b64encode(b"%PDF-1.4\n%\xfb\xff\xfe\n%%EOF\n").decode()
INLINE = Picture(png=PNG)


@cells()
def test_two_pictures(cell: Cell, picture_url: str) -> None:
    fetches = cell.kind.fetches
    # Anthropic insists on https, and nobody fetches it here; what the gateway fetches is on this machine.
    linked = Picture(url="https://example.com/picture.png" if fetches else picture_url)
    asked = Talk(turns=(User("What differs?", (INLINE, linked)),))

    assert cell.ask(asked).finish == "stop"
    cell.assert_received(asked if fetches else Talk(turns=(User("What differs?", (INLINE, INLINE)),)))


@cells(main=True)
def test_a_document(cell: Cell) -> None:
    asked = Talk(turns=(User("What does it say?", pdf=PDF),))

    assert cell.ask(asked).finish == "stop"
    cell.assert_received(asked)
