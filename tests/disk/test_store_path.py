"""What names a store: paths and URIs as people write them, in variables, options and calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.cli import main
from mltrack.disk.layout import find_store
from mltrack.disk.store_path import folder_of, path_of_uri, uri_of
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.store import Store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/a/b", "/a/b"),
        ("//a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("rel/ative", "HERE/rel/ative"),
        ("./x", "HERE/x"),
        ("~/x", "/home/somebody/x"),
        ("mltrack:///a/b", "/a/b"),
        ("mltrack:////a/b", "/a/b"),
        ("mltrack:/a/b", "/a/b"),
        ("mltrack:rel", "HERE/rel"),
        ("mltrack://localhost/a", "/a"),
        ("MLTRACK:///a", "/a"),
        ("file:///a/b", "/a/b"),
        ("file:/a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("mltrack:///a%20b/%C3%A9", "/a b/é"),
        ("mltrack:///a b/é", "/a b/é"),
        ('"/a/b"', "/a/b"),
        ("'mltrack:///a/b'", "/a/b"),
        ("/a/b\n", "/a/b"),
        (" /a/b \r\n", "/a/b"),
        ("with:colon/x", "HERE/with:colon/x"),
        ("/a/100%/x", "/a/100%/x"),
    ],
)
def test_paths_and_uris_are_understood(text: str, folder: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Path(folder.replace("HERE", str(here)))
    assert folder_of(text) == expected
    monkeypatch.setenv("MLTRACK_STORE", text)
    assert find_store() == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000", "sqlite:///x.db", "s3://bucket/x", "file://host/x", "mltrack://host/x", "mltrack:",
        "mltrack:///a?b", "mltrack:///a#b", "mltrack:///a%00b", "/a\n/b", "/a\0b", "''", "  ", "file://",
        "~nobodyofthatname/x",
    ],
)  # fmt: skip
def test_what_is_not_a_folder_is_refused_by_the_name_of_the_setting(
    text: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="the store"):
        Store.create(text)
    if "\0" not in text:
        monkeypatch.setenv("MLTRACK_STORE", text)
        with pytest.raises(UsageError, match="MLTRACK_STORE") as caught:
            find_store()
        assert caught.value.hint
        for line in (["ls"], ["init"], ["check"]):
            assert main(line) == 2
            assert "MLTRACK_STORE" in capsys.readouterr().err
        monkeypatch.delenv("MLTRACK_STORE")
        assert main(["--store", text, "init"]) == 2
    assert not list(here.iterdir()), "nothing is made"


def test_an_empty_variable_is_ignored(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRACK_STORE", "")
    assert find_store() == here / ".mltrack"


def test_a_store_with_an_unusual_name_is_found_by_its_exact_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("'quoted'", "space ", "line\n", "file:x"):
        made = Store.create(here / name)
        assert find_store(str(here / name)) == made.path
        monkeypatch.setenv("MLTRACK_STORE", str(here / name))
        assert find_store() == made.path


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_a_path_comes_back_from_its_uri(name: str) -> None:
    try:
        path = Path(os.fsdecode(os.fsencode(f"/x/{name}")))
    except UnicodeEncodeError:
        return
    assert path_of_uri(uri_of(path)) == str(path)


def test_a_file_in_the_place_of_a_store_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").touch()
    assert main(["--store", "file", "init"]) == 5
    assert f"no store can be made at {here / 'file'}" in capsys.readouterr().err
    assert main(["--store", "file", "ls"]) == 4


def test_an_unreadable_parent_folder_is_skipped(here: Path) -> None:
    (here / ".mltrack").mkdir()
    (here / "below").mkdir()
    code = """
import os, sys
os.setgroups([]); os.setgid(30_001); os.setuid(30_001)
from mltrack.disk.layout import find_store
print(find_store())
"""
    if os.geteuid() == 0:
        (here / ".mltrack").chmod(0)
        for folder in (here / "below", here, *here.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o055)
        code = "import mltrack.disk.layout" + code
    else:
        (here / ".mltrack").chmod(0)
        code = code.split("\n", 3)[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=here / "below", capture_output=True, text=True)
    (here / ".mltrack").chmod(0o700)
    assert done.stdout.strip() == str(here / "below" / ".mltrack"), done.stderr


GONE = """
import os, sys, tempfile
gone = tempfile.mkdtemp()
os.chdir(gone)
os.rmdir(gone)
"""


broken_313 = pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="Python 3.13.0 can't import NumPy in a folder that is gone; 3.13.1 can"
)


def gone(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", GONE + code, *args], capture_output=True, text=True)


@pytest.mark.slow
@broken_313
def test_in_a_deleted_working_folder_a_store_given_absolutely_works(tmp_path: Path) -> None:
    root = str(tmp_path / ".mltrack")
    done = gone(
        """
import mltrack
from mltrack.cli import main
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_name="one") as run:
    run.log_metric("loss", 1.0)
    run.log_text("x", "a.txt")
sys.exit(main(["--store", sys.argv[1], "show", "one"]) or main(["--store", sys.argv[1], "check"]))
""",
        root,
    )
    assert done.returncode == 0, done.stderr
    assert "no problems found" in done.stdout


@pytest.mark.slow
@broken_313
def test_in_a_deleted_working_folder_a_search_for_a_store_is_a_clear_error() -> None:
    done = gone("import mltrack; mltrack.start_run()")
    assert "StoreError: the working folder is gone" in done.stderr
    for line in (["ls"], ["init"], ["run", "--", "true"], ["check"], ["--store", "x", "ls"], ["demo", "--no-sync"]):
        done = gone("from mltrack.cli import main; sys.exit(main(sys.argv[1:]))", *line)
        assert "Traceback" not in done.stderr, done.stderr
        assert "the working folder is gone" in done.stderr, line
        assert done.returncode == (2 if line[0] == "run" else 5)


def test_a_relative_store_is_resolved_when_it_is_chosen(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltrack.recording import current_store, fluent

    current_store.set_store("chosen")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    with fluent.start_run() as run:
        pass
    assert run.store_folder == here / "chosen"
    with pytest.raises(StoreError):
        current_store.set_store(None)
        monkeypatch.setenv("MLTRACK_STORE", "/proc/nowhere")
        fluent.start_run()


def test_a_path_opens_a_store_as_open_does(here: Path) -> None:
    made = Store.create(here / "runs.mltrack")
    for path in (str(made.path), made.path, f"mltrack://{made.path}"):
        assert Store(path).store_id == made.store_id
    with pytest.raises(NotFoundError, match="elsewhere"):
        Store(here / "elsewhere")
