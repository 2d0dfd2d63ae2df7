"""Checking the source files of launched programs: every content, and every list of them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from mltrack.disk.layout import Layout
from mltrack.storage.check.check import check_store
from mltrack.storage.source_contents import Contents, SourceFile


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that keeps two contents, and a list of them."""
    root = tmp_path / "store"
    Layout.open_or_create(root, now_ns=1)
    files = {}
    for name in ("a.py", "b.py"):
        path = tmp_path / name
        path.write_text(name * 100)
        about = path.stat()
        files[name] = SourceFile(path, name, about.st_size, about.st_mtime_ns, about.st_mode)
    kept = Contents(root).keep(tmp_path, files.values())
    data = json.dumps({"files": {name: {"sha256": one.sha256} for name, one in kept.items()}, "left_out": {}}).encode()
    Contents(root).link(data, "json", tmp_path / "files.json")
    return root


def found(store: Path) -> list[str]:
    return [finding.what for finding in check_store(store).findings]


def pack(store: Path) -> Path:
    (path,) = (store / "sources").glob("*.zip")
    return path


def test_unchanged_sources_are_sound(store: Path) -> None:
    report = check_store(store)
    assert report.findings == []
    assert report.bytes > pack(store).stat().st_size


def test_a_source_that_does_not_match_its_name_is_found(store: Path) -> None:
    name = hashlib.sha256(b"a.py" * 100).hexdigest()
    other = hashlib.sha256(b"b.py" * 100).hexdigest()
    with zipfile.ZipFile(pack(store), "w") as written:
        written.writestr(name, "something else")
        written.writestr(other, "b.py" * 100)
    assert found(store) == [
        f"content {name[:12]}... has changed",
        "names 1 content that no intact pack has",
    ]


def test_a_flipped_byte_in_a_source_is_found(store: Path) -> None:
    data = bytearray(pack(store).read_bytes())
    data[30 + 64 + 3] ^= 0xFF  # behind the header of the first entry and its name
    pack(store).write_bytes(data)
    assert len(found(store)) == 2


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_truncated_pack_is_found(store: Path, size: int) -> None:
    os.truncate(pack(store), size)
    first, second = found(store)
    assert first.startswith("is not a whole zip file")
    assert second == "names 2 contents that no intact pack has"


def test_a_missing_pack_and_a_changed_list_are_found(store: Path) -> None:
    pack(store).unlink()
    assert found(store) == ["names 2 contents that no intact pack has"]
    (path,) = (store / "sources").glob("*.json")
    path.write_bytes(path.read_bytes() + b" ")
    assert found(store) == ["has changed"]
