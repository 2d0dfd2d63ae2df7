"""The snapshot of a launched run: the source as it was, once per content, and everything to run it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mltrack import Store
from mltrack.cli import main
from mltrack.launch.packages import environment_files, installed, interpreter_of
from mltrack.launch.source_files import FILE_BYTES_MAX, find_sources, git_state
from mltrack.storage.source_contents import Contents, SourceFile

KEY = "q7Xw9" + "Zr4Tn2Lk8Vb3Ym6"  # no real one


def git(folder: Path, *words: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A committed program, with changes, an untracked file, an ignored one, and one that holds secrets."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    write(folder, {"train.py": "import model\n", "pkg/model.py": "layers = 2\n", ".gitignore": "*.ckpt\n"})
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "remote", "add", "origin", f"https://me:{KEY}@host.invalid/x.git")
    write(folder, {"pkg/model.py": f'layers = 3\napi_key = "{KEY}"\n', "größe.txt": "new\n"})
    write(folder, {"weights.ckpt": "ignored", ".env": f"API_KEY={KEY}"})
    return folder


def launch(folder: Path, *words: str, options: tuple[str, ...] = (), **env: str) -> None:
    command = [sys.executable, "-m", "mltrack", "run", "--no-system-metrics", "--no-watch", *options, "--", *words]
    held = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
    done = subprocess.run(command, cwd=folder, env={**held, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def artifact(store: Store, name: str) -> Any:
    (run,) = store.runs()
    return run.artifact_path(name).read_text("utf-8")


# --- the files ---


def test_a_git_snapshot_has_the_files_their_changes_and_their_origin(repository: Path) -> None:
    found = git_state(repository / "pkg")
    assert found is not None
    state, names = found
    assert state.root == repository
    assert state.branch == "trunk"
    assert len(state.commit) == 40
    assert "+layers = 3" in state.diff
    assert state.untracked == {"größe.txt", ".env"}
    assert set(names) == {"train.py", "pkg/model.py", ".gitignore", "größe.txt", ".env"}


def test_a_folder_without_git_is_walked_respecting_ignore_files(tmp_path: Path) -> None:
    files = {
        "train.py": "",
        "data/big.bin": "x",
        "data/keep.txt": "",
        "a/b/c.py": "",
        "logs/x.txt": "",
        ".hidden/y": "",
    }
    write(
        tmp_path, files | {"__pycache__/x.pyc": "", ".amlignore": "data/*\n!data/keep.txt\n", ".gitignore": "logs/\n"}
    )
    names = {file.name for file in find_sources(tmp_path, None).files}
    assert names == {"train.py", "data/keep.txt", "a/b/c.py", ".amlignore", ".gitignore"}


def test_secret_and_large_files_are_left_out_and_named(tmp_path: Path) -> None:
    write(
        tmp_path, {"train.py": "", ".env": "K=1", "id_rsa": "", ".env.example": "K=", "secrets.yaml": "", "a.pem": ""}
    )
    (tmp_path / "data.bin").write_bytes(bytes(FILE_BYTES_MAX + 1))
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    found = find_sources(tmp_path, None)
    assert {file.name for file in found.files} == {"train.py", ".env.example"}
    assert found.excluded == {
        ".env": "it may hold secrets",
        "a.pem": "it may hold secrets",
        "id_rsa": "it may hold secrets",
        "secrets.yaml": "it may hold secrets",
        "data.bin": "larger than 5 MiB",
        "pipe": "not a regular file",
    }


def test_a_listed_file_that_is_gone_is_not_an_error(tmp_path: Path) -> None:
    assert find_sources(tmp_path, ["gone.py"]).files == []


# --- their contents ---


def source(folder: Path, name: str) -> SourceFile:
    about = (folder / name).stat()
    return SourceFile(folder / name, name, about.st_size, about.st_mtime_ns, about.st_mode)


def packs(store: Path) -> list[Path]:
    return sorted((store / "sources").glob("*.zip"))


def test_each_content_is_stored_once_whatever_its_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "same", "b.py": "same", "c.py": "other"})
    store = tmp_path / "store"
    kept = Contents(store).keep(tmp_path, [source(tmp_path, name) for name in ("a.py", "b.py")])
    assert kept["a.py"].sha256 == kept["b.py"].sha256
    Contents(store).keep(tmp_path, [source(tmp_path, name) for name in ("a.py", "c.py")])
    Contents(store).keep(tmp_path / "elsewhere", [source(tmp_path, "c.py")])
    names = [name for pack in packs(store) for name in zipfile.ZipFile(pack).namelist()]
    assert len(names) == len(set(names)) == 2
    assert Contents(store).read(kept["a.py"].sha256) == b"same"


def test_a_changed_file_is_read_again_and_an_old_one_is_not(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "one"})
    store = tmp_path / "store"
    os.utime(tmp_path / "a.py", ns=(10**18, 10**18))
    first = Contents(store).keep(tmp_path, [source(tmp_path, "a.py")])
    (tmp_path / "a.py").write_text("two")
    os.utime(tmp_path / "a.py", ns=(10**18, 10**18))  # of the same size and time, it is taken for the same
    assert Contents(store).keep(tmp_path, [source(tmp_path, "a.py")]) == first
    os.utime(tmp_path / "a.py", ns=(10**18 + 1, 10**18 + 1))
    second = Contents(store).keep(tmp_path, [source(tmp_path, "a.py")])
    assert Contents(store).read(second["a.py"].sha256) == b"two"


def test_a_file_that_changed_just_now_is_always_read_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    write(tmp_path, {"a.py": "one"})
    about = source(tmp_path, "a.py")
    Contents(store).keep(tmp_path, [about])
    (tmp_path / "a.py").write_text("two")
    os.utime(tmp_path / "a.py", ns=(about.mtime_ns, about.mtime_ns))
    kept = Contents(store).keep(tmp_path, [source(tmp_path, "a.py")])
    assert Contents(store).read(kept["a.py"].sha256) == b"two"


def test_contents_whose_pack_is_gone_or_damaged_are_stored_again(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "one"})
    os.utime(tmp_path / "a.py", ns=(10**18, 10**18))
    store = tmp_path / "store"
    kept = Contents(store).keep(tmp_path, [source(tmp_path, "a.py")])
    packs(store)[0].unlink()
    assert Contents(store).keep(tmp_path, [source(tmp_path, "a.py")]) == kept
    assert Contents(store).read(kept["a.py"].sha256) == b"one"


# --- the environment ---


def test_the_interpreter_of_a_script_is_found(tmp_path: Path) -> None:
    assert interpreter_of([sys.executable, "train.py"]) == sys.executable
    script = tmp_path / "torchrun"
    script.write_text(f"#!{sys.executable}\nprint()\n")
    script.chmod(0o755)
    assert interpreter_of([str(script)]) == sys.executable
    assert interpreter_of(["sh", "-c", "true"]) is None
    assert interpreter_of(["./any", sys.executable]) is None
    assert interpreter_of(["bash", "-c", f"cd /tmp; X=1 {sys.executable} 'a b.py' && true"]) == sys.executable
    assert interpreter_of(["bash", "-ec", f"exec {script} train.py"]) == sys.executable
    assert interpreter_of(["srun", "--nodes", "2", str(script), "train.py"]) == sys.executable
    assert interpreter_of(["env", "X=1", sys.executable, "train.py"]) == sys.executable


def test_installed_packages_are_listed_with_versions_and_determined_once(tmp_path: Path) -> None:
    told = installed(sys.executable, tmp_path / "cache")
    assert told is not None
    lines = environment_files(told)["requirements.txt"].splitlines()
    import duckdb

    assert f"duckdb=={duckdb.__version__}" in lines
    (cached,) = (tmp_path / "cache").iterdir()
    marked = json.loads(cached.read_text())
    marked["found"]["packages"] = []
    cached.write_text(json.dumps(marked))
    assert installed(sys.executable, tmp_path / "cache") == marked["found"]


def test_packages_from_other_sources_are_listed_as_pip_accepts_them() -> None:
    vcs = {"url": "https://host.invalid/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    told = {
        "python": "3.11.7",
        "packages": [
            ["a", "1", None],
            ["b", "2", vcs],
            ["c", "3", {"url": "https://host.invalid/c.whl", "archive_info": {}}],
            ["d", "4", {"url": "file:///home/me/d", "dir_info": {"editable": True}}],
        ],
    }
    assert environment_files(told)["requirements.txt"].splitlines()[1:] == [
        "a==1",
        "b @ git+https://host.invalid/x.git@abc",
        "c @ https://host.invalid/c.whl",
        "# d==4 (editable, from a folder of the machine it ran on)",
    ]


# --- all of it ---


def test_a_launched_run_stores_everything_needed_to_run_it_again(repository: Path, tmp_path: Path) -> None:
    launch(repository / "pkg", sys.executable, "-c", "print(open('model.py').readline())", "--token", KEY, X_TOKEN=KEY)
    store = Store.open(repository / "pkg" / ".mltrack")
    (run,) = store.runs()
    assert run.tags["mlflow.source.git.branch"] == "trunk"
    assert run.tags["mltrack.git.dirty"] == "true"
    assert run.tags["mlflow.source.git.repoURL"] == "https://me:[redacted]@host.invalid/x.git"
    told = json.loads(artifact(store, "environment/launch.json"))
    assert told["folder"] == "pkg"
    assert told["command"][-2:] == ["--token", "[redacted]"]
    assert told["machine"]["cpu_threads"] == os.cpu_count()
    assert "+layers = 3" in artifact(store, "code/changes.diff")

    again = tmp_path / "again"
    assert main(["--store", str(store.path), "reproduce", run.run_id, "--to", str(again)]) == 3  # .env is not there
    assert (again / "pkg" / "model.py").read_text() == (repository / "pkg" / "model.py").read_text()
    assert (again / "größe.txt").read_text() == "new\n"
    assert not (again / ".env").exists()
    assert not (again / "weights.ckpt").exists()
    done = subprocess.run(["sh", "mltrack-run/command.sh"], cwd=again, capture_output=True, text=True)
    assert done.stdout == "layers = 3\n\n"


def test_a_program_started_by_an_interpreters_path_is_reproduced_with_the_rebuilt_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.py").write_text("import sys; print(sys.argv[1:])", "utf-8")
    launch(folder, sys.executable, "train.py", "a b")
    store = Store.open(folder / ".mltrack")
    (run,) = store.runs()
    needs = run.artifact_path("environment/requirements.txt")
    needs.write_text("# Python 3.11.7\na==1\n# b==2 (from a folder of the machine it ran on)\n", "utf-8")
    capsys.readouterr()
    assert main(["--store", str(store.path), "reproduce", run.run_id, "--to", str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    assert "# install by hand: b==2 (from a folder of the machine it ran on)\n" in said
    assert "Python 3.11.7" not in said
    script = (tmp_path / "again" / "mltrack-run" / "command.sh").read_text("utf-8")
    assert script.endswith("\npython train.py 'a b'\n")


def test_no_secret_is_in_any_file_of_the_store_except_the_sources(repository: Path) -> None:
    launch(
        repository,
        "sh",
        "-c",
        "true",
        KEY,
        options=("-p", f"api_key={KEY}", "-p", "use_cls_token=yes-please"),
        MY_SECRET=KEY,
    )
    store = Store.open(repository / ".mltrack")
    (run,) = store.runs()
    assert run.params == {"api_key": "[redacted]", "use_cls_token": "yes-please"}
    for path in store.path.rglob("*"):
        if path.is_file() and path.suffix != ".zip":
            assert KEY.encode() not in path.read_bytes(), path


def test_runs_of_the_same_code_share_the_list_of_files(repository: Path) -> None:
    for _ in range(2):
        launch(repository, "true")
    store = Store.open(repository / ".mltrack")
    inodes = {run.artifact_path("code/files.json").stat().st_ino for run in store.runs()}
    assert len(inodes) == 1
    assert len(packs(store.path)) == 1


@pytest.mark.slow
def test_a_continued_run_has_the_snapshot_of_its_last_launch(repository: Path) -> None:
    launch(repository, "true", options=("-n", "job"))
    (repository / "train.py").write_text("print('changed')\n")
    for _ in range(2):
        launch(repository, "true", options=("--resume", "job"))
    store = Store.open(repository / ".mltrack")
    assert "+print('changed')" in artifact(store, "code/changes.diff")
    assert not list((next(store.runs()).folder.path / "live").glob("std_log*"))


def test_a_snapshot_that_cannot_be_extracted_is_reported(repository: Path, tmp_path: Path, capsys: Any) -> None:
    launch(repository, "true", options=("--no-snapshot", "-n", "bare"))
    store = str(repository / ".mltrack")
    assert main(["--store", store, "reproduce", "bare", "--to", str(tmp_path / "x")]) == 4
    assert "has no snapshot" in capsys.readouterr().err
    launch(repository, "true", options=("-n", "whole"))
    assert main(["--store", store, "reproduce", "whole", "--to", str(repository)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_snapshot_never_writes_outside_of_the_folder(repository: Path, tmp_path: Path, capsys: Any) -> None:
    launch(repository, "true", options=("-n", "run"))
    store = Store.open(repository / ".mltrack")
    path = next(store.runs()).artifact_path("code/files.json")
    listing = json.loads(path.read_text())
    listing["files"] = {"../../evil.py": next(iter(listing["files"].values()))}
    path.unlink()
    path.write_text(json.dumps(listing))
    assert main(["--store", str(store.path), "reproduce", "run", "--to", str(tmp_path / "a" / "b")]) == 2
    assert not (tmp_path / "evil.py").exists()
    assert "../../evil.py" in capsys.readouterr().err


# --- odd folders ---


def test_in_a_home_folder_only_the_script_that_is_run_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"train.py": "", "letters/private.txt": "", "notes.md": ""})
    monkeypatch.setenv("HOME", str(tmp_path))
    found = find_sources(tmp_path, None, command=["python", "train.py", "--lr", "0.1"])
    assert [file.name for file in found.files] == ["train.py"]
    assert find_sources(Path("/"), None).files == []


def test_the_script_that_is_run_is_stored_even_if_it_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "", "other.py": "", ".gitignore": "*\n"})
    found = find_sources(tmp_path, None, command=["python", "./train.py", "../elsewhere.py"])
    assert [file.name for file in found.files] == ["train.py"]


def test_an_invalid_pattern_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "", "data.bin": "", ".gitignore": "!\n***/[\n*.bin\n"})
    assert {file.name for file in find_sources(tmp_path, None).files} == {"train.py", ".gitignore"}


def test_unusual_names_and_links_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(folder, {"train.py": "", "two\nlines.py": "", ".env": "K=1"})
    (tmp_path / "shared.py").write_text("shared")
    (folder / "shared.py").symlink_to("../shared.py")
    (folder / "settings.txt").symlink_to(".env")
    (folder / "self").symlink_to(".")
    (folder / "round").symlink_to("round")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.py"))).write_text("no utf-8")
    found = find_sources(folder, ["self", *(path.name for path in folder.iterdir() if path.name != "self")])
    assert {file.name for file in found.files} == {"train.py", "shared.py", "\udcff.py"}
    assert found.excluded == {
        "two\nlines.py": "its name holds a control character",
        ".env": "it may hold secrets",
        "settings.txt": "it may hold secrets",
        "self": "a link to a folder",
    }


def test_a_launch_with_words_and_names_that_are_not_text_is_extracted_again(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    odd = os.fsdecode(b"\xff.py")
    (folder / odd).write_text("import sys; print(ascii(sys.argv))")
    launch(folder, sys.executable, odd)
    again = tmp_path / "again"
    store = folder / ".mltrack"
    (run,) = Store.open(store).runs()
    assert main(["--store", str(store), "reproduce", run.run_id, "--to", str(again)]) == 0
    done = subprocess.run(["sh", "mltrack-run/command.sh"], cwd=again, capture_output=True, text=True)
    assert done.stdout == "['\\udcff.py']\n"


def test_an_interpreter_given_by_a_relative_path_is_inspected(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    (tmp_path / "work").mkdir()
    assert interpreter_of(["../python3", "x.py"], folder=tmp_path / "work") == str(tmp_path / "python3")


def test_secrets_in_the_urls_of_packages_are_stored_nowhere(tmp_path: Path) -> None:
    about = tmp_path / "site" / "mine-1.dist-info"
    write(about, {"METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1\n"})
    origin = {"url": f"https://{KEY}@host.invalid/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    write(about, {"direct_url.json": json.dumps(origin)})
    told = installed(sys.executable, tmp_path / "cache", env={**os.environ, "PYTHONPATH": str(tmp_path / "site")})
    assert told is not None
    assert ["mine", "1", {**origin, "url": "https://[redacted]@host.invalid/x.git"}] in told["packages"]
    for path in (tmp_path / "cache").iterdir():
        assert KEY not in path.read_text()


def test_secrets_in_tags_given_at_a_launch_are_redacted(tmp_path: Path) -> None:
    options = ("--no-snapshot", "-t", f"api_token={KEY}", "-t", f"from=https://{KEY}@host.invalid/x", "-t", "team=blue")
    launch(tmp_path, "true", options=options)
    (run,) = Store.open(tmp_path / ".mltrack").runs()
    assert run.tags["api_token"] == "[redacted]"
    assert run.tags["from"] == "https://[redacted]@host.invalid/x"
    assert run.tags["team"] == "blue"
