"""remotes.toml: kept as it was written by hand, without secrets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mltrack
from mltrack.cli.app import main
from mltrack.errors import InvalidPathError, NotFoundError, StoreError, UsageError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes
from mltrack_sync.remotes.config import name_for
from mltrack_sync.remotes.toml_text import with_remote, without_remote


def test_remotes_are_added_listed_and_removed_and_the_rest_of_the_file_stays(store: Store) -> None:
    remotes = Remotes(store)
    assert remotes.all() == []
    remotes.add("lab", "http://lab:5000/")
    path = store.path / "remotes.toml"
    path.write_text("# by hand\n" + path.read_text() + "note = 'kept'  # with the lab\n")
    remotes.add("a.b", "https://far.example/mlflow")
    assert remotes.all() == [Remote("lab", "http://lab:5000"), Remote("a.b", "https://far.example/mlflow")]
    remotes.remove("a.b")
    assert "# by hand" in path.read_text()
    assert "note = 'kept'" in path.read_text()
    assert remotes.all() == [Remote("lab", "http://lab:5000")]
    remotes.remove("lab")
    assert path.read_text() == "# by hand\n"


BY_HAND = """# whose remotes these are
[remotes.first]
url = "http://first"  # the old one
# moved here in spring

# the one that everybody uses
[remotes."second one"]
url = "http://second"
note = '''
[not a header]
'''

