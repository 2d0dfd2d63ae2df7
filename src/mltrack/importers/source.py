"""What an importer is, and what it reads: a source's runs with their facts, points and files, one after the other.

An importer only reads. What is new, what ids things get here, writing, going on after a kill and comparing are the
engine's, the same for all. So an importer keeps three promises: it never writes to the source; reading the same source
again gives the same things in the same order; and what it can't read costs that record only, and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

from mltrack.entities import DatasetInput, ModelMetric, ModelOutput
from mltrack.errors import MltrackError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.values.rich import RichValue

__all__ = [
    "BaseSource",
    "Importer",
    "Source",
    "SourceError",
    "SourceExperiment",
    "SourceFile",
    "SourceModel",
    "SourceRegisteredModel",
    "SourceRun",
    "SourceTrace",
    "SourceValue",
    "SourceVersion",
]


class SourceError(MltrackError):
    """A source, or a part of it, that can't be read. Raised by a run's parts, it costs that part only."""


def _nothing() -> Iterator[Any]:
    return iter(())


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a run or a model.

    Attributes:
        path: Its name among the artifacts.
        size: Its bytes.
        open: Opens it to read.
    """

    path: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class SourceValue:
    """A value that is more than a number, logged under a metric's name; ``time`` is in ns since the epoch."""

    key: str
    step: int
    time: int
    value: RichValue


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceExperiment:
    """An experiment. Its name makes it the same here; ``created`` is in ns since the epoch, 0 where not known."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: int = 0
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRun:
    """A run: its facts, and how to read the rest, which takes no memory until it is read.

    ``points``, ``values`` and ``files`` may be called several times, and give the same each time, in the same order.

    Attributes:
        source_id: What the source calls it; kept in the tag ``mltrack.origin.run_id``.
        where: The file or folder it is in, relative to the source, for messages.
        name: Its name.
        experiment: The name of its experiment.
        space: What makes ``source_id`` unique, where it is not random as MLflow's are: the project, the first record.
            Never something that changes when the run goes on. The run's id here is made of both.
        status: One of RUN_STATUSES.
        start_time: In ns since the epoch.
        end_time: The same; None where it is not known.
        guessed_times: Both are guesses, such as a file's times: taken where the store has none, and not compared.
        untimed: Times of points that are 0 are not known: they are stored as the time when the run began.
        user: Who ran it.
        deleted: Whether it is deleted in the source.
        params: By key.
        tags: By key. ``mlflow.parentRunId`` names a run by its ``source_id``.
        datasets: Those that it used.
        model_inputs: Logged models that it used, by their ids in the source.
        model_outputs: Those that it made.
        points: Gives its points in the form of ``mltrack.importers.batches``.
        values: Gives histograms, images, tables and texts.
        files: Gives its artifacts.
        time_unit: In how many ns the source counts the times of its points, such as 1,000,000 for ms.
    """

    source_id: str
    where: str
    name: str
    experiment: str
    space: str = ""
    status: str = "FINISHED"
    start_time: int = 0
    end_time: int | None = None
    guessed_times: bool = False
    untimed: bool = False
    user: str = ""
    deleted: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetInput] = ()
    model_inputs: Sequence[str] = ()
    model_outputs: Sequence[ModelOutput] = ()
    points: Callable[[], Iterator[pa.RecordBatch]] = _nothing
    values: Callable[[], Iterator[SourceValue]] = _nothing
    files: Callable[[], Iterator[SourceFile]] = _nothing
    time_unit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel:
    """A logged model. Ids are the source's; ``created`` is in ns since the epoch.

    ``status`` is one of LOGGED_MODEL_STATUSES; the others are as in SourceRun and LoggedModel.
    """

    source_id: str
    where: str
    name: str
    experiment: str
    status: str = "READY"
    status_message: str | None = None
    model_type: str | None = None
    source_run: str = ""
    created: int = 0
    deleted: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[ModelMetric] = ()
    files: Callable[[], Iterator[SourceFile]] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVersion:
    """A version of a registered model; ``source`` is its URI, run and model are named by the source's ids.

    A source of ``runs:/ID/PATH`` or ``models:/ID`` has the source's ids too. ``created`` is in ns, 0 where not known.
    """

    version: int
    source: str
    run: str = ""
    model: str = ""
    description: str = ""
    stage: str = "None"
    run_link: str = ""
    created: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRegisteredModel:
    """A registered model with its versions, by rising number; ``created`` is in ns, 0 where not known."""

    name: str
    where: str
    created: int = 0
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[SourceVersion] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTrace:
    """A trace. ``info`` has the fields of a fact of type info, ``spans`` MLflow's JSON objects (docs/format.md).

    ``runs`` are linked to it, by their ids in the source; ``prompts`` as "name/version".
    """

    trace_id: str
    where: str
    experiment: str
    info: Mapping[str, Any]
    spans: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[str] = ()
    prompts: Sequence[str] = ()


class Source(Protocol):
    """A source that is open, for one thread. What it can't read, or has no place in a store, goes to its findings."""

    def experiments(self) -> Iterable[SourceExperiment]:
        """Experiments, also those without runs; one that is missing here is made from the runs that name it."""

    def runs(self) -> Iterable[SourceRun]:
        """Its runs, in any order that stays the same."""

    def logged_models(self) -> Iterable[SourceModel]:
        """Its logged models."""

    def registered_models(self) -> Iterable[SourceRegisteredModel]:
        """Its registered models."""

    def traces(self) -> Iterable[SourceTrace]:
        """Its traces."""

    def close(self) -> None:
        """Close its files."""


class BaseSource:
    """A source that has nothing; inherit from it and override what the format has. Closes itself in a ``with``."""

    def experiments(self) -> Iterable[SourceExperiment]:
        """None: they are made from the runs that name them."""
        return ()

    def runs(self) -> Iterable[SourceRun]:
        """None."""
        return ()

    def logged_models(self) -> Iterable[SourceModel]:
        """None."""
        return ()

    def registered_models(self) -> Iterable[SourceRegisteredModel]:
        """None."""
        return ()

    def traces(self) -> Iterable[SourceTrace]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> BaseSource:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class Importer(Protocol):
    """A kind of source. Named in ``mltrack.importers.kinds``, or by an entry point of the group ``mltrack.importers``.

    Importing its module must be light: what is only needed to read is imported when a source is opened.
    """

    @property
    def name(self) -> str:
        """What ``--from`` calls it."""

    @property
    def title(self) -> str:
        """What it reads, in a few words."""

    def recognizes(self, path: Path) -> bool:
        """Whether this looks like a source of the kind, from names and a few bytes. Never raises for what exists."""

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it to read.

        Raises:
            SourceError, OSError: it can't be read at all.
        """
