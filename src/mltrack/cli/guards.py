"""`mltrack watch` and `mltrack stop`: watch live runs by guards, and ask one to stop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.errors import UsageError
from mltrack.text.printing import Column, heading, note, print_json, print_table, say, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.entities import Alert
    from mltrack.guards.rules import Guard
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["alert_facts", "print_alerts", "say_alert", "stop", "watch"]


@command(
    "watch",
    "Watch live runs by rules that alert and act.",
    "mltrack watch",
    'mltrack watch --rule "loss is NaN" --rule "no point for 10 min" --stop --once',
    "mltrack watch spirals-1 --guards rules.toml --once",
)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option(
    "--guards",
    "guards_file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file with guards; by default the nearest mltrack.toml from the working folder upward.",
)
@click.option(
    "-r", "--rule", "rules", multiple=True, metavar="RULE", help="A rule, such as 'loss is NaN'; may be repeated."
)
@click.option("--stop", "stopping", is_flag=True, help="Runs in which a --rule fires are asked to stop.")
@click.option("--once", is_flag=True, help="Look at what there is now, and end.")
@json_option
@pass_session
def watch(
    session: Session,
    runs: tuple[str, ...],
    guards_file: Path | None,
    rules: tuple[str, ...],
    stopping: bool,
    once: bool,
    as_json: bool,
) -> None:
    """Watch the live runs of the store, or only RUNS, by the rules of mltrack.toml and of --rule, until Ctrl-C.

    Each alert is printed, recorded with its run, and acted on, once: another watcher, or this one when it is started
    again, does not repeat it.
    """
    from mltrack.cli.formatting import plural
    from mltrack.guards.store_watch import StoreWatch
    from mltrack.guards.watcher import POLL_S

    store = session.store()
    guards = _chosen_guards(guards_file, rules, stopping=stopping)
    only = [store.resolve(run) for run in runs]
    watching = StoreWatch(
        store,
        guards,
        only=only,
        on_alert=lambda run, alert: _print(run, alert, as_json=as_json),
        on_trouble=lambda words: say(f"mltrack: {words}", err=True),
    )
    watching.look()
    note(f"{plural(len(guards), 'rule')}, {plural(len(watching.watched), 'live run')} in {store.path}")
    try:
        while not once:
            time.sleep(POLL_S)
            watching.look()
    finally:
        watching.close()


def _chosen_guards(path: Path | None, rules: Sequence[str], *, stopping: bool) -> list[Guard]:
    """The guards of the file, and those of the command line.

    Raises:
        UsageError: there are none, or one is not understood.
    """
    from mltrack.guards.project_file import project_guards
    from mltrack.guards.rules import Guard, as_guards

    given: list[Guard | str] = [Guard(rule, stop=stopping) for rule in rules]
    found = project_guards(path) if path is not None or not rules else None
    if found is not None:
        for words in found.left_out:
            note(f"not used: {words}", style="yellow")
        given = [*found.guards, *given]
    if not given:
        raise UsageError(
            "there are no rules to watch by", hint='write [guards.NAME] in mltrack.toml, or: --rule "loss is NaN"'
        )
    return as_guards(given)


def _print(run: StoredRun, alert: Alert, *, as_json: bool) -> None:
    if as_json:
        print_json({"run_id": run.run_id, "run_name": run.info.run_name, **alert_facts(alert)}, line=True)
    else:
        say_alert(alert, of=f"{run.run_id[:8]} {run.info.run_name}: ")


def alert_facts(alert: Alert) -> dict[str, Any]:
    """An alert for --json."""
    from dataclasses import asdict

    from mltrack.text.figures import with_times

    return with_times(asdict(alert), ns=("time",))


def say_alert(alert: Alert, *, of: str = "", err: bool = False) -> None:
    """Print a line for an alert, with what is done about it."""
    from mltrack.cli.formatting import point_time

    done = f" [{', '.join(alert.actions)}]" if alert.actions else ""
    say(styled(f"{point_time(alert.time)} ! ", fg="red", bold=True), f"{of}{_named(alert)}{done}", err=err)


def _named(alert: Alert) -> str:
    return alert.message if alert.rule == alert.condition else f"{alert.rule}: {alert.message}"


def print_alerts(alerts: Sequence[Alert]) -> None:
    """Print a table of alerts below a heading."""
    from mltrack.cli.formatting import moment

    say()
    heading("Alerts")
    columns = [Column("time", drop=1), Column("rule", style="red", cut=True), Column("found", wrap=True)]
    rows = [
        (
            moment(one.time // 1_000_000),
            one.rule,
            one.message,
            ", ".join(f"{name} {outcome or 'not done yet'}" for name, outcome in one.actions.items()),
        )
        for one in alerts
    ]
    print_table([*columns, Column("actions", wrap=True)], rows)


@command("stop", "Ask a live run to stop.", 'mltrack stop spirals-1 --reason "the learning rate is too high"')
@click.argument("runs", type=RUN, nargs=-1, required=True, metavar="RUN...")
@click.option("--reason", default="mltrack stop", show_default=True, metavar="TEXT", help="Why; kept with the run.")
@pass_session
def stop(session: Session, runs: tuple[str, ...], reason: str) -> None:
    """Ask RUN to stop: `mltrack run` ends the program, and `run.should_stop` is true in it."""
    store = session.store()
    for run in [store.resolve(run) for run in runs]:
        store.stop_run(run, reason)
        say(f"{run[:8]} {store.run(run).info.run_name} is asked to stop")
    note("mltrack run ends its programs; others go on until they look at run.should_stop")
