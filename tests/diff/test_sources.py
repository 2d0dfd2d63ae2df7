"""Source files that differ: by name and content, and line by line."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mltrack.diff.sources import LINES_BYTES_MAX, RENAME_PAIRS_MAX, FileDiff, diff_files


class Kept:
    """Contents by hash, and lists of files with them."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def files(self, executable: tuple[str, ...] = (), /, **files: bytes) -> dict[str, Any]:
        found = {}
        for name, data in files.items():
            sha256 = hashlib.sha256(data).hexdigest()
            self.contents[sha256] = data
            found[name] = {"sha256": sha256, "size": len(data), "executable": name in executable}
        return found

    def diff(self, a: dict[str, bytes], b: dict[str, bytes], **options: Any) -> dict[str, FileDiff]:
        found = diff_files(self.files(**a), self.files(**b), self.contents.get, **options)
        return {file.name: file for file in found}


def test_equal_files_do_not_differ() -> None:
    assert Kept().diff({"a": b"1\n"}, {"a": b"1\n"}) == {}


def test_lines_are_a_unified_diff_without_head() -> None:
    lines = [f"{number}\n" for number in range(9)]
    changed = [*lines[:4], "new\n", *lines[5:]]
    found = Kept().diff({"a": "".join(lines).encode()}, {"a": "".join(changed).encode()}, context=1)
    assert found["a"].change == "changed"
    assert found["a"].lines == "@@ -4,3 +4,3 @@\n 3\n-4\n+new\n 5\n"


def test_a_missing_line_feed_at_the_end_is_said() -> None:
    found = Kept().diff({"a": b"1\n2"}, {"a": b"1\n2\n"})
    assert found["a"].lines == "@@ -1,2 +1,2 @@\n 1\n-2\n\\ No newline at end of file\n+2\n"


def test_binary_large_and_absent_contents_differ_by_hash_with_the_reason() -> None:
    big = b"x\n" * LINES_BYTES_MAX
    kept = Kept()
    a = kept.files(nul=b"\0", latin=b"\xe9", large=b"x\n", lost=b"1")
    b = kept.files(nul=b"\0\0", latin=b"\xe8", large=big, lost=b"2")
    del kept.contents[a["lost"]["sha256"]]
    found = {file.name: file for file in diff_files(a, b, kept.contents.get)}
    assert {name: (file.lines, file.why) for name, file in found.items()} == {
        "nul": (None, "binary"),
        "latin": (None, "binary"),
        "large": (None, "large"),
        "lost": (None, "not in this store"),
    }


def test_files_that_one_run_has_are_added_or_removed_with_lines_on_request() -> None:
    a, b = {"old": b"1\n"}, {"new": b"2\n3\n"}
    found = Kept().diff(a, b)
    assert [(file.change, file.why, file.lines) for file in (found["old"], found["new"])] == [
        ("removed", "removed", None),
        ("added", "added", None),
    ]
    found = Kept().diff(a, b, new_files=True)
    assert found["old"].lines == "@@ -1 +0,0 @@\n-1\n"
    assert found["new"].lines == "@@ -0,0 +1,2 @@\n+2\n+3\n"


def test_a_file_of_equal_content_is_renamed_to_the_same_base_name_first() -> None:
    found = Kept().diff({"x/m": b"1", "x/n": b"1"}, {"y/n": b"1"})
    assert found["y/n"].old_name == "x/n"
    assert found["y/n"].change == "renamed"
    assert found["x/m"].change == "removed"


def test_a_file_that_was_renamed_and_changed_is_found_by_its_lines() -> None:
    lines = b"".join(b"%d\n" % number for number in range(20))
    found = Kept().diff({"old": lines, "other": b"a\nb\n"}, {"new": lines + b"end\n", "more": b"c\nd\n"})
    assert (found["new"].old_name, found["new"].change) == ("old", "renamed")
    assert found["new"].lines == "@@ -18,3 +18,4 @@\n 17\n 18\n 19\n+end\n"
    assert {name: file.change for name, file in found.items()} == {
        "new": "renamed",
        "other": "removed",
        "more": "added",
    }


def test_with_too_many_pairs_only_equal_contents_are_renamed() -> None:
    count = RENAME_PAIRS_MAX // 10
    lines = b"1\n2\n3\n4\n"
    a = {f"a{number}": lines + b"%d\n" % number for number in range(count)}
    b = {f"b{number}": lines + b"b%d\n" % number for number in range(count)} | {"same": a["a0"]}
    changes = [file.change for file in Kept().diff(a, b).values()]
    assert changes.count("renamed") == 1


def test_a_file_that_became_executable_differs_without_lines() -> None:
    kept = Kept()
    (found,) = diff_files(kept.files(a=b"1"), kept.files(("a",), a=b"1"), kept.contents.get)
    assert (found.change, found.lines, found.why) == ("changed", None, "")
    assert found.b is not None
    assert found.b.executable


NAMES = st.sampled_from(["a", "b", "c", "d"])
TREES = st.dictionaries(NAMES, st.sampled_from([b"", b"1\n", b"1\n2\n", b"1\n2\n3", b"\0"]))


@given(TREES, TREES)
def test_every_file_is_equal_in_both_or_named_once(a: dict[str, bytes], b: dict[str, bytes]) -> None:
    found = Kept().diff(a, b, new_files=True)
    named = [name for file in found.values() for name in {file.name, file.old_name or file.name}]
    changed = {name for name in {*a, *b} if a.get(name) != b.get(name)}
    assert sorted(named) == sorted(changed)
