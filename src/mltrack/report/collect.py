"""Collects a report from a store: each part within its limits, and what was left out is said."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.diff.launches import read_launch_facts
from mltrack.drawing.colours import looks_of
from mltrack.drawing.curves import Chart, Curve, curve_of
from mltrack.environment import NOTE_TAG
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.report.facts import collect_facts, collect_sources
from mltrack.report.logs import collect_logs
from mltrack.report.media import Media, collect_media
from mltrack.report.model import LogEnd, Report, ReportRun, SourceVersion, clipped
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mltrack.entities import MetricSummary
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Limits", "collect_report"]

SHORT_ID = 8
TAGS_MAX = 50
NOTE_CHARACTERS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of each thing is in a report at most: about 6 MB together, written as HTML.

    Attributes:
        curve_points_max: points of one curve.
        points_max: points of all curves; each curve gets an equal share.
        curves_max: curves of all charts; metrics that no longer fit are named.
        params_max: params of all runs; those in which the runs differ come first.
        value_characters_max: characters of a param, or of a fact of the environment.
        image_bytes_max: bytes of all images.
        text_characters_max: characters of all tables and texts.
        diff_characters_max: characters of all source diffs.
        log_lines_max: lines of each run's output.
        log_characters_max: characters of all runs' output.
    """

    curve_points_max: int = 5_000
    points_max: int = 150_000
    curves_max: int = 1_500
    params_max: int = 20_000
    value_characters_max: int = 500
    image_bytes_max: int = 750_000
    text_characters_max: int = 300_000
    diff_characters_max: int = 250_000
    log_lines_max: int = 40
    log_characters_max: int = 250_000


