"""What is known of the sources and the environment of runs: versions of the code, packages, machine, command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.report.model import Fact, SourceVersion, clipped
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mltrack.diff.launches import Launch
    from mltrack.diff.sources import FileDiff
    from mltrack.store import Store

__all__ = ["collect_facts", "collect_sources"]

FILES_MAX = 200
VERSIONS_MAX = 12
"""With more versions of the sources, the later ones are only counted."""


def collect_facts(launches: Mapping[str, Launch], characters_max: int) -> tuple[Fact, ...]:
    """The environment of each run, by its id, fact by fact, each of at most so many characters."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for run_id, launch in launches.items():
        for group, facts in _groups(launch).items():
            for name, value in facts.items():
                found.setdefault((group, name), {})[run_id] = clipped(value, characters_max)
    order = {"command": 0, "source": 1, "host": 2, "environment": 3, "packages": 4}
    ordered = sorted(found.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    return tuple(Fact(group, name, values) for (group, name), values in ordered)


def _groups(launch: Launch) -> dict[str, dict[str, str]]:
    return {
        "command": launch.command or {},
        "source": launch.origin,
        "host": launch.machine,
        "environment": launch.variables or {},
        "packages": launch.packages or {},
    }


def collect_sources(
    store: Store, launches: Mapping[str, Launch], characters_max: int, left_out: list[str]
) -> tuple[SourceVersion, ...]:
    """The versions of the source files, the most used one first, and how each other one differs from it."""
    versions: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run_id, launch in launches.items():
        if launch.files is not None:
            versions.setdefault(_version(launch.files), []).append(run_id)
    ordered = sorted(versions.items(), key=lambda item: -len(item[1]))
    if len(ordered) > VERSIONS_MAX:
        left_out.append(f"{plural(len(ordered) - VERSIONS_MAX, 'version')} of the sources: see mltrack diff")
    found: list[SourceVersion] = []
    left = characters_max
    for files, ids in ordered[:VERSIONS_MAX]:
        changed: tuple[FileDiff, ...] = ()
        if found:
            changed = store.diff(found[0].run_ids[0], ids[0]).files
            if len(changed) > FILES_MAX:
                left_out.append(
                    f"{plural(len(changed) - FILES_MAX, 'changed source file')} of a version: see mltrack diff"
                )
                changed = changed[:FILES_MAX]
            size = sum(len(file.lines or "") for file in changed)
            if size > left:
                left_out.append(f"lines of a source diff: see mltrack diff {found[0].run_ids[0][:8]} {ids[0][:8]}")
                changed = tuple(_without_lines(file) for file in changed)
            else:
                left -= size
        found.append(SourceVersion(tuple(ids), changed, len(files)))
    return tuple(found)


def _version(files: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(one["sha256"])) for name, one in files.items()))


def _without_lines(file: FileDiff) -> FileDiff:
    from dataclasses import replace

    return file if file.lines is None else replace(file, lines=None, why="large")
