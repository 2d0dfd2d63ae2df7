"""Checking the source files of launched programs: contents against their names, and lists of files against contents."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import read_small
from mltrack.disk.line_types import SOURCE_FILES
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import Layout
    from mltrack.storage.check.report import CheckReport

__all__ = ["check_sources"]

CHUNK_BYTES = 1 << 20
RATIO_MAX = 1_100
"""The best ratio that Deflate reaches."""

LIST_BYTES_MAX = 256 << 20

_LIST = re.compile(r"([0-9a-f]{64})\.json")
_ADVICE = "restore it from a copy, or launch that code again; runs can be read without it, but not reproduced"


def check_sources(layout: Layout, report: CheckReport) -> None:
    """Check all packs and lists in ``sources/``; findings go to ``report``."""
    folder = layout.root / "sources"
    if not folder.is_dir():
        return
    lists = sorted(folder.glob("*.json"))  # before the packs: a pack is stored before lists that name its contents
    kept: set[str] = set()
    for path in sorted(folder.glob("*.zip")):
        kept |= _check_pack(path, report)
    for path in lists:
        _check_list(path, kept, report)


def _check_pack(path: Path, report: CheckReport) -> set[str]:
    """The names of the intact contents of a pack."""
    sound: set[str] = set()
    try:
        report.read(path)
        with zipfile.ZipFile(path) as pack:
            fault = _bomb(pack, path)
            if fault:
                report.error(path, fault, _ADVICE)
                return sound
            for name in pack.namelist():
                if _sha256(pack, name) == name:
                    sound.add(name)
                else:
                    report.error(path, f"content {name[:12]}... has changed", _ADVICE)
    except FileNotFoundError:
        return sound  # removed meanwhile
    except OSError as error:
        report.error(path, f"can't be read: {error.strerror or error}", _ADVICE)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        report.error(path, f"is not a whole zip file: {error}", _ADVICE)
    return sound


def _bomb(pack: zipfile.ZipFile, path: Path) -> str:
    """Why a pack can't be genuine, as it claims to unpack to more than is possible; empty otherwise."""
    entries = pack.infolist()
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        return "claims to hold more than its own size"
    if any(entry.file_size > RATIO_MAX * (entry.compress_size + 1) for entry in entries):
        return "claims to unpack to more than is possible"
    return ""


def _sha256(pack: zipfile.ZipFile, name: str) -> str | None:
    """The SHA-256 of a content; None if it can't be unpacked."""
    import zlib

    digest = hashlib.sha256()
    try:
        with pack.open(name) as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return None
    return digest.hexdigest()


def _check_list(path: Path, kept: set[str], report: CheckReport) -> None:
    """A list of files is named by its own content; all that it names must exist."""
    named = _LIST.fullmatch(path.name)
    if named is None:
        return
    try:
        data = read_small(path, LIST_BYTES_MAX)
        report.read(path)
    except FileNotFoundError:
        return
    except OSError as error:
        report.error(path, f"can't be read: {error.strerror}", _ADVICE)
        return
    if hashlib.sha256(data).hexdigest() != named[1]:
        report.error(path, "has changed", _ADVICE)
        return
    try:
        fields = json.loads(data)
        fault = SOURCE_FILES.fault(fields) if isinstance(fields, dict) else "is not an object"
    except (ValueError, RecursionError) as error:
        fault = f"is not JSON: {error}"
    if fault is not None:
        report.error(path, f"is not a list of files: {fault}", _ADVICE)
        return
    listed = {one["sha256"] for one in fields["files"].values()}
    missing = len(listed - kept)
    if missing:
        report.error(path, f"names {plural(missing, 'content')} that no intact pack has", _ADVICE)
