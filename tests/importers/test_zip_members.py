"""Members of ZIP files, as importers read them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mltrack.importers.source import SourceError
from mltrack.importers.zip_members import ZipMembers, read_small


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("one", b"1")
        packed.writestr("two", b"22")
    return made


def test_the_directory_of_a_file_is_read_once_for_all_of_its_members(path: Path) -> None:
    members = ZipMembers(path)
    assert members.size("one") == 1
    path.unlink()
    assert (members.size("two"), members.size("three")) == (2, None)
    assert [read_small(members, name, 9) for name in ("one", "two")] == [b"1", b"22"]


def test_a_file_that_was_released_is_opened_again_and_members_that_are_open_stay_so(path: Path) -> None:
    members = ZipMembers(path)
    with members.open("two") as stream:
        members.release()
        assert stream.read() == b"22"
    assert read_small(members, "one", 9) == b"1"
    members.release()
    path.unlink()
    assert members.size("one") is None
    with pytest.raises(SourceError, match="one can't be read"):
        members.open("one")
