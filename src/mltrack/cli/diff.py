"""`mltrack diff`: shows what differs between two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.cli.exit_codes import FAILURE
from mltrack.cli.formatting import duration, moment, number, percentage, size, status
from mltrack.text.printing import Column, console, heading, is_terminal, note, print_json, print_table, say, say_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.diff.changes import Change
    from mltrack.diff.metrics import MetricDiff, ValueDiff
    from mltrack.diff.run_diff import RunDiff
    from mltrack.diff.sources import FileDiff, FileState
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.text.printing import Cell

__all__ = ["diff"]

SECTIONS = ("params", "data", "packages", "command", "environment", "host", "metrics", "source")
"""In the order of the report: the lines of code come last."""
SHORT_ID = 8
NAME_WIDTH = 24
"""The least room, in characters, for the name of each run."""
OTHERS_WIDTH = 40


@command(
    "diff",
    "Show what differs between two runs.",
    "mltrack diff spirals-1 spirals-2",
    "mltrack diff spirals-1 spirals-2 --only params --only metrics --json",
    "mltrack diff spirals-1 spirals-2 --only source -q",
)
@click.argument("a", type=RUN, metavar="RUN")
@click.argument("b", type=RUN, metavar="RUN")
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="Only this section; may be given again.")
@click.option(
    "-U",
    "--unified",
    default=3,
    show_default=True,
    metavar="N",
    type=click.IntRange(0),
    help="Equal lines around lines that differ.",
)
@click.option("-N", "--new-file", is_flag=True, help="Also the lines of files that only one run has.")
@click.option("-q", "--brief", is_flag=True, help="Only the names of files, without lines.")
@click.option("--system", is_flag=True, help="Also system metrics (system/...).")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything shown differs.")
@json_option
@pass_session
def diff(
    session: Session,
    a: str,
    b: str,
    only: tuple[str, ...],
    unified: int,
    new_file: bool,
    brief: bool,
    system: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Show what differs from one RUN to another: params, data, packages, command, environment, host, metrics, source.

    Source files, packages, command, environment and host are known of runs that `mltrack run` launched.
    """
    from dataclasses import replace

    store = session.store()
    found = store.diff(a, b, context=unified, new_files=new_file)
    if not system:
        found = replace(found, metrics=tuple(one for one in found.metrics if not one.key.startswith("system/")))
    sections = [section for section in SECTIONS if not only or section in only]
    runs = store.run(found.a), store.run(found.b)
    if as_json:
        print_json(_as_json(found, runs, sections, brief))
    else:
        _print(found, runs, sections, brief)
    if exit_code and found.differs(*sections):
        raise click.exceptions.Exit(FAILURE)


def _as_json(found: RunDiff, runs: tuple[StoredRun, StoredRun], sections: Sequence[str], brief: bool) -> dict[str, Any]:
    from dataclasses import asdict

    fields = asdict(found)
    fields["source"] = {"origin": fields.pop("origin"), "files": fields.pop("files")}
    if brief:
        for file in fields["source"]["files"]:
            del file["lines"], file["why"]
    heads = {
        side: {"run_id": run.run_id, "run_name": run.info.run_name, "status": status(run.info)}
        for side, run in zip("ab", runs, strict=True)
    }
    unknown = {section: why for section, why in found.unknown.items() if section in sections}
    return {**heads, **{section: fields[section] for section in sections}, "unknown": unknown}


# --- the report ---


def _print(found: RunDiff, runs: tuple[StoredRun, StoredRun], sections: Sequence[str], brief: bool) -> None:
    names = _names(runs)
    _print_heads(runs, names)
    same = []
    for section in sections:
        if section == "source":
            shown = _print_source(found, names, brief)
        elif section == "metrics":
            shown = _print_metrics(found.metrics, names)
        else:
            shown = _print_changes(section, getattr(found, section), names)
        if not shown and section not in found.unknown:
            same.append(section)
    reasons: dict[str, list[str]] = {}
    for section in sections:
        if section in found.unknown:
            reasons.setdefault(found.unknown[section], []).append(section)
    if same:
        note(f"no difference: {', '.join(same)}")
    for reason, unknown in reasons.items():
        for run, name in zip(runs, names, strict=True):
            reason = reason.replace(f"run {run.run_id}", name)
        note(f"not compared: {', '.join(unknown)} ({reason})")


