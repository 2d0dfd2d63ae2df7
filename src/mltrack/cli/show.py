"""`mltrack show`: everything about a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.text.figures import utc_ns, with_times
from mltrack.text.printing import Column, heading, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from mltrack.entities import WriterInfo
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack.text.printing import Cell

__all__ = ["show"]

VALUE_CHARACTERS_MAX = 4_000
"""Of a param's or tag's value, in a terminal; as many as a traceback that is kept may have, whose end says most."""


@command("show", "Show everything about a run.", "mltrack show spirals-1", "mltrack show spirals-1 --json")
@click.argument("run", type=RUN)
@json_option
@pass_session
def show(session: Session, run: str, as_json: bool) -> None:
    """Show everything about RUN (an id, its first digits, a name, or @last)."""
    store = session.store()
    stored = store.run(run)
    if as_json:
        print_json(_everything(stored))
        return
    _print_head(stored)
    if stored.alerts():
        from mltrack.cli.guards import print_alerts

        print_alerts(stored.alerts())
    _print_pairs("Params", stored.params)
    _print_pairs("Tags", stored.tags)
    _print_metrics(stored)
    _print_datasets(stored)
    _print_models(store, stored)
    _print_artifacts(stored)
    _print_writers(stored)


def _everything(run: StoredRun) -> dict[str, Any]:
    from dataclasses import asdict

    from mltrack.cli.guards import alert_facts
    from mltrack.cli.select import run_facts

    return {
        **run_facts(run, run.point_count),
        "metrics": {key: with_times(asdict(summary), ns=("time",)) for key, summary in sorted(run.summaries.items())},
        "datasets": [
            {**asdict(used.dataset), "context": used.context, "tags": dict(used.tags)} for used in run.datasets
        ],
        "model_inputs": run.model_inputs,
        "model_outputs": [asdict(made) for made in run.model_outputs],
        "artifacts": [with_times(asdict(artifact), ns=("time",)) for artifact in run.artifacts],
        "writers": [{**with_times(asdict(w), ns=("opened",)), "position": w.position._asdict()} for w in run.writers()],
        "lost": run.lost,
        "lost_artifacts": [{"path": path, "reason": reason} for path, reason in run.lost_artifacts.items()],
        "alerts": [alert_facts(alert) for alert in run.alerts()],
        **_history(run),
        **({} if run.state.elsewhere is None else {"elsewhere": with_times(asdict(run.state.elsewhere), ns=("time",))}),
        "damage": [str(error) for error in [*run.state.damage, *run.damage]],
    }


def _history(run: StoredRun) -> dict[str, Any]:
    """Its rewinds, and where it was forked from."""
    visibility = run.visibility
    if visibility is None:
        return {"rewinds": [], "forked_from": None}
    fork = visibility.fork
    return {
        "rewinds": [{"step": r.step, "time": utc_ns(r.time), "undone": r.undone} for r in visibility.rewinds],
        "forked_from": None if fork is None else {"run_id": fork.run_id, "step": fork.step},
    }


def _print_head(run: StoredRun) -> None:
    from mltrack.cli.formatting import ago, count, moment, plural, run_time, state

    info, now_ms = run.info, time.time_ns() // 1_000_000
    elsewhere = run.state.elsewhere
    rows: list[tuple[str, Cell]] = [
        ("run", info.run_name),
        ("id", info.run_id),
        ("experiment", f"{info.experiment_name} ({info.experiment_id})"),
        ("status", state(info, elsewhere, now_ms)),
        ("started", f"{moment(info.start_time)} ({ago(info.start_time, now_ms)})"),
        ("duration", run_time(info, elsewhere, now_ms)),
        ("points", count(run.point_count)),
        ("artifacts", info.artifact_uri),
    ]
    visibility = run.visibility
    if visibility is not None and visibility.fork is not None:
        rows.append(("forked from", f"{visibility.fork.run_id} at step {visibility.fork.step}"))
    for one in visibility.in_force if visibility is not None else []:
        rows.append(("rewound", f"to step {one.step}, {ago(one.time // 1_000_000, now_ms)}"))
    if info.parent_run_id:
        rows.append(("parent", info.parent_run_id))
    if info.user_id:
        rows.append(("user", info.user_id))
    if run.lost:
        rows.append(("lost", f"{plural(run.lost, 'point')}, as the disk was full or failing"))
    for path, reason in run.lost_artifacts.items():
        rows.append(("lost", f"artifact {path}: {reason}"))
    shown = [row for row in rows if row[1]]
    print_table([Column("", style="dim"), Column("", wrap=True)], shown, headings=False)
    if elsewhere is not None:
        note("this is a copy, made while the run was recorded: pull or sync again to see how it went on")
    damage = [*run.state.damage, *run.damage]
    if damage:
        note(f"{plural(len(damage), 'damaged place')}: see mltrack check {run.run_id}", style="red")


def _print_pairs(title: str, pairs: dict[str, str]) -> None:
    """Names with their values; below them those of several lines, such as a traceback, line by line."""
    short = {key: value for key, value in pairs.items() if "\n" not in value.strip()}
    if short:
        say()
        heading(title)
        columns = [Column("", style="cyan", wrap=True), Column("", wrap=True)]
        print_table(columns, [(key, _cut(value)) for key, value in sorted(short.items())], headings=False)
    for key in sorted(pairs.keys() - short.keys()):
        say()
        heading(key)
        for line in _cut(pairs[key].strip("\n")).splitlines():
            say(line)


def _cut(value: str) -> str:
    """A value that does not fill screens: in a terminal its beginning, where it is very long, and how long it is."""
    if not is_terminal() or len(value) <= VALUE_CHARACTERS_MAX:
        return value
    return f"{value[:VALUE_CHARACTERS_MAX]}… ({len(value):,} characters: mltrack show --json)"


def _print_metrics(run: StoredRun) -> None:
    from mltrack.cli.metrics import print_summaries

    if run.summaries:
        say()
        heading("Metrics")
        print_summaries(run, sorted(run.summaries))


def _print_datasets(run: StoredRun) -> None:
    if run.datasets:
        say()
        heading("Datasets")
        rows = [(u.dataset.name, u.dataset.digest, u.context or "", u.dataset.source_type) for u in run.datasets]
        columns = [Column("name", style="cyan", cut=True), *(Column(name) for name in ("digest", "context", "source"))]
        print_table(columns, rows)


def _print_models(store: Store, run: StoredRun) -> None:
    ids = [*run.model_inputs, *(made.model_id for made in run.model_outputs)]
    names = {one: store.logged_models.get(one).name for one in ids if store.logged_models.has(one)}
    rows = [(model_id, names.get(model_id, ""), "used", "") for model_id in run.model_inputs]
    rows += [(made.model_id, names.get(made.model_id, ""), "made", str(made.step)) for made in run.model_outputs]
    if rows:
        say()
        heading("Models")
        columns = [Column("model", style="cyan"), Column("name", cut=True), Column("use")]
        print_table([*columns, Column("step", right=True)], rows)


def _print_artifacts(run: StoredRun) -> None:
    from mltrack.cli.formatting import size

    if run.artifacts:
        say()
        heading("Artifacts")
        pretty = is_terminal()
        rows = [
            (
                f"{a.path} (on remote {a.remote})" if a.remote else a.path,
                size(a.size) if pretty else str(a.size),
                a.sha256[:12] if pretty else a.sha256,
            )
            for a in run.artifacts
        ]
        columns = [Column("path", style="cyan", cut=True), Column("size", right=True)]
        print_table([*columns, Column("sha256", style="dim", drop=1)], rows)


def _writer_state(run: StoredRun, writer: WriterInfo) -> str:
    if writer.ended or not writer.alive:
        return "closed" if writer.ended else "gone"
    return "live" if run.state.writers[writer.writer].elsewhere is None else "elsewhere"


def _print_writers(run: StoredRun) -> None:
    """The processes that recorded; an edit is a writer too, but nobody looks for it here."""
    from mltrack.cli.formatting import count, moment, plural

    found = run.writers()
    recorded = [writer for writer in found if writer.role != "edit" or writer.position.points] or found
    say()
    heading("Writers")
    rows = [
        (
            w.writer,
            w.role,
            f"{w.host}:{w.pid}",
            moment(w.opened // 1_000_000),
            _writer_state(run, w),
            count(w.position.events),
            count(w.position.points),
        )
        for w in recorded
    ]
    names = ["writer", "role", "process", "opened", "state"]
    columns = [Column(name, cut=name == "process", drop=at) for at, name in enumerate(names)]
    print_table([*columns, Column("events", right=True, drop=9), Column("points", right=True, drop=8)], rows)
    if len(found) > len(recorded):
        note(
            f"not listed: {plural(len(found) - len(recorded), 'edit')} by tag, rename and the like (--json lists each)"
        )