def collect_report(
    store: Store,
    run_ids: Sequence[str],
    *,
    now_ms: int,
    title: str = "",
    notes: str = "",
    metrics: str = "",
    without: Collection[str] = (),
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Read what is known of some runs.

    Args:
        store: where they are.
        run_ids: which runs, in the order of the report.
        now_ms: the time of the report, since the epoch.
        title: its title; by default it names the runs.
        notes: Markdown.
        metrics: a regular expression; only metrics in which it is found are shown.
        without: those of model.PARTS that are left out.
        limits: how much is shown.
        progress: called with the label of each run before its points are read.

    Raises:
        NotFoundError: there is no such run.
        UsageError: ``metrics`` is not a regular expression.
        CorruptionError: a run can't be read; metrics that can't be read are left out, as in the store's answers.
    """
    limits = limits or Limits()
    wanted = _pattern(metrics)
    stored = [store.run(run_id) for run_id in run_ids]
    left_out: list[str] = []
    runs = _describe(stored, store.summaries([run.run_id for run in stored]), limits, left_out)
    keys = _keys(runs, wanted, limits, left_out)
    charts = _charts(stored, runs, keys, limits, progress, store.on_damage)
    media = Media()
    if "media" not in without:
        media = collect_media(stored, limits.image_bytes_max, limits.text_characters_max, left_out)
    launches = {run.run_id: read_launch_facts(run) for run in stored}
    sources: tuple[SourceVersion, ...] = ()
    if "source" not in without:
        sources = collect_sources(store, launches, limits.diff_characters_max, left_out)
    logs: tuple[LogEnd, ...] = ()
    if "logs" not in without:
        logs = collect_logs(stored, limits.log_lines_max, limits.log_characters_max, left_out)
    return Report(
        title or _title(runs),
        notes,
        now_ms,
        tuple(runs),
        charts,
        media.pictures,
        media.tables,
        media.words,
        media.bars,
        logs,
        sources,
        () if "environment" in without else collect_facts(launches, limits.value_characters_max),
        tuple(left_out),
    )


def _pattern(metrics: str) -> re.Pattern[str]:
    try:
        return re.compile(metrics)
    except re.error as error:
        raise UsageError(f"{metrics!r} is not a regular expression: {error}", hint="for example 'loss|^val/'") from None


def _describe(
    stored: Sequence[StoredRun],
    summaries: Mapping[str, Mapping[str, MetricSummary]],
    limits: Limits,
    left_out: list[str],
) -> list[ReportRun]:
    looks = looks_of(run.run_id for run in stored)
    infos = [run.info for run in stored]
    named = Counter(info.run_name for info in infos)
    kept = _params(stored, limits, left_out)
    return [
        ReportRun(
            info,
            info.run_name if named[info.run_name] == 1 else f"{info.run_name} {info.run_id[:SHORT_ID]}",
            looks[info.run_id],
            {key: clipped(run.params[key], limits.value_characters_max) for key in kept if key in run.params},
            _tags(run, limits),
            summaries.get(run.run_id, {}),
            clipped(run.tags.get(NOTE_TAG, ""), NOTE_CHARACTERS_MAX),
        )
        for run, info in zip(stored, infos, strict=True)
    ]


def _tags(run: StoredRun, limits: Limits) -> dict[str, str]:
    """The tags that users set."""
    own = sorted(key for key in run.tags if not key.startswith(("mlflow.", "mltrack.")))[:TAGS_MAX]
    return {key: clipped(run.tags[key], limits.value_characters_max) for key in own}


def _params(stored: Sequence[StoredRun], limits: Limits, left_out: list[str]) -> list[str]:
    """The params to show, those first in which the runs differ."""
    keys = sorted({key for run in stored for key in run.params})
    keys.sort(key=lambda key: len({run.params.get(key) for run in stored}) == 1)
    kept = keys[: max(1, limits.params_max // max(1, len(stored)))]
    if len(kept) < len(keys):
        left_out.append(f"{plural(len(keys) - len(kept), 'param')}: see mltrack show, or name fewer runs")
    return kept


def _title(runs: Sequence[ReportRun]) -> str:
    if len(runs) <= 3:
        return ", ".join(run.label for run in runs) or "No runs"
    experiments = {run.info.experiment_name for run in runs}
    return f"{plural(len(runs), 'run')} of {experiments.pop() if len(experiments) == 1 else 'several experiments'}"


def _keys(runs: Sequence[ReportRun], wanted: re.Pattern[str], limits: Limits, left_out: list[str]) -> list[str]:
    """The metrics to draw, sorted, those of the system last."""
    counted = Counter(key for run in runs for key in run.metrics if wanted.search(key))
    most_first = sorted(counted, key=lambda key: (key.startswith("system/"), -counted[key], key))
    kept: list[str] = []
    curves = 0
    for key in most_first:
        if curves + counted[key] > limits.curves_max:
            break
        kept.append(key)
        curves += counted[key]
    if len(kept) < len(counted):
        names = ", ".join(most_first[len(kept) :][:5])
        more = len(counted) - len(kept)
        left_out.append(
            f"charts of {plural(more, 'metric')} ({names}{', ...' if more > 5 else ''}): choose others by --metrics"
        )
    return sorted(kept, key=lambda key: (key.startswith("system/"), key))


def _charts(
    stored: Sequence[StoredRun],
    runs: Sequence[ReportRun],
    keys: Sequence[str],
    limits: Limits,
    progress: Callable[[str], None],
    damaged: Callable[[CorruptionError], None],
) -> tuple[Chart, ...]:
    curves: dict[str, list[Curve]] = {key: [] for key in keys}
    number = sum(key in run.metrics for run in runs for key in keys)
    share = min(limits.curve_points_max, max(50, limits.points_max // max(1, number)))
    for run, about in zip(stored, runs, strict=True):
        progress(about.label)
        for key in keys:
            if key in about.metrics:
                curves[key] += _curve(run, key, about, share, damaged)
    return tuple(Chart(key, tuple(found)) for key, found in curves.items() if found)


def _curve(
    run: StoredRun, key: str, about: ReportRun, points_max: int, damaged: Callable[[CorruptionError], None]
) -> list[Curve]:
    """The curve of a metric of a run, if it has points that can be read."""
    try:
        points = run.columns(key)
    except NotFoundError:  # rewound since the summaries were read
        return []
    except CorruptionError as error:
        damaged(error)
        return []
    return [curve_of(run.run_id, about.label, about.look, points, points_max=points_max)]