def _names(runs: Sequence[StoredRun]) -> list[str]:
    """The runs' names, long ones cut in a terminal; with their ids where both would look the same."""
    names = [run.info.run_name for run in runs]
    if is_terminal():
        width = max(NAME_WIDTH, (console().width - OTHERS_WIDTH) // 2)
        names = [name if len(name) <= width else f"{name[: width - 1]}…" for name in names]
    if names[0] == names[1]:
        return [f"{name} {run.run_id[:SHORT_ID]}" for name, run in zip(names, runs, strict=True)]
    return names


def _print_heads(runs: Sequence[StoredRun], names: Sequence[str]) -> None:
    infos = [run.info for run in runs]
    rows: list[tuple[Cell, ...]] = [
        ("id", *(run.run_id for run in runs)),
        ("experiment", *(info.experiment_name for info in infos)),
        ("status", *map(status, infos)),
        ("started", *(moment(info.start_time) for info in infos)),
        ("duration", *("" if i.end_time is None else duration(i.end_time - i.start_time) for i in infos)),
    ]
    print_table(_columns("", names), rows)


def _columns(title: str, names: Sequence[str]) -> list[Column]:
    return [Column(title, style="cyan", wrap=True), *(Column(name, wrap=True) for name in names)]


def _print_changes(title: str, changes: Sequence[Change], names: Sequence[str]) -> bool:
    if changes:
        say()
        heading(title.capitalize())
        print_table(_columns("", names), [(one.name, *map(_shown, (one.a, one.b))) for one in changes])
    return bool(changes)


def _shown(text: str | None) -> str:
    return "-" if text is None else text


def _print_metrics(metrics: Sequence[MetricDiff], names: Sequence[str]) -> bool:
    if not metrics:
        return False
    say()
    heading("Metrics")
    shown = number if is_terminal() else repr
    rows: list[tuple[Cell, ...]] = []
    for metric in metrics:
        for what, value in (("last", metric.last), ("min", metric.min), ("max", metric.max)):
            if not value.same:
                cells = ["-" if one is None else shown(one) for one in (value.a, value.b)]
                rows.append((metric.key, what, *cells, *_difference(value)))
    titles = [*names, "difference", "%"]
    columns = [Column("", style="cyan", cut=True), Column(""), *(Column(t, right=True, wrap=True) for t in titles)]
    print_table(columns, rows)
    return True


def _difference(value: ValueDiff) -> tuple[str, str]:
    if value.difference is None:
        return "", ""
    difference = number(value.difference) if is_terminal() else repr(value.difference)
    sign = "+" if value.difference > 0 else ""
    return sign + difference, "" if value.percent is None else percentage(value.percent)


def _print_source(found: RunDiff, names: Sequence[str], brief: bool) -> bool:
    if not found.origin and not found.files:
        return False
    say()
    heading("Source")
    if found.origin:
        print_table(_columns("", names), [(one.name, *map(_shown, (one.a, one.b))) for one in found.origin])
    if found.files:
        rows = [(file.change, _file_name(file), _about(file)) for file in found.files]
        print_table([Column("", style="cyan", wrap=True), *[Column("", wrap=True)] * 2], rows, headings=False)
    if not brief:
        for file in found.files:
            if file.lines:
                _print_lines(file)
    return True


def _file_name(file: FileDiff) -> str:
    return file.name if file.old_name is None else f"{file.old_name} -> {file.name}"


def _about(file: FileDiff) -> str:
    """What there is to say of a file in one line: how many lines differ, or its sizes and hashes."""
    parts = []
    if file.lines is not None:
        lines = file.lines.splitlines()
        parts.append(f"+{sum(x.startswith('+') for x in lines)} -{sum(x.startswith('-') for x in lines)}")
    elif file.why in ("added", "removed"):
        parts.append(_size(file.b or file.a))
    elif file.why:
        sides = " -> ".join(f"{one.sha256[:12]} {_size(one)}".strip() for one in (file.a, file.b) if one is not None)
        parts.append(f"{file.why}: {sides}")
    if file.a and file.b and file.a.executable != file.b.executable:
        parts.append("now executable" if file.b.executable else "no longer executable")
    return ", ".join(parts)


def _size(state: FileState | None) -> str:
    return "" if state is None or state.size is None else size(state.size)


_LOOKS: dict[str, dict[str, Any]] = {"+": {"fg": "green"}, "-": {"fg": "red"}, "@": {"fg": "cyan"}}


def _print_lines(file: FileDiff) -> None:
    say()
    say_code(f"--- {'/dev/null' if file.a is None else 'a/' + (file.old_name or file.name)}", bold=True)
    say_code(f"+++ {'/dev/null' if file.b is None else 'b/' + file.name}", bold=True)
    for line in (file.lines or "").split("\n")[:-1]:
        say_code(line, **_LOOKS.get(line[:1], {}))
