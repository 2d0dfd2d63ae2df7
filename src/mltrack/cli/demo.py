"""`mltrack demo`: from a training without a network to a comparison with an MLflow server."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import command, json_option
from mltrack.cli.exit_codes import FAILURE
from mltrack.disk.store_path import folder_of, working_folder
from mltrack.errors import UsageError
from mltrack.extras import need
from mltrack.process.shutdown import ShutdownSignal
from mltrack.text.printing import Column, console, heading, is_terminal, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.demo.compare import Counts
    from mltrack.demo.training import Recording, Trial
    from mltrack.store import Store

__all__ = ["demo"]

FOLDER = "mltrack-demo"
UI_PORT = 5000


@command("demo", "See it all work, in about a minute.", "mltrack demo --no-sync --points 2000 --discard")
@click.option(
    "--keep", metavar="DIR", type=click.Path(), help=f"The folder to work in, new or empty.  [default: {FOLDER}]"
)
@click.option("--discard", is_flag=True, help="Work in a temporary folder and remove it at the end.")
@click.option("--port", type=click.IntRange(1, 65535), help="The MLflow server's port; by default a free one.")
@click.option("--no-sync", is_flag=True, help="Only train and list; no server, no sync.")
@click.option(
    "--points",
    type=click.IntRange(min=500),
    default=100_000,
    show_default=True,
    help="How many to record, about.",
)
@json_option
@click.pass_context
def demo(
    ctx: click.Context, keep: str | None, discard: bool, port: int | None, no_sync: bool, points: int, as_json: bool
) -> None:
    """See it all work, in about a minute, on this machine alone.

    Trains a few small networks on made-up data and records them; starts an MLflow server on this machine; syncs the
    runs to it; reads them back and compares; ends the server.
    """
    if keep and discard:
        raise UsageError("--keep and --discard can't be used together", hint="choose one")
    if not no_sync:
        need("mlflow", "the demo's server", instead="or skip the server: mltrack demo --no-sync")
    with ShutdownSignal(raises=True) as shutdown, _folder(keep, discard) as folder:  # the server ends then, too
        steps = _Steps(as_json, shutdown)
        store, recording = _record(steps, folder, points)
        facts: dict[str, Any] = {"store": str(store.path), "recorded": _facts_of(recording)}
        same = True
        if not no_sync:
            same = _sync(steps, store, folder, port, facts)
        if as_json:
            print_json({**facts, "equal": same})
        elif not discard:
            _print_next(folder, store, synced=not no_sync)
    if not same:
        ctx.exit(FAILURE)


class _Steps:
    """Prints the progress, unless JSON is printed; a step begins only if no signal to end came."""

    def __init__(self, quiet: bool, shutdown: ShutdownSignal) -> None:
        self.quiet = quiet
        self.shutdown = shutdown
        self._number = 0

    def begin(self, text: str) -> None:
        """A headline, numbered."""
        self.shutdown.check()
        self._number += 1
        if not self.quiet:
            say()
            heading(f"{self._number}. {text}")

    def say(self, text: str) -> None:
        """A line below it."""
        self.shutdown.check()
        if not self.quiet:
            say(f"   {text}")


# --- the folder ---


@contextlib.contextmanager
def _folder(keep: str | None, discard: bool) -> Iterator[Path]:
    if discard:
        with tempfile.TemporaryDirectory(prefix="mltrack-demo-") as temporary:
            yield Path(temporary)
        return
    if keep is not None:
        folder = folder_of(keep, "--keep")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} already exists", hint="name a new folder with --keep")
    else:
        here = working_folder()
        names = (here / (FOLDER if number == 1 else f"{FOLDER}-{number}") for number in range(1, 10_000))
        folder = next(name for name in names if not name.exists())
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


# --- the steps ---


def _record(steps: _Steps, folder: Path, points: int) -> tuple[Store, Recording]:
    from mltrack.cli.run_table import points_of, print_runs
    from mltrack.cli.select import find_runs
    from mltrack.demo.training import EXPERIMENT, sweep, trials
    from mltrack.recording.current_store import set_store
    from mltrack.store import Store

    plan = trials(points)
    steps.begin(f"Training {len(plan)} small networks, offline, recording into {_short(folder / '.mltrack')}")
    set_store(folder / ".mltrack")
    began = time.monotonic()
    try:
        with _training_bar(steps, plan) as (done, advanced):
            recording = sweep(plan, done=done, advanced=advanced)
    finally:
        set_store(None)
    steps.say(
        f"{recording.points:,} points in {time.monotonic() - began:.1f} s of training; recording took "
        f"{recording.share:.1%} of it ({recording.points_per_second:,.0f} points/s)"
    )
    store = Store.open(folder / ".mltrack")
    if not steps.quiet:
        steps.begin(f"Listing the runs: mltrack ls --experiment {EXPERIMENT}")
        say()
        runs = find_runs(store, experiments=[EXPERIMENT])
        print_runs(runs, points_of(store, runs), ["val_accuracy", "val_loss"])
    return store, recording


@contextlib.contextmanager
def _training_bar(steps: _Steps, plan: list[Trial]) -> Iterator[tuple[Any, Any]]:
    def line(trial: Trial, accuracy: float) -> None:
        steps.say(f"{trial.name:<12} validation accuracy {accuracy:.3f}")

    if steps.quiet or not is_terminal():
        yield line, lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("   {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("training", total=sum(trial.steps for trial in plan))
        yield (
            lambda trial, accuracy: progress.console.print(f"   {trial.name:<12} validation accuracy {accuracy:.3f}"),
            lambda count: progress.advance(task, count),
        )


def _sync(steps: _Steps, store: Store, folder: Path, port: int | None, facts: dict[str, Any]) -> bool:
    from mltrack.cli.formatting import plural
    from mltrack.demo.compare import count_local
    from mltrack.demo.server import mlflow_server
    from mltrack.demo.training import EXPERIMENT

    steps.begin("Starting an MLflow server on this machine")
    with mlflow_server(folder / "mlflow", port, shutdown=steps.shutdown) as url:
        steps.say(f"{url} (its log: {_short(folder / 'mlflow' / 'server.log')})")
        steps.begin("Syncing: mltrack sync demo")
        facts["sync"] = first = _push(steps, store, url)
        sent = ", ".join(plural(first[f"{kind}s"], kind) for kind in ("run", "point", "artifact"))
        steps.say(f"{sent} in {first['seconds']:.1f} s")
        steps.begin("Reading back from the server and comparing")
        local, remote = count_local(store, EXPERIMENT), _count_remote(url, store, EXPERIMENT)
        same = local.rows() == remote.rows()
        facts["local"], facts["remote"] = dict(local.rows()), dict(remote.rows())
        if not steps.quiet:
            _print_counts(local, remote)
        steps.begin("Syncing again: there should be nothing to send")
        facts["sync_again"] = again = _push(steps, store, url)
        sent = ", ".join(plural(again[f"{kind}s"], kind) for kind in ("point", "artifact"))
        steps.say(f"{sent} sent in {again['seconds']:.1f} s")
    return same and not again["points"] and not again["artifacts"]


def _count_remote(url: str, store: Store, experiment: str) -> Counts:
    from mltrack.demo.compare import count_remote
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.http.transport import Transport
    from mltrack_sync.mlflow.provider import MlflowWorkspace

    workspace = MlflowWorkspace(url)
    with contextlib.closing(Transport(workspace, policy=RetryPolicy())) as transport:
        return count_remote(workspace.client(transport), store, experiment)


def _push(steps: _Steps, store: Store, url: str) -> dict[str, Any]:
    from mltrack_sync import Remotes, push
    from mltrack_sync.progress import BarProgress

    remote = Remotes(store).add("demo", url)
    if steps.quiet or not is_terminal():
        report = push(store, remote)
    else:
        with BarProgress(console()) as bar:
            report = push(store, remote, progress=bar)
    for problem in report.problems:
        steps.say(f"problem: {problem}")
    for item in report.rejected:
        steps.say(f"rejected: {item.kind} {item.key}: {item.reason}")
    names = ("runs", "points", "artifacts", "bytes", "requests", "seconds")
    return {name: getattr(report, name) for name in names}


def _print_counts(local: Counts, remote: Counts) -> None:
    from rich.text import Text

    pretty = is_terminal()
    say()
    rows = []
    for (name, ours), (_, theirs) in zip(local.rows(), remote.rows(), strict=True):
        equal = ours == theirs
        mark: Any = "✓" if equal else "DIFFERS"
        if pretty:
            mark = Text(mark, style="bold green" if equal else "bold red")
        rows.append((name, f"{ours:,}", f"{theirs:,}", mark))
    print_table([Column(""), Column("local", right=True), Column("remote", right=True), Column("equal")], rows)


def _facts_of(recording: Recording) -> dict[str, Any]:
    return {
        "points": recording.points,
        "points_per_second": round(recording.points_per_second),
        "share_of_training": round(recording.share, 5),
    }


def _print_next(folder: Path, store: Store, *, synced: bool) -> None:
    from mltrack.demo.server import server_command

    place, python, called = shlex.quote(_short(store.path)), _how_to_call(Path(sys.executable)), Path(sys.argv[0])
    mltrack = _how_to_call(called) if called.name == "mltrack" else f"{python} -m mltrack"
    say()
    heading("Where to look next")
    lines = [
        (f"{mltrack} --store {place} ls", "the runs"),
        (f"{mltrack} --store {place} metrics h32-lr0.01 val_loss", "a curve"),
        (f"{mltrack} --store {place} compare h8-lr0.01 h32-lr0.01", "two of them side by side"),
    ]
    if synced:
        line = f"{python} {shlex.join(server_command(Path(_short(folder / 'mlflow')), UI_PORT))}"
        lines.append((line, f"the runs in MLflow's UI, at http://127.0.0.1:{UI_PORT}"))
    lines.append((f"rm -r {shlex.quote(_short(folder))}", "remove everything the demo made"))
    for line, what in lines:
        say(f"   # {what}")
        say(f"   {line}")


def _how_to_call(program: Path) -> str:
    """How the user can call a program: by its name if that finds it, else by its path."""
    found = shutil.which(program.name)
    if found is not None and Path(found) == program.absolute():
        return program.name
    return shlex.quote(_short(program.absolute()))


def _short(path: Path) -> str:
    """Relative to the working folder if it is in it."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
