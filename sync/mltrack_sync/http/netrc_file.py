"""User and password for a host from a ``.netrc``, found as MLflow's own client finds them; the last source asked."""

from __future__ import annotations

import functools
import netrc
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["netrc_login"]

NAMES = (".netrc", "_netrc")
BYTES_MAX = 1 << 20


def netrc_login(host: str, environ: Mapping[str, str], home: Path) -> tuple[str, str, str]:
    """User, password and the file they are in; empty where no file has an entry for that host.

    The file is ``$NETRC``, else ``.netrc`` or ``_netrc`` in ``home``. One that can't be read is ignored, as in
    MLflow's client.
    """
    named = environ.get("NETRC")
    paths = [home / name for name in NAMES] if named is None else [Path(named.strip()).expanduser()]
    for path in paths:
        try:
            found = path.stat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_size > BYTES_MAX:
            return "", "", ""
        return (*_login(str(path), host, (found.st_mtime_ns, found.st_size, found.st_ino)), str(path))
    return "", "", ""


@functools.lru_cache(maxsize=8)
def _login(path: str, host: str, signature: tuple[int, ...]) -> tuple[str, str]:
    """Cached until ``signature`` changes: it is needed for each request."""
    try:
        found = netrc.netrc(os.fspath(path)).authenticators(host)
    except (netrc.NetrcParseError, OSError, ValueError):  # the error's message may quote a password
        return "", ""
    return (found[0] or found[1] or "", found[2] or "") if found is not None else ("", "")
