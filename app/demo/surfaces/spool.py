"""Bytes that are written once and read often; what is large lies on disk, in files without a name."""

import hashlib
import tempfile
from typing import IO

IN_MEMORY = 256 << 10
HEAD = 4_096


class Spool:
    """Some bytes and what is known of them; gone with the object."""

    def __init__(self) -> None:
        self.size = 0
        self.head = b""
        self._hash = hashlib.sha256()
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Adds bytes at the end."""
        self.note(data)
        self._file.seek(0, 2)
        self._file.write(data)

    def note(self, data: bytes) -> None:
        """Counts bytes that nobody will read again."""
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        self.size += len(data)
        self._hash.update(data)

    def read(self, start: int = 0, size: int = -1) -> bytes:
        """Bytes from `start` on; all of them unless told."""
        self._file.seek(start)
        return self._file.read(size)
