"""Registered models and prompts of a server, with versions, aliases, tags and stages, merged into the store's registry.

A version keeps its number where that is free, and its time. It carries a mark (see plan/pending_registry.py) by which
it is found again, here and on every server that it is pushed to. What was set here and on the server stays as it is
here, which is said; the next sync sends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.entities import MODEL_STAGES
from mltrack.environment import PROMPT_TAG, VERSION_TAG
from mltrack.errors import NotFoundError
from mltrack.text.printable import printable
from mltrack_sync.http.shapes import integer, pairs, rows, shaped, text
from mltrack_sync.ledger.registry import ModelEntry, VersionEntry
from mltrack_sync.mlflow.api.registry import PENDING, READY
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.pending_registry import has_mark, origin_mark, version_mark, without_mark
from mltrack_sync.mlflow.pull.merging import UNKNOWN, Unknown, merge, merge_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack.storage.registry.state import RegistryState
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession
    from mltrack_sync.mlflow.pull.version_places import VersionPlaces

__all__ = ["ModelPull", "TheirModel", "TheirVersion"]

NO_STAGE = "None"
TIME_MS_MAX = 1 << 43

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TheirVersion:
    """A version as the server lists it. Times are ms."""

    name: str
    number: int
    created: int
    updated: int
    source: str
    run_id: str
    model_id: str
    description: str
    tags: Mapping[str, str]
    stage: str
    status: str
    run_link: str

    @classmethod
    def of(cls, url: str, fields: Fields) -> TheirVersion:
        """Read it.

        Raises:
            NotMlflowError: it has another shape.
        """
        with shaped(url, "model-versions/search", fields):
            stage = text(fields.get("current_stage")) or NO_STAGE
            return cls(
                text(fields["name"]),
                integer(fields["version"]),
                integer(fields.get("creation_timestamp") or 0),
                integer(fields.get("last_updated_timestamp") or 0),
                text(fields.get("source")),
                text(fields.get("run_id")),
                text(fields.get("model_id")),
                text(fields.get("description")),
                pairs(fields, "tags"),
                stage if stage in MODEL_STAGES else NO_STAGE,
                text(fields.get("status")) or READY,
                text(fields.get("run_link")),
            )

    @property
    def is_prompt(self) -> bool:
        """Whether it is a version of a prompt."""
        return self.tags.get(PROMPT_TAG, "").lower() == "true"


@dataclass(frozen=True, slots=True)
class TheirModel:
    """A registered model as the server lists it; ``aliases`` are by the server's numbers."""

    name: str
    created: int
    description: str
    tags: Mapping[str, str]
    aliases: Mapping[str, int]

    @classmethod
    def of(cls, url: str, fields: Fields) -> TheirModel:
        """Read it.

        Raises:
            NotMlflowError: it has another shape.
        """
        with shaped(url, "registered-models/search", fields):
            aliases = {text(row["alias"]): integer(row["version"]) for row in rows(fields, "aliases")}
            created = integer(fields.get("creation_timestamp") or 0)
            return cls(text(fields["name"]), created, text(fields.get("description")), pairs(fields, "tags"), aliases)


