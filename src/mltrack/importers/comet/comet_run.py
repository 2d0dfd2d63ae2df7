"""One experiment of Comet's: its archives, read once for facts and points."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.importers.batches import make_batch
from mltrack.importers.comet.names import NAME_KEYS, file_name, metric_name
from mltrack.importers.json_fields import number_of, parse_json, text_of
from mltrack.importers.kept_points import KeptPoints
from mltrack.importers.logged_rows import BATCH_ITEMS, LoggedRows, is_step
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.times import NS_PER_MS, ns_of_ms
from mltrack.values.rich import Text

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.batches import Columns
    from mltrack.importers.comet.archive import Archive
    from mltrack.importers.findings import Findings

__all__ = ["CometRun", "Upload"]

VALUE_BYTES_MAX = 64 << 20
_USUAL = re.compile(
    rb'\{"payload":\{"local_timestamp":([0-9]{1,13}),"message_id":[0-9]+,"metric":\{"epoch":(?:null|[0-9]+),'
    rb'"metricName":"([ !#-\[\]-~]+)","metricValue":(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?),'
    rb'"step":(null|[0-9]{1,18})\}\},"type":"metric_msg"\}\s*'
)
"""A message of a number without a context, as Comet writes nearly all: read without JSON."""
TEXT, IMAGE = "text-sample", "visualization"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in an archive: its name there, what it is called here, and when it was logged."""

    archive: Archive
    member: str
    name: str
    kind: str
    step: int
    time: int


