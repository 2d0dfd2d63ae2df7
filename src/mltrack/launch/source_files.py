"""Finds the source files of a launched program, and what git knows of them."""

from __future__ import annotations

import os
import stat
import subprocess
import unicodedata
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.storage.source_contents import SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["GitState", "Sources", "find_sources", "git_state"]

FILE_BYTES_MAX = 5 << 20
"""A larger file is treated as data, not source, and excluded."""

FILES_MAX = 10_000
TOTAL_BYTES_MAX = 300 << 20
"""A folder beyond these limits is not a source folder; Azure Machine Learning's limit is 300 MB too."""

GIT_TIMEOUT_S = 20
DIFF_BYTES_MAX = 10 << 20

_SECRET_FILES = (
    *(".env", ".env.*", ".netrc", "_netrc", ".pypirc", ".git-credentials", "credentials", "credentials.json"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "secrets.*"),
)
_NOT_SOURCE = (
    *(
        ".git/",
        ".hg/",
        ".svn/",
        ".mltrack/",
        "mlruns/",
        "mlflow.db",
        "wandb/",
        "__pycache__/",
        "*.pyc",
        ".venv/",
        "venv/",
    ),
    *("node_modules/", ".tox/", ".nox/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".ipynb_checkpoints/"),
    *("*.egg-info/", ".DS_Store"),
)
_IGNORE_FILES = (".amlignore", ".gitignore")
_SCRIPTS = (".py", ".sh", ".ipynb", ".R", ".jl")


@dataclass(frozen=True, slots=True)
class Sources:
    """The files below ``root`` to keep, and those excluded, by name, with the reason."""

    root: Path
    files: list[SourceFile] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GitState:
    """What is checked out: ``diff`` is the difference of tracked files from the commit; names are git's."""

    root: Path
    commit: str
    branch: str
    remote: str
    diff: str
    untracked: frozenset[str]

    @property
    def dirty(self) -> bool:
        """Whether anything differs from the commit."""
        return bool(self.diff or self.untracked)


def git_state(folder: Path) -> tuple[GitState, list[str]] | None:
    """The state of the repository of ``folder``, and the names of its tracked and its untracked, not ignored files.

    None without git, a repository, or a commit.
    """
    answer = _git(folder, "rev-parse", "--show-toplevel", "HEAD", "--abbrev-ref", "HEAD")
    if answer is None or len(lines := answer.decode("utf-8", "surrogateescape").splitlines()) != 3:
        return None
    root = Path(lines[0])
    tracked = _names(_git(root, "ls-files", "-z", "--cached"))
    untracked = _names(_git(root, "ls-files", "-z", "--others", "--exclude-standard"))
    remote = (_git(root, "config", "--get", "remote.origin.url") or b"").decode("utf-8", "replace").strip()
    diff = (_git(root, "diff", "HEAD", "--no-color", "--no-ext-diff") or b"")[:DIFF_BYTES_MAX]
    ours = frozenset(name for name in untracked if not name.startswith((".mltrack/", "mlruns/")))
    branch = "" if lines[2] == "HEAD" else lines[2]
    state = GitState(root, lines[1], branch, remote, diff.decode("utf-8", "replace"), ours)
    return state, [*tracked, *sorted(ours)]


def _git(folder: Path, *words: str) -> bytes | None:
    """The output of a git command; None if it fails or git is missing. It changes nothing, not even git's index."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotepath=off", "-c", "core.fsmonitor=false", *words],
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _names(listed: bytes | None) -> list[str]:
    return [os.fsdecode(name) for name in (listed or b"").split(b"\0") if name]


def find_sources(
    folder: Path, names: Iterable[str] | None, root: Path | None = None, *, command: Sequence[str] = ()
) -> Sources:
    """The source files: those git lists, or all below ``folder``, without the ignored, secret and large ones.

    ``.amlignore`` and, without git, ``.gitignore`` are obeyed. A link to a file is kept as that file. Files that the
    command names are kept even if they are ignored; of a home folder or a whole disk, nothing else is.

    Args:
        folder: where the program runs.
        names: the files below ``root`` that git lists; None without git.
        root: the repository's root.
        command: the program's command.
    """
    found = Sources(root or folder)
    ignored = _ignoring(found.root, with_git=names is not None)
    named = _named(command, folder, found.root)
    if names is None:
        names = () if _is_home_or_root(folder) else _walk(folder, ignored)
    total = 0
    for name in dict.fromkeys(chain(named, names)):
        if name not in named and ignored(name):
            continue
        path = found.root / name
        reason, file = _look(path, name)
        if file is not None and total + file.size > TOTAL_BYTES_MAX:
            reason = f"the files are larger than {TOTAL_BYTES_MAX >> 20} MiB together"
        elif file is not None and len(found.files) >= FILES_MAX:
            reason = f"there are more than {FILES_MAX:,} files"
        if reason:
            if len(found.excluded) < FILES_MAX:
                found.excluded[name] = reason
        elif file is not None:
            total += file.size
            found.files.append(file)
    return found


def _named(command: Sequence[str], folder: Path, root: Path) -> list[str]:
    """The names below ``root`` of the scripts that a command names."""
    found = []
    for word in command:
        path = Path(os.path.normpath(folder / word))
        if path.suffix in _SCRIPTS and path.is_relative_to(root) and path.is_file():
            found.append(path.relative_to(root).as_posix())
    return found


def _is_home_or_root(folder: Path) -> bool:
    """Whether a folder is a file system's root or the user's home, which hold more than source."""
    resolved = folder.resolve()
    try:
        home = Path.home().resolve()
    except (OSError, RuntimeError):  # the user has none
        home = None
    return resolved == home or (os.path.ismount(resolved) and resolved == Path(resolved.anchor))


def _look(path: Path, name: str) -> tuple[str, SourceFile | None]:
    try:
        about = os.lstat(path)
        link = stat.S_ISLNK(about.st_mode)
        target = os.path.realpath(path) if link else path
        if link:
            about = os.stat(path)
    except OSError:
        return "", None  # deleted, but git still lists it: the diff has that
    if stat.S_ISDIR(about.st_mode):
        return "a link to a folder" if link else "another repository", None
    if not stat.S_ISREG(about.st_mode):
        return "not a regular file", None
    if not name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in name):
        return "its name holds a control character", None
    if _is_secret_file(path.name) or _is_secret_file(os.path.basename(target)):
        return "it may hold secrets", None
    if about.st_size > FILE_BYTES_MAX:
        return f"larger than {FILE_BYTES_MAX >> 20} MiB", None
    return "", SourceFile(path, name, about.st_size, about.st_mtime_ns, about.st_mode)


def _is_secret_file(name: str) -> bool:
    from fnmatch import fnmatchcase

    if name.endswith((".pub", ".example", ".sample", ".template")):
        return False
    return any(fnmatchcase(name.lower(), pattern) for pattern in _SECRET_FILES)


def _ignoring(root: Path, *, with_git: bool) -> Callable[[str], bool]:
    """Returns a function: whether a name below the root (a folder's ends in "/") is ignored."""
    import pathspec

    lines = list(_NOT_SOURCE)
    for name in _IGNORE_FILES[:1] if with_git else _IGNORE_FILES:
        try:
            lines += (root / name).read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
    try:
        return pathspec.GitIgnoreSpec.from_lines(lines).match_file
    except ValueError:  # git ignores an invalid pattern
        return pathspec.GitIgnoreSpec.from_lines(filter(_is_pattern, lines)).match_file


def _is_pattern(line: str) -> bool:
    import pathspec

    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _walk(folder: Path, ignored: Callable[[str], bool]) -> Iterator[str]:
    """Names below a folder without a repository, up to a limit; other file systems in it are skipped."""
    seen = 0
    device = os.stat(folder).st_dev
    for here, folders, files in os.walk(folder):
        relative = Path(here).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not ignored(f"{prefix}{name}/") and _is_on(device, os.path.join(here, name))
        )
        for name in sorted(files):
            yield prefix + name
            seen += 1
            if seen > 2 * FILES_MAX:
                return


def _is_on(device: int, folder: str) -> bool:
    try:
        return os.lstat(folder).st_dev == device
    except OSError:
        return False
