"""Which kinds of sources there are, and which one a path is: mltrack's own, then those of other packages.

Another package adds a kind by an entry point of the group ``mltrack.importers``, whose name is what ``--from`` calls it
and whose value is a class without arguments or an instance.
"""

from __future__ import annotations

import shlex
from importlib import import_module
from typing import TYPE_CHECKING, cast

from mltrack.disk.layout import STORE_FOLDER
from mltrack.errors import NotFoundError, UsageError
from mltrack.text.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from mltrack.importers.source import Importer

__all__ = ["GROUP", "all_kinds", "find_kind", "kind_of", "others_in", "require"]

GROUP = "mltrack.importers"
"""The group of entry points by which other packages add kinds."""

CHILDREN_MAX = 1_000

_OURS = {
    "mlruns": "mltrack.importers.mlflow.importer:MlrunsImporter",
    "mlflow-db": "mltrack.importers.mlflow.importer:DatabaseImporter",
    "trackio": "mltrack.importers.trackio.importer:TrackioImporter",
    "neptune": "mltrack.importers.neptune.importer:NeptuneImporter",
    "dvclive": "mltrack.importers.dvclive.importer:DvcliveImporter",
    "wandb": "mltrack.importers.wandb.importer:WandbImporter",
    "swanlab": "mltrack.importers.swanlab.importer:SwanlabImporter",
    "comet": "mltrack.importers.comet.importer:CometImporter",
    "clearml": "mltrack.importers.clearml.importer:ClearmlImporter",
    "tfevents": "mltrack.importers.tfevents.importer:EventsImporter",
    "mltrack": "mltrack.importers.own_files:OwnFiles",
    "csv": "mltrack.importers.tables.importer:TableImporter",
    "aim": "mltrack.importers.aim.importer:AimImporter",
}
"""In the order in which they are asked; each is imported when it is asked."""


def find_kind(name: str) -> Importer:
    """The kind of that name.

    Raises:
        UsageError: no installed package adds one.
    """
    if name in _OURS:
        return _our(name)
    for entry in _entries():
        if entry.name == name:
            return _loaded(entry)
    known = ", ".join([*_OURS, *(entry.name for entry in _entries())])
    raise UsageError(f"sources of kind {name!r} are not known here", hint=f"--from takes: {known}")


def require(path: Path) -> None:
    """Check that a source exists.

    Raises:
        NotFoundError: it does not.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist", hint="name a file or folder of another tracker")


def kind_of(path: Path) -> Importer:
    """The kind of a source.

    Raises:
        NotFoundError: it does not exist.
        UsageError: no kind recognizes it.
    """
    require(path)
    for kind in all_kinds():
        if kind.recognizes(path):
            return kind
    hint = f"name the kind with --from: {', '.join(_OURS)}"
    if (path / STORE_FOLDER / "store.json").is_file():
        hint = (
            f"it has a store of mltrack's own: bring its runs by: mltrack pull {shlex.quote(str(path / STORE_FOLDER))}"
        )
    raise UsageError(f"{path} is not a source of any known kind", hint=hint)


def others_in(path: Path, first: str) -> dict[str, list[str]]:
    """What else is in a folder that was taken as a source of the kind ``first``: names in it, by their kinds.

    None where the folder itself is that source, and not one that has it in it: then all in it belongs to it. Tables in
    files are not told, as any folder may have some.
    """
    if not path.is_dir():
        return {}
    kinds = list(all_kinds())
    found: dict[str, list[str]] = {}
    for child in sorted(path.iterdir())[:CHILDREN_MAX]:
        if not child.name.startswith("."):
            kind = next((kind.name for kind in kinds if kind.recognizes(child)), "")
            if kind and not (kind == "csv" and child.is_file()):
                found.setdefault(kind, []).append(child.name)
    return {kind: names for kind, names in found.items() if kind != first} if first in found else {}


def all_kinds() -> Iterator[Importer]:
    """All kinds, mltrack's own first; one of another package that can't be loaded is skipped with a warning."""
    yield from map(_our, _OURS)
    for entry in _entries():
        try:
            yield _loaded(entry)
        except (ImportError, AttributeError) as error:
            say(f"warning: the importer {entry.value} can't be loaded: {error}", err=True)


def _our(name: str) -> Importer:
    module, _, attribute = _OURS[name].partition(":")
    return cast("Importer", getattr(import_module(module), attribute)())


def _entries() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group=GROUP) if entry.name not in _OURS]


def _loaded(entry: EntryPoint) -> Importer:
    kind = entry.load()
    return cast("Importer", kind() if isinstance(kind, type) else kind)