@dataclass(slots=True)
class CometRun:
    """It; ``archives`` in the order in which they were begun."""

    archives: list[Archive]
    findings: Findings
    name: str = ""
    user: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Files that are texts in messages, by name."""
    remote: int = 0
    _kept: KeptPoints = field(default_factory=KeptPoints)
    _nested: bool = False

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return self.archives[0].where

    def scan(self) -> None:
        """Read all of it."""
        labels: dict[str, None] = {}
        for archive in self.archives:
            given = archive.head.get("tags")
            labels.update(dict.fromkeys(map(str, given if isinstance(given, list) else ())))
        for part in self._parts(note=True):
            self._kept.add(part)
        if labels:
            self.tags["comet.tags"] = json.dumps(list(labels), ensure_ascii=False)
        if self._nested:
            self.params = {key.replace("|", "."): value for key, value in self.params.items()}

    def points(self) -> Iterator[pa.RecordBatch]:
        """All numbers, system metrics included."""
        for part in self._kept.parts if self._kept.complete else self._parts(note=False):
            yield make_batch(part.keys, part.codes, part.steps, part.times, part.values)

    def _parts(self, note: bool) -> Iterator[Columns]:
        rows, last_step = LoggedRows(), 0
        for archive in self.archives:
            for number, line in self._lines(archive):
                usual = _USUAL.fullmatch(line)
                if usual is not None:
                    last_step = last_step if usual[4] == b"null" else int(usual[4])
                    name, factor = metric_name(usual[2].decode("ascii"))
                    rows.add(last_step, int(usual[1]) * NS_PER_MS, {name: float(usual[3]) * factor})
                else:
                    last_step = self._take_message(archive, number, line, rows, last_step, note)
                if len(rows) >= BATCH_ITEMS:
                    yield rows.take()[0]
        yield rows.take()[0]

    def _lines(self, archive: Archive) -> Iterator[tuple[int, bytes]]:
        """The lines of its messages. Where they can't be read further, that is named."""
        try:
            yield from archive.lines()
        except SourceError as error:
            self.findings.problem(archive.where, str(error))

    def _take_message(
        self, archive: Archive, number: int, line: bytes, rows: LoggedRows, last_step: int, note: bool
    ) -> int:
        """Take any message; returns the step of the last number. One that can't be read is named."""
        place = f"{archive.where}: messages.json: line {number:,}"
        try:
            record = parse_json(line)
            kind, payload = record["type"], record["payload"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self.findings.problem(place, f"not a message of Comet's: {' '.join(str(error).split())[:100]}")
            return last_step
        if not isinstance(kind, str) or not isinstance(payload, dict):
            return last_step
        try:
            if isinstance(payload.get("metric"), dict):
                return _add_metric(rows, payload, last_step)
            if note:
                self._note(archive, kind, payload)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.findings.problem(place, f"can't be read: {' '.join(str(error).split())[:200]}")
        return last_step

    # --- facts ---

    def _note(self, archive: Archive, kind: str, payload: dict[str, Any]) -> None:
        param = payload.get("param") or payload.get("params")
        if isinstance(param, dict):
            self._take_param(param)
        elif kind == "log_other":
            self._take_other(str(payload["key"]), payload["value"])
        elif kind == "file_upload":
            self._take_upload(archive, payload)
        elif kind == "standard_output":
            self.console.append(str(payload["output"]))
        elif kind == "system_details":
            self.user = str(payload.get("user") or self.user)
            if payload.get("hostname"):
                self.tags["comet.host"] = str(payload["hostname"])
        elif kind == "git_metadata":
            self._take_git(payload["git_metadata"])
        elif kind in ("graph", "html", "htmlOverride"):
            name = "graph.txt" if kind == "graph" else "html.html"
            before = self.texts.get(name, "") if kind == "html" else ""
            self.texts[name] = before + str(payload.get("graph" if kind == "graph" else "html") or "")
        elif kind == "installed_packages":
            self.texts["requirements.txt"] = "".join(f"{each}\n" for each in payload["installed_packages"])
        elif kind in ("remote_file", "remote_model"):
            self.remote += 1

    def _take_param(self, param: dict[str, Any]) -> None:
        name, value = str(param["paramName"]), param["paramValue"]
        if param.get("source") != "auto-logged" or name not in ("curr_step", "curr_epoch"):
            self.params[name] = value if isinstance(value, str) else text_of(value)

    def _take_other(self, key: str, value: Any) -> None:
        if key in NAME_KEYS:
            self.name = str(value)
        elif key == "hasNestedParams":
            self._nested = bool(value)
        elif key != "offline_experiment":
            self.tags[f"comet.{key}"] = value if isinstance(value, str) else text_of(value)

    def _take_git(self, git: dict[str, Any]) -> None:
        names = {"origin": "repoURL", "branch": "branch", "parent": "commit"}
        found = {f"mlflow.source.git.{names[key]}": str(git[key]) for key in names if git.get(key)}
        self.tags.update(found)

    def _take_upload(self, archive: Archive, payload: dict[str, Any]) -> None:
        more = payload.get("additional_params") or {}
        kind, step = str(payload.get("upload_type") or "asset"), more.get("step")
        found = Upload(
            archive,
            str(payload["file_path"]),
            file_name(kind, more),
            kind,
            int(step or 0) if is_step(step) else 0,
            ns_of_ms(payload.get("local_timestamp")),
        )
        if archive.size(found.member) is None:
            self.findings.problem(archive.where, f"{found.name}: {found.member!r:.80} is not in the archive")
        else:
            self.uploads.append(found)

    # --- values ---

    def is_value(self, upload: Upload) -> bool:
        """Whether a file comes as a value: a text, or a PNG image."""
        if upload.kind == TEXT:
            return True
        if upload.kind != IMAGE:
            return False
        with upload.archive.open(upload.member) as stream:
            return stream.read(len(PNG)) == PNG

    def values(self) -> Iterator[SourceValue]:
        """Texts and images."""
        for upload in self.uploads:
            try:
                if not self.is_value(upload):
                    continue
                data = upload.archive.read(upload.member, VALUE_BYTES_MAX)
            except SourceError as error:
                self.findings.problem(upload.archive.where, f"{upload.name}: {error}")
                continue
            value = Text(data.decode("utf-8", "replace")) if upload.kind == TEXT else PngImage(data)
            key = "text" if upload.kind == TEXT else upload.name.removeprefix("images/")
            yield SourceValue(key, upload.step, upload.time, value)


def _add_metric(rows: LoggedRows, payload: dict[str, Any], last_step: int) -> int:
    """Add a number; returns its step. One without a step has that of the number before it, as Comet shows it.

    Raises:
        ValueError, KeyError: it is none.
    """
    metric = payload["metric"]
    value, step = number_of(metric["metricValue"]), metric.get("step")
    if value is None:
        raise ValueError(f"{metric['metricValue']!r:.60} is not a number")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if step is None:
        step = last_step
    elif not is_step(step):
        raise ValueError(f"{step!r:.60} is not a step")
    context = payload.get("context")
    name, factor = metric_name(str(metric["metricName"]), context if isinstance(context, str) else None)
    rows.add(step, ns_of_ms(payload.get("local_timestamp")), {name: value * factor})
    return int(step)
