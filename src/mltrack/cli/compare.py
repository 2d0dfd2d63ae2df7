"""`mltrack compare`: shows runs side by side."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.cli.names import require_known
from mltrack.diff.metrics import diff_values
from mltrack.errors import UsageError
from mltrack.text.printing import Column, is_terminal, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.diff.metrics import ValueDiff
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack.text.printing import Cell

__all__ = ["best_of", "compare"]

SHORT_ID = 8

_LESS = re.compile(r"loss|err|mse|mae|rmse|perplexity|ppl|nll|time|latency|duration|bytes|memory", re.IGNORECASE)
_MORE = re.compile(r"acc|auc|f1|precision|recall|score|reward|return|r2|bleu|rouge|iou|map|throughput", re.IGNORECASE)


@command(
    "compare",
    "Compare runs side by side.",
    "mltrack compare spirals-1 spirals-2",
    "mltrack compare spirals-2 spirals-3 --baseline spirals-1",
    "mltrack compare spirals-1 spirals-2 --all --json",
)
@click.argument("runs", type=RUN, nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "-b", "--baseline", type=RUN, metavar="RUN", help="Also how metrics differ from this run, in percent too."
)
@click.option("-a", "--all", "everything", is_flag=True, help="Also params that are equal.")
@click.option("--system", is_flag=True, help="Also system metrics (system/...).")
@click.option("--least", multiple=True, metavar="KEY", help="Lower is better for KEY.")
@click.option("--most", multiple=True, metavar="KEY", help="Higher is better for KEY.")
@json_option
@pass_session
def compare(
    session: Session,
    runs: tuple[str, ...],
    baseline: str | None,
    everything: bool,
    system: bool,
    least: tuple[str, ...],
    most: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare runs: the params in which they differ, and the latest metrics, the best one marked (*).

    With --baseline, the differences of metrics from that run follow, each with its percentage of the value there.
    """
    if len(runs) + (baseline is not None) < 2:
        raise UsageError("compare needs two runs or more", hint="mltrack compare RUN RUN")
    found = _runs_of(session.store(), runs, baseline)
    params = _side_by_side([run.params for run in found])
    if not everything:
        params = {key: row for key, row in params.items() if len(set(row)) > 1}
    metrics = _side_by_side([run.data.metrics for run in found])
    require_known([*least, *most], metrics, "none of these runs has a metric")
    if not system:  # there are many; one that is chosen by name is shown
        metrics = {key: row for key, row in metrics.items() if not key.startswith("system/") or key in least + most}
    best = {key: best_of(key, row, least, most) for key, row in metrics.items()}
    differences = {} if baseline is None else {key: _differences(row) for key, row in metrics.items()}
    if as_json:
        print_json(_facts(found, params, metrics, best, differences))
        return
    _print(found, params, metrics, best, differences)


def _runs_of(store: Store, runs: Sequence[str], baseline: str | None) -> list[StoredRun]:
    """The runs to compare, the baseline first, each once.

    Raises:
        NotFoundError, UsageError: there is no such run, or several; there is nothing to compare the baseline with.
    """
    if baseline is None:
        return [store.run(run) for run in runs]
    ids = list(dict.fromkeys(map(store.resolve, (baseline, *runs))))
    if len(ids) < 2:
        raise UsageError("the baseline is compared with itself", hint="name another run: mltrack compare RUN -b RUN")
    return [store.run(run_id) for run_id in ids]


def _differences(row: Sequence[float | None]) -> list[ValueDiff]:
    """How each value but the first differs from the first."""
    return [diff_values(row[0], value) for value in row[1:]]