[remotes.third]
url = "http://third"
# the end
"""


def test_comments_and_order_survive_what_is_added_set_and_removed(store: Store, tmp_path: Path) -> None:
    path = store.path / "remotes.toml"
    path.write_text(BY_HAND)
    remotes = Remotes(store)
    remotes.trust("second one")
    remotes.share_folder("second one", str(tmp_path))
    assert path.read_text() == BY_HAND
    remotes.add("fourth", "http://fourth")
    assert path.read_text().startswith(BY_HAND)
    assert [remote.name for remote in remotes.all()] == ["first", "second one", "third", "fourth"]
    remotes.remove("third")
    remotes.remove("first")
    text = path.read_text()
    comments = ["# whose remotes these are", "# the one that everybody uses", "# the end"]
    assert [line for line in comments if line in text] == comments
    assert "[not a header]" in text
    assert "http://first" not in text
    assert [remote.name for remote in remotes.all()] == ["second one", "fourth"]


@pytest.mark.parametrize("text", ["remotes = {a = {url = 'http://a'}}\n", "remotes.a.url = 'http://a'\n"])
def test_remotes_written_in_another_toml_style_are_extended_or_left_unchanged(text: str, store: Store) -> None:
    path = store.path / "remotes.toml"
    path.write_text(text)
    try:
        Remotes(store).add("b", "http://b")
    except StoreError as error:
        assert "by hand" in error.hint
        assert path.read_text() == text
    else:
        assert [remote.url for remote in Remotes(store).all()] == ["http://a", "http://b"]


@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_any_name_and_text_is_read_back(text: str) -> None:
    written = with_remote("# kept\n", text, {"url": text})
    assert written.startswith("# kept\n")
    assert tomllib.loads(written) == {"remotes": {text: {"url": text}}}
    assert tomllib.loads(without_remote(written, text)).get("remotes", {}) == {}


def test_a_name_means_one_url(store: Store) -> None:
    remotes = Remotes(store)
    assert remotes.add("lab", "http://lab:5000") == remotes.add("lab", "http://lab:5000/")
    with pytest.raises(UsageError, match="is http://lab:5000 already"):
        remotes.add("lab", "http://other:5000")
    with pytest.raises(NotFoundError, match="no remote 'x'"):
        remotes.get("x")
    for typed, told in (("lab:5000", "'lab:5000'"), ("me:hunter2@lab/x?sig=ab", "'...@lab/x?...'")):
        with pytest.raises(NotFoundError, match=re.escape(f"no remote {told}")):
            remotes.get(typed)
    with pytest.raises(NotFoundError):
        remotes.remove("x")
    with pytest.raises(InvalidPathError):
        remotes.add("../x", "http://h")


def test_a_misspelled_remote_is_answered_with_the_one_that_may_be_meant(store: Store) -> None:
    remotes = Remotes(store)
    remotes.add("lab", "http://127.0.0.1:5000")
    for name, hint in (("lba", "did you mean lab? Known: lab. Add one: "), ("cluster", "known: lab. Add one: ")):
        with pytest.raises(NotFoundError) as refused:
            remotes.get(name)
        assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize(
    "url", ["http://me:s3cret@h:1", "http://s3cret@h", "https://h/p?auth=s3cret", "https://h/p?sig=s3cret#f"]
)
def test_a_url_with_credentials_is_refused_and_neither_stored_nor_repeated(url: str, store: Store) -> None:
    with pytest.raises(UsageError, match="credentials") as caught:
        Remotes(store).add("lab", url)
    assert "s3cret" not in str(caught.value) + caught.value.hint
    assert not (store.path / "remotes.toml").exists()


@pytest.mark.parametrize("url", ["", "h:5000", "ftp://h", "http://", "http://h:x", "file://h/x", "http://[1"])
def test_what_is_not_a_url_is_refused(url: str, store: Store) -> None:
    with pytest.raises(UsageError):
        Remotes(store).add("lab", url)


UNREADABLE = ["not toml", "[remotes.x]\n", "remotes = 3\n", f"x = {'[' * 5000}", f"x = {'9' * 5000}\n"]
"""The last two end Python's own parser with something else than its own error."""


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: text[:12])
def test_a_file_that_cannot_be_read_is_reported_and_not_overwritten(text: str, store: Store) -> None:
    path = store.path / "remotes.toml"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"remotes\.toml"):
        Remotes(store).add("lab", "http://h")
    assert path.read_text() == text


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: text[:12])
def test_a_file_that_cannot_be_read_ends_commands_with_an_error_and_no_training(
    text: str,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (store.path / "remotes.toml").write_text(text)
    monkeypatch.setenv("MLTRACK_STORE", str(store.path))
    for words in (["sync"], ["status"], ["check"], ["remote", "ls"]):
        assert main(words) in (1, 5)
        out = capfd.readouterr()
        assert "remotes.toml" in out.out + out.err
        assert "Traceback" not in out.err
    monkeypatch.setenv("MLTRACK_SYNC", "1")
    mltrack.set_store(store.path)
    with mltrack.start_run() as run:
        run.log_metric("loss", 1)
    assert "remotes.toml" in caplog.text or text == "[remotes.x]\n"  # whose syncer says it in its own log


@pytest.mark.parametrize("url", ["http://[::1", "5", "-oProxyCommand=x", "http://h:99999999"])
def test_an_invalid_url_in_the_file_is_reported(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (store.path / "remotes.toml").write_text(f"[remotes.lab]\nurl = '{url}'\n")
    monkeypatch.setenv("MLTRACK_STORE", str(store.path))
    mltrack.set_store(store.path)
    with mltrack.start_run() as run:
        run.log_metric("loss", 1)
    for words in (["sync"], ["verify"]):
        assert main(words) == 2
        err = capfd.readouterr().err
        assert url in err
        assert "Traceback" not in err


def test_a_remote_given_as_a_url_gets_a_name() -> None:
    assert name_for("http://127.0.0.1:5000") == "127.0.0.1-5000"
    assert name_for("https://mlflow.example/x") == "mlflow.example"
    assert name_for("http://[::1]:80")


def test_a_setting_is_kept_in_the_file_and_removed_again_and_comments_stay(store: Store) -> None:
    remotes, path = Remotes(store), store.path / "remotes.toml"
    remotes.add("lab", "http://lab:5000")
    path.write_text(path.read_text() + "note = 'kept'  # with the lab\n")
    assert remotes.configure("lab", ["history=2000"]).history == 2000
    assert tomllib.loads(path.read_text())["remotes"]["lab"]["history"] == 2000
    assert remotes.configure("lab", ["history=whole"]).history == 0
    assert remotes.configure("lab", ["history="]).history is None
    assert "note = 'kept'  # with the lab" in path.read_text()
    assert remotes.all() == [Remote("lab", "http://lab:5000")]


@pytest.mark.parametrize("text", ["history=99", "history=-1", "history=2k", "history=1.5", "history=1000001"])
def test_a_history_that_is_not_a_number_of_points_is_refused(store: Store, text: str) -> None:
    remotes = Remotes(store)
    remotes.add("lab", "http://lab:5000")
    with pytest.raises(UsageError, match="is not a number of points"):
        remotes.configure("lab", [text])
    assert remotes.get("lab").history is None


@pytest.mark.parametrize("text", ["histroy=2000", "history", "=3"])
def test_what_is_not_a_setting_is_refused(store: Store, text: str) -> None:
    remotes = Remotes(store)
    remotes.add("lab", "http://lab:5000")
    with pytest.raises(UsageError, match="setting"):
        remotes.configure("lab", [text])


def test_a_setting_of_an_unknown_remote_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no remote 'lab'"):
        Remotes(store).configure("lab", ["history=2000"])


@pytest.mark.parametrize("value", ['"2000"', "true", "99", "-1", "[1]", "1" + "0" * 30])
def test_a_history_in_the_file_that_is_not_valid_is_an_error_that_names_it(store: Store, value: str) -> None:
    remotes = Remotes(store)
    remotes.add("lab", "http://lab:5000")
    path = store.path / "remotes.toml"
    path.write_text(path.read_text() + f"history = {value}\n")
    with pytest.raises(StoreError, match="history of remote 'lab' is not valid"):
        remotes.all()


def test_settings_are_given_on_the_command_line(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--store", str(store.path), "remote", "add", "lab", "http://lab:5000", "--history", "500"])
    assert Remotes(store).get("lab").history == 500
    main(["--store", str(store.path), "remote", "set", "lab", "history=2_000"])
    main(["--store", str(store.path), "remote", "ls"])
    assert "history=2000" in capsys.readouterr().out
