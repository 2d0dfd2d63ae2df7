"""One of aim's RocksDB databases, read only, also while aim writes to it.

The library leaves a file in a folder that it opens. So it opens one with links to the files, which is removed again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rocksdict import AccessType, Options, Rdict

from mltrack.importers.source import SourceError

__all__ = ["NumberArray", "RocksFolder"]

_FILES = re.compile(r"CURRENT|IDENTITY|MANIFEST-\d+|OPTIONS-\d+|\d+\.(?:sst|log|blob)")
_NUMBER_BYTES, _KEY_BYTES = 9, 10
_CHUNK_ITEMS = 1 << 16
_COLUMNS = ("places", "floats", "integers", "whole")


class NumberArray:
    """A list of numbers of aim's: where each is in the list, and its value; those that are none are left out."""

    def __init__(self, places: list[bytes], values: list[bytes]) -> None:
        """``places`` are eight bytes each, ``values`` as they are stored."""
        if any(len(value) != _NUMBER_BYTES for value in values):
            values = [value[:_NUMBER_BYTES].ljust(_NUMBER_BYTES, b"\0") for value in values]
        raw = np.frombuffer(b"".join(values), np.uint8).reshape(-1, _NUMBER_BYTES)
        kinds = raw[:, 0]
        self.places: npt.NDArray[np.int64] = np.frombuffer(b"".join(places), ">i8").astype(np.int64)
        known = (kinds >= 1) & (kinds <= 3)
        bits = np.ascontiguousarray(raw[known, 1:])
        is_float = kinds[known] == 3
        self.floats = np.where(is_float, bits.view("<f8")[:, 0], bits.view("<i8")[:, 0].astype(np.float64))
        with np.errstate(invalid="ignore"):
            self.integers = np.where(is_float, self.floats.astype(np.int64), bits.view("<i8")[:, 0])
        self.whole: npt.NDArray[np.bool_] = ~is_float | (self.floats == self.integers)
        """Which of them are whole numbers."""
        self.places = self.places[known]

    @property
    def order(self) -> npt.NDArray[np.uint64]:
        """The places as the database orders them: those below zero come last."""
        return self.places.view(np.uint64)

    def take(self, index: slice) -> NumberArray:
        """Some of them."""
        found = NumberArray([], [])
        for name in _COLUMNS:
            setattr(found, name, getattr(self, name)[index])
        return found

    @classmethod
    def joined(cls, parts: list[NumberArray]) -> NumberArray:
        """The parts as one."""
        found = cls([], [])
        for name in _COLUMNS if parts else ():
            setattr(found, name, np.concatenate([getattr(part, name) for part in parts]))
        return found


class RocksFolder:
    """A database open to read. Close it."""

    def __init__(self, path: Path, where: str) -> None:
        """``where`` names it in messages.

        Raises:
            SourceError: it can't be read.
        """
        self.where = where
        self._links = tempfile.TemporaryDirectory(prefix="mltrack-import-")
        self._db: Any = None
        try:
            for file in path.resolve().iterdir():
                if _FILES.fullmatch(file.name) and file.is_file() and not file.is_symlink():
                    Path(self._links.name, file.name).symlink_to(file)
            with self._errors():
                options = Options(raw_mode=True)
                options.create_if_missing(False)
                self._db = Rdict(self._links.name, options=options, access_type=AccessType.read_only())
        except OSError as error:
            self.close()
            raise SourceError(f"{where}: {error.strerror or error}") from error
        except SourceError:
            self.close()
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The library raises nothing more special than Exception."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            words = " ".join(str(error).replace(self._links.name, "").split())[:200]
            raise SourceError(f"{self.where}: {words}") from error

    def close(self) -> None:
        """Close it."""
        if self._db is not None:
            self._db.close()
        self._links.cleanup()

    def get(self, key: bytes) -> bytes | None:
        """The value of a key.

        Raises:
            SourceError: it can't be read.
        """
        with self._errors():
            found: bytes | None = self._db.get(key)
            return found

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with something, and their values.

        Raises:
            SourceError: they can't be read further.
        """
        last = prefix
        for key, value in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            last = key
            yield key, value
        with self._errors():  # at what is damaged, the items end without an error
            after = self._db.iter()
            after.seek(last)
            if after.valid():
                after.next()
            after.status()

    def numbers(self, prefix: bytes) -> NumberArray:
        """A list of numbers.

        Raises:
            SourceError: it can't be read.
        """
        return NumberArray.joined(list(self.number_pieces(prefix)))

    def number_pieces(self, prefix: bytes) -> Iterator[NumberArray]:
        """The same, some at a time, in the order of the database.

        Raises:
            SourceError: they can't be read further.
        """
        places: list[bytes] = []
        values: list[bytes] = []
        at = len(prefix) + 1
        for key, value in self.scan(prefix):
            if len(key) == at + _KEY_BYTES - 1:
                places.append(key[at:-1])
                values.append(value)
                if len(values) == _CHUNK_ITEMS:
                    yield NumberArray(places, values)
                    places, values = [], []
        if values:
            yield NumberArray(places, values)
