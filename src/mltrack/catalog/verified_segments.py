"""Segments that DuckDB may read: every byte was compared with the checksums, once for each change.

DuckDB does not read our checksums and trusts what a file says. So each segment is verified before it is named in a
query; the result is kept in the catalog with the file's size, times and number, and is valid until one changes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.catalog.run_rows import change_token
from mltrack.disk.segment_reader import verify_segment
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

__all__ = ["Verified", "verified"]

THREADS = 4


class Verified(NamedTuple):
    """The files that may be read, and the faults of the others."""

    files: list[Path]
    damage: list[CorruptionError]


def verified(con: duckdb.DuckDBPyConnection, files: Sequence[tuple[str, Path]]) -> Verified:
    """Verify segments, each given with its run, unless they were verified since their last change."""
    known = {
        (run_id, name): (token, fault)
        for run_id, name, token, fault in con.execute("SELECT run_id, name, stamp, fault FROM base.verified").fetchall()
    }
    found = Verified([], [])
    new: list[tuple[str, str, str, str]] = []
    todo: list[tuple[str, Path, str]] = []
    faults: dict[Path, str] = {}
    for run_id, path in files:
        token = change_token(str(path))
        held, fault = known.get((run_id, path.name), ("", ""))
        if held == token:
            faults[path] = fault
        else:
            todo.append((run_id, path, token))
    with ThreadPoolExecutor(THREADS) as pool:  # the checksum is computed without the interpreter's lock
        for (run_id, path, token), fault in zip(todo, pool.map(_fault, (path for _, path, _ in todo)), strict=True):
            if fault is not None:
                faults[path] = fault
                new.append((run_id, path.name, token, fault))
    for _, path in files:
        fault = faults.get(path)
        if fault == "":
            found.files.append(path)
        elif fault is not None:
            found.damage.append(CorruptionError(f"{path}: {fault}", path=str(path), hint="see: mltrack check"))
    _keep(con, new)
    return found


def _fault(path: Path) -> str | None:
    """The fault of a segment; empty if it is intact, None if it no longer exists."""
    try:
        verify_segment(path)
    except FileNotFoundError:
        return None
    except CorruptionError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return f"can't be read: {error.strerror or error}"
    return ""


def _keep(con: duckdb.DuckDBPyConnection, new: list[tuple[Any, ...]]) -> None:
    if not new:
        return
    con.execute("BEGIN")
    con.execute(
        "DELETE FROM base.verified WHERE (run_id, name) IN (SELECT (unnest(?), unnest(?)))",
        [[row[0] for row in new], [row[1] for row in new]],
    )
    con.execute(
        "INSERT INTO base.verified SELECT unnest(?), unnest(?), unnest(?), unnest(?)",
        [[row[at] for row in new] for at in range(4)],
    )
    con.execute("COMMIT")
