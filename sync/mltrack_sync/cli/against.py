"""``mltrack verify --against SOURCE``: the store compared with what was imported, without a remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.text.counting import plural
from mltrack.text.figures import size
from mltrack.text.printing import Column, is_terminal, print_json, print_table, say, say_fields, styled

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.compare import Comparison
    from mltrack.store import Store

__all__ = ["compare_with_source"]


def compare_with_source(
    store: Store,
    source: str,
    kind: str,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    artifacts: bool,
    artifacts_from: tuple[Path, ...],
    as_json: bool,
) -> bool:
    """Compare and print; whether both are the same.

    Args:
        store: The store.
        source: The source.
        kind: Its kind, or "".
        runs: As in ImportOptions.
        experiments: As in ImportOptions.
        artifacts: Whether files are compared.
        artifacts_from: As in ImportOptions.
        as_json: Print JSON.

    Raises:
        NotFoundError, UsageError: as compare_source.
    """
    from dataclasses import asdict

    from mltrack.importers.compare import compare_source
    from mltrack.importers.options import ImportOptions

    options = ImportOptions(experiments, runs, artifacts=artifacts, artifacts_from=artifacts_from)
    report = compare_source(store, source, kind, options)
    if as_json:
        print_json({**asdict(report), "same": report.same})
    else:
        _print(report)
    return report.same


def _print(report: Comparison) -> None:
    if report.differences and is_terminal():
        rows = [(each.of, each.what, each.local, each.source) for each in report.differences]
        print_table([Column(name, wrap=True) for name in ("of", "what", "local", "source")], rows)
    else:
        for each in report.differences:
            say_fields(each.of, each.what, each.local, each.source)
    for words in report.left_out:
        say(f"left out: {words}")
    for problem in report.problems:
        say(styled(f"not compared: {problem}", fg="yellow"))
    files = f"{plural(report.artifacts, 'artifact')} ({size(report.artifact_bytes)})"
    compared = (
        (report.params, plural(report.params, "param")),
        (report.tags, plural(report.tags, "tag")),
        (report.points, plural(report.points, "point")),
        (
            report.values,
            plural(report.values, "histogram, image, table or text", "histograms, images, tables and texts"),
        ),
        (report.artifacts, files),
        (report.links, plural(report.links, "link to a dataset or model", "links to datasets and models")),
        (report.logged_models, plural(report.logged_models, "logged model")),
        (report.models, plural(report.models, "registered model")),
        (report.model_versions, plural(report.model_versions, "version")),
        (report.traces, plural(report.traces, "trace")),
    )
    equal = ", ".join(words for count, words in compared if count) or "nothing"
    found = f"{plural(len(report.differences), 'difference')} in {report.seconds:.1f} s"
    say(f"{report.source} ({report.kind}): {equal} are the same in {plural(report.runs, 'run')}; {found}")