class ModelPull:
    """Brings one registered model. Used once, by one thread; ``versions`` come in the order in which they were made."""

    def __init__(
        self, session: PullSession, ids: RunIds, places: VersionPlaces, model: TheirModel, versions: list[TheirVersion]
    ) -> None:
        self._session = session
        self._ids = ids
        self._places = places
        self._model = model
        self._versions = versions
        self._registry = session.store.registry
        self._numbers: dict[int, int] = {}
        self._acknowledged: dict[str, tuple[int, VersionEntry]] = {}  # by the server's number
        self._marks: dict[str, int] = {}  # the numbers of versions here by their marks, and by the marks' ends
        self._changed = 0

    def pull(self) -> None:
        """Bring what is new of it.

        Raises:
            RemoteError: see mltrack_sync.errors.
            StoreError, UsageError: it can't be stored.
        """
        entry = self._entry()
        self._merge_model(entry)
        self._acknowledged = {one.remote: (number, one) for number, one in entry.versions.items()}
        for held in self._registry.versions(self._name):
            self._note_mark(held)
        for version in self._versions:
            self._pull_version(version)
        self._merge_aliases(entry)
        if self._changed:
            self._session.count(models=1)

    @property
    def _name(self) -> str:
        return self._model.name

    @property
    def _shown(self) -> str:
        return f"model {printable(self._name)!r}"

    def _entry(self) -> ModelEntry:
        found = self._session.ledger.state.models.get(self._name)
        return ModelEntry() if found is None else found

    def _note(self, what: str, of: str) -> None:
        self._session.note(f"{what} of {of} was set here and on the server: what is here stands")

    def _add(self, lines: Sequence[Line]) -> None:
        if lines:
            self._changed += self._registry.add_lines(lambda _: lines)

    # --- the model ---

    def _merge_model(self, entry: ModelEntry) -> None:
        model, name = self._model, self._name
        lines: list[Line] = []
        try:
            local = self._registry.get_model(name)
        except NotFoundError:
            if entry.made:
                raise  # deleted here since it was pulled or pushed: it stays deleted
            made = {"type": "create", "name": name, "description": model.description, "tags": dict(model.tags)}
            lines = [made | _timed(model.created)]
        else:
            lines = self._changes(local, entry)
        self._add(lines)

    def _changes(self, local: RegisteredModel, entry: ModelEntry) -> list[Line]:
        model, known = self._model, entry.made
        lines: list[Line] = []
        merged = merge(entry.description if known else UNKNOWN, local.description, model.description, "")
        if merged.conflict:
            self._note("the description", self._shown)
        if merged.take:
            lines.append({"type": "update", "name": self._name, "description": model.description})
        base = entry.tags if known else UNKNOWN
        for key, value in merge_texts(
            base, local.tags, model.tags, lambda key: self._note(f"tag {key!r}", self._shown)
        ):
            lines.append({"type": "tag", "name": self._name, "key": key, "value": value})
        return lines

    def _merge_aliases(self, entry: ModelEntry) -> None:
        """Aliases of versions that are here; then the ledger knows what the server has of the model."""
        local = self._registry.get_model(self._name)
        remote = {alias: self._numbers[n] for alias, n in self._model.aliases.items() if n in self._numbers}
        elsewhere = {alias for alias, number in self._model.aliases.items() if number not in self._numbers}
        mine = {alias: number for alias, number in local.aliases.items() if alias not in elsewhere}
        base: Mapping[str, int] | Unknown = entry.aliases if entry.made else UNKNOWN
        lines = []
        held = {version.version for version in self._registry.versions(self._name)}
        for alias, number in merge_texts(base, mine, remote, lambda alias: self._note(f"alias {alias!r}", self._shown)):
            if number is None or number in held:
                lines.append({"type": "alias", "name": self._name, "alias": alias, "version": number})
        self._add(lines)
        now = (self._model.description, dict(self._model.tags), remote)
        if not entry.made or now != (entry.description, entry.tags, entry.aliases):
            self._session.ledger.model(self._name, *now)

    # --- versions ---

    def _pull_version(self, theirs: TheirVersion) -> None:
        what = f"version {theirs.number} of {self._shown}"
        if theirs.status == PENDING:
            self._session.problem(f"{what} is not ready on the server")
            return
        if theirs.status != READY:
            self._session.left(f"model versions that failed on the server ({theirs.status})")
            return
        entry = self._entry()
        known = self._acknowledged.get(str(theirs.number))
        local = self._find(theirs, known)
        if local is None and known is not None:
            return  # deleted here since: it stays deleted
        before = self._changed
        if local is None:
            local = self._create(theirs)
        else:
            valid = known[1] if known is not None and known[1].made == local.creation_time else None
            self._merge_version(theirs, local, valid)
        self._numbers[theirs.number] = local.version
        seen = VersionEntry(
            local.creation_time,
            str(theirs.number),
            True,
            theirs.description,
            without_mark(theirs.tags),
            theirs.stage,
        )
        if entry.versions.get(local.version) != seen:
            self._session.ledger.model_version(seen, self._name, local.version)
        if self._changed > before:
            self._session.count(model_versions=1)

    def _find(self, theirs: TheirVersion, known: tuple[int, VersionEntry] | None) -> ModelVersion | None:
        """The version here that it is: by the ledger, or by its mark."""
        if known is not None:
            found = self._here(known[0])
            if found is not None and found.creation_time == known[1].made:
                return found
        mark = theirs.tags.get(VERSION_TAG) or _end_of_mark(theirs.number, theirs.created)
        found = self._here(self._marks.get(mark))
        store_id = self._session.store.store_id
        if found is None or not has_mark(version_mark(store_id, found), theirs.number, theirs.created, theirs.tags):
            return None
        return found

    def _here(self, number: int | None) -> ModelVersion | None:
        if number is None:
            return None
        try:
            return self._registry.get_version(self._name, number)
        except NotFoundError:
            return None

    def _note_mark(self, version: ModelVersion) -> None:
        mark = version_mark(self._session.store.store_id, version)
        self._marks.setdefault(mark, version.version)
        self._marks.setdefault("/".join(["", *mark.rsplit("/", 2)[1:]]), version.version)

    def _create(self, theirs: TheirVersion) -> ModelVersion:
        place = self._places.find(theirs.source, theirs.model_id, prompt=theirs.is_prompt)
        if not place.pulled:
            self._session.left("files of model versions that are in no run or logged model of the server")
        own = origin_mark(self._session.origin.space, self._name, theirs.number, theirs.created)
        line: Line = {
            "type": "create_version",
            "name": self._name,
            "source": place.source,
            "run_id": self._ids.of(theirs.run_id) if theirs.run_id else None,
            "description": theirs.description,
            "tags": {VERSION_TAG: own, **theirs.tags},
            "model_id": place.model_id,
            **_timed(theirs.created),
        }
        rare = {"run_link": theirs.run_link, "as_address": place.as_address}
        line |= {key: value for key, value in rare.items() if value}
        made: list[int] = []

        def lines(state: RegistryState) -> list[Line]:
            number = state.free_number(self._name, theirs.number)
            made.append(number)
            staged = {"type": "stage", "name": self._name, "version": number, "stage": theirs.stage}
            staged |= _timed(theirs.updated)
            return [{**line, "version": number}, *([staged] if theirs.stage != NO_STAGE else [])]

        self._changed += self._registry.add_lines(lines)
        if made[-1] != theirs.number:
            words = f"version {theirs.number} of {self._shown} on the server is version {made[-1]} here"
            self._session.note(f"{words}, where another has or had that number")
        found = self._registry.get_version(self._name, made[-1])
        self._note_mark(found)
        return found

    def _merge_version(self, theirs: TheirVersion, local: ModelVersion, known: VersionEntry | None) -> None:
        about = f"version {local.version} of {self._shown}"
        named: Line = {"name": self._name, "version": local.version}
        lines: list[Line] = []
        for what, base, mine, remote, absent, line in (
            (
                "the description",
                known.description if known is not None else UNKNOWN,
                local.description,
                theirs.description,
                "",
                {"type": "update_version", "description": theirs.description},
            ),
            (
                "the stage",
                known.stage if known is not None else UNKNOWN,
                local.stage,
                theirs.stage,
                NO_STAGE,
                {"type": "stage", "stage": theirs.stage},
            ),
        ):
            merged = merge(base, mine, remote, absent)
            if merged.conflict:
                self._note(what, about)
            if merged.take:
                lines.append({**named, **line})
        base_tags: Mapping[str, str] | Unknown = known.tags if known is not None else UNKNOWN
        note = partial(self._note_tag, about)
        for key, value in merge_texts(base_tags, without_mark(local.tags), without_mark(theirs.tags), note):
            lines.append({**named, "type": "version_tag", "key": key, "value": value})
        self._add(lines)

    def _note_tag(self, about: str, key: str) -> None:
        self._note(f"tag {key!r}", about)


def _end_of_mark(number: int, created: int) -> str:
    return f"/{number}/{created}"


def _timed(ms: int) -> Line:
    return {"time": ms * NS_PER_MS} if 0 < ms < TIME_MS_MAX else {}