def _facts(
    runs: Sequence[StoredRun],
    params: dict[str, list[Any]],
    metrics: dict[str, list[Any]],
    best: dict[str, list[int]],
    differences: dict[str, list[ValueDiff]],
) -> dict[str, Any]:
    """What --json prints."""
    heads = [{"run_id": run.run_id, "run_name": run.info.run_name, "status": run.info.status} for run in runs]
    chosen = {key: [runs[at].run_id for at in places] for key, places in best.items() if places}
    facts = {"runs": heads, "params": params, "metrics": metrics, "best": chosen}
    if not differences:
        return facts
    return facts | {
        "baseline": runs[0].run_id,
        "differences": {
            key: [{"difference": None, "percent": None}]  # of the baseline itself
            + [{"difference": one.difference, "percent": one.percent} for one in row]
            for key, row in differences.items()
        },
    }


def _side_by_side(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row.get(key) for row in rows] for key in sorted({key for row in rows for key in row})}


def best_of(key: str, row: Sequence[float | None], least: Sequence[str] = (), most: Sequence[str] = ()) -> list[int]:
    """The positions of the best values in ``row``: none if it is unknown whether less is better, or all are equal.

    Args:
        key: the metric, whose name suggests whether less is better; not that of a system metric.
        row: its value in each run.
        least: metrics of which the least value is best.
        most: metrics of which the greatest value is best.
    """
    known = {at: value for at, value in enumerate(row) if value is not None and not math.isnan(value)}
    if len(set(known.values())) < 2:
        return []
    fewer, more = key in least or bool(_LESS.search(key)), key in most or bool(_MORE.search(key))
    if key in least or key in most:
        fewer = key in least
    elif fewer == more or key.startswith("system/"):
        return []
    wanted = min(known.values()) if fewer else max(known.values())
    return [at for at, value in known.items() if value == wanted]


def _print(
    runs: Sequence[StoredRun],
    params: dict[str, list[Any]],
    metrics: dict[str, list[Any]],
    best: dict[str, list[int]],
    differences: dict[str, list[ValueDiff]],
) -> None:
    """Print one table, so that a run has one column."""
    from rich.text import Text

    from mltrack.cli.formatting import number, status

    pretty = is_terminal()
    shown = number if pretty else repr
    rows: list[tuple[Cell, ...]] = [
        ("id", *_padded([run.run_id[:SHORT_ID] if pretty else run.run_id for run in runs])),
        ("status", *_padded([status(run.info) for run in runs])),
    ]
    for title, found in (("params", params), ("metrics", metrics)):
        if found:
            rows += [("",) * (len(runs) + 1), (Text(title, style="bold"), *[""] * len(runs))]
        for key, row in found.items():
            texts = ["-" if value is None else value if isinstance(value, str) else shown(value) for value in row]
            marked = best.get(key, []) if found is metrics else []
            cells = [Text(t, style="bold green") if t.endswith("*") else t for t in _padded(texts, marked)]
            rows.append((key, *cells))
    if differences:
        title = f"difference from {runs[0].info.run_name}"
        rows += [("",) * (len(runs) + 1), (Text(title, style="bold"), *[""] * len(runs))]
        rows += [(key, *_padded(["", *map(_difference, row)])) for key, row in differences.items()]
    names = [Column(run.info.run_name, right=True, drop=1 if at else 0) for at, run in enumerate(runs)]
    print_table([Column("", style="cyan", cut=True), *names], rows)
    if not params:
        note("all params are equal")
    if pretty and any(best.values()):
        note("* the best; --least and --most say of which metrics less or more is better")


def _difference(value: ValueDiff) -> str:
    """Absolute and in percent: ``-0.1 (-25.0%)``; nothing where it can't be computed."""
    from mltrack.cli.formatting import number, percentage

    if value.difference is None:
        return "-"
    shown = number(value.difference) if is_terminal() else repr(value.difference)
    sign = "+" if value.difference > 0 else ""
    return f"{sign}{shown}" + ("" if value.percent is None else f" ({percentage(value.percent)}%)")


def _padded(texts: Sequence[str], marked: Sequence[int] = ()) -> list[str]:
    """Add room for a mark to each, so that the digits are aligned."""
    return [f"{text} *" if at in marked else f"{text}  " for at, text in enumerate(texts)]
