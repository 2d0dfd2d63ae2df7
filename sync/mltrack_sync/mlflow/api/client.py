"""MLflow's REST calls, each a method; each method says whether it may be repeated when an answer was lost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mltrack.environment import RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import (
    Fields,
    identifier,
    integer,
    integers,
    mapping,
    numbers,
    pairs,
    rows,
    shaped,
    text,
    texts,
)
from mltrack_sync.http.transport import API, Call
from mltrack_sync.mlflow.api.base import ApiClient, ignoring_missing, pairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from mltrack_sync.mlflow.api.own_place import OwnPlace

__all__ = ["History", "MlflowClient", "RemoteExperiment", "RemoteRun", "SignedPart"]

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
UPLOADS = "/api/2.0/mlflow-artifacts/mpu/"
LISTED_ROWS = 100
"""About how many files a server lists at a time."""


@dataclass(frozen=True, slots=True)
class RemoteExperiment:
    """A remote experiment; ``created`` in ms, 0 where the server does not say."""

    experiment_id: str
    name: str
    deleted: bool
    tags: Mapping[str, str]
    created: int = 0


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A remote run; ``latest`` is (step, time in ms) of each metric's latest point, ``values`` its value.

    ``inputs`` and ``outputs`` are the datasets and models it is linked to, as MLflow writes them.
    """

    run_id: str
    experiment_id: str
    artifact_uri: str
    status: str
    deleted: bool
    latest: Mapping[str, tuple[int, int]]
    values: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    start_time: int | None = None
    end_time: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    user: str = ""


@dataclass(frozen=True, slots=True)
class SignedPart:
    """Where one part of an upload goes; the URL is a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Points of one metric on the remote: steps, times in ms, values."""

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class MlflowClient(ApiClient):
    """What the syncer asks of an MLflow server."""

    run_filter = f"tags.`{RUN_ID_TAG}` = '{{}}'"

    searches_all_versions = True
    """Whether versions of registered models are found without naming the model."""

    lists_sizes = True
    """Whether the server says how large files are where it lists them; else all are 0."""

    def own_place(self, uri: str) -> OwnPlace | None:
        """Where artifacts at this URI are, for a server with an artifact API of its own."""
        return None

    # --- experiments ---

    def experiment_by_name(self, name: str) -> RemoteExperiment | None:
        """The experiment of that name, deleted or not."""
        try:
            answer = self._transport.get("experiments/get-by-name", {"experiment_name": name})
        except RemoteRefusedError as error:
            if error.is_missing:
                return None
            raise
        return self._read("experiments/get-by-name", answer, lambda a: _experiment(a["experiment"]))

    def experiment_by_id(self, experiment_id: str) -> RemoteExperiment:
        """The remote experiment with that id."""
        answer = self._transport.get("experiments/get", {"experiment_id": experiment_id})
        return self._read("experiments/get", answer, lambda a: _experiment(a["experiment"]))

    def experiment_by_tag(self, key: str, value: str) -> RemoteExperiment | None:
        """An experiment, deleted or not, with this tag. The value must not contain quotes."""
        asked = {"max_results": 1, "view_type": "ALL", "filter": f"tags.`{key}` = '{value}'"}
        answer = self._transport.post("experiments/search", asked, repeatable=True)
        found = self._read("experiments/search", answer, lambda a: [_experiment(row) for row in rows(a, "experiments")])
        return found[0] if found else None

    def experiments(self, page_rows: int) -> Iterator[RemoteExperiment]:
        """All of them, deleted or not, page by page."""
        call = "experiments/search"

        asked = {"max_results": page_rows, "view_type": "ALL"}
        for page in self._pages(call, asked, "experiments", page_rows, method="POST"):
            with shaped(self.url, call, page):
                found = [_experiment(fields) for fields in page]
            yield from found

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Its id. RESOURCE_ALREADY_EXISTS is an error here."""
        fields = {"name": name, "tags": pairs_of(tags)}
        answer = self._transport.post("experiments/create", fields, repeatable=False)
        return self._read("experiments/create", answer, lambda a: identifier(a["experiment_id"]))

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag."""
        fields = {"experiment_id": experiment_id, "key": key, "value": value}
        self._transport.post("experiments/set-experiment-tag", fields, repeatable=True)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Remove a tag; a missing one is not an error."""
        with ignoring_missing():
            fields = {"experiment_id": experiment_id, "key": key}
            self._transport.post("experiments/delete-experiment-tag", fields, repeatable=True)

    # --- runs ---

    def create_run(
        self, experiment_id: str, *, name: str, user: str, start_time: int, tags: Mapping[str, str]
    ) -> RemoteRun:
        """Create a run. Repeating it would create a second one: search for its tag first."""
        fields = {
            "experiment_id": experiment_id,
            "run_name": name,
            "user_id": user,
            "start_time": start_time,
            "tags": pairs_of(tags),
        }
        answer = self._transport.post("runs/create", fields, repeatable=False)
        return self._read("runs/create", answer, lambda a: _run(a["run"]))

    def find_runs(self, experiment_id: str, run_id: str) -> list[RemoteRun]:
        """The runs, deleted ones too, that carry our run's tag."""
        fields = {
            "experiment_ids": [experiment_id],
            "filter": self.run_filter.format(run_id),
            "run_view_type": "ALL",
            "max_results": 10,
        }
        answer = self._transport.post("runs/search", fields, repeatable=True)
        return self._read("runs/search", answer, lambda a: [_run(run) for run in rows(a, "runs")])

    def runs(self, experiment_id: str, page_rows: int) -> Iterator[RemoteRun]:
        """All runs of an experiment that are not deleted, page by page."""
        for page in self.search_runs([experiment_id], page_rows):
            yield from page

    def search_runs(
        self, experiment_ids: Sequence[str], page_rows: int, filter_string: str = "", *, deleted: bool = False
    ) -> Iterator[list[RemoteRun]]:
        """Runs of these experiments that pass a filter, page by page; with ``deleted`` also those that are."""
        call = "runs/search"
        asked: dict[str, Any] = {"experiment_ids": list(experiment_ids), "max_results": page_rows}
        if filter_string:
            asked["filter"] = filter_string
        if deleted:
            asked["run_view_type"] = "ALL"
        for page in self._pages(call, asked, "runs", page_rows, method="POST"):
            with shaped(self.url, call, page):
                found = [_run(fields) for fields in page]
            yield found

    def history_page(self, remote_id: str, key: str, page_rows: int, token: str) -> tuple[History, str]:
        """One page of the points of a metric, the first one by "", and the token of the next one; "" after the last."""
        call = "metrics/get-history"
        asked = {"run_id": remote_id, "metric_key": key, "max_results": str(page_rows)}
        answer = self._transport.get(call, {**asked, "page_token": token} if token else asked)
        return self._read(call, answer, lambda a: (_history(rows(a, "metrics")), text(a.get("next_page_token"))))

    def get_run(self, remote_id: str) -> RemoteRun:
        """The run as it is now."""
        answer = self._transport.get("runs/get", {"run_id": remote_id})
        return self._read("runs/get", answer, lambda a: _run(a["run"]))

    def run_of_origin(self, remote_id: str, run_id: str) -> list[RemoteRun]:
        """The run of that id, which ours was pulled from; none where there is none, or it is another run's copy."""
        if not remote_id:
            return []
        try:
            found = self.get_run(remote_id)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            return []
        return [found] if found.tags.get(RUN_ID_TAG, run_id) == run_id else []

    def update_run(self, remote_id: str, *, status: str, end_time: int | None, name: str) -> None:
        """Set status, end time and name."""
        fields: dict[str, Any] = {"run_id": remote_id, "status": status}
        if end_time is not None:
            fields["end_time"] = end_time
        if name:
            fields["run_name"] = name
        self._transport.post("runs/update", fields, repeatable=True)

    def delete_run(self, remote_id: str) -> None:
        """Move the run to the deleted ones; a missing run is not an error."""
        try:
            self._transport.post("runs/delete", {"run_id": remote_id}, repeatable=True)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise

    def restore_run(self, remote_id: str) -> None:
        """Restore the run from the deleted ones."""
        self._transport.post("runs/restore", {"run_id": remote_id}, repeatable=True)

    def delete_tag(self, remote_id: str, key: str) -> None:
        """Remove a tag; a missing one is not an error."""
        with ignoring_missing():
            self._transport.post("runs/delete-tag", {"run_id": remote_id, "key": key}, repeatable=True)

    def log_batch(self, body: bytes, *, repeatable: bool) -> None:
        """Params, tags and metrics in one request (see plan.Request.body)."""
        self._transport.send(Call("POST", API + "runs/log-batch", repeatable, body=body, body_bytes=len(body)))

    def history(self, remote_id: str, key: str, page_rows: int) -> Iterator[History]:
        """All points of one metric, page by page."""
        call = "metrics/get-history"
        asked = {"run_id": remote_id, "metric_key": key, "max_results": str(page_rows)}
        for page in self._pages(call, asked, "metrics", page_rows):
            with shaped(self.url, call, page):
                found = _history(page)
            yield found

    # --- artifacts ---

    def put_artifact(self, path: str, body: Callable[[], Iterator[bytes]], size: int) -> None:
        """Send a file through the server's artifact proxy; a second time overwrites the first.

        It is only retried if it certainly did not arrive; otherwise, check whether the server has it.
        """
        self._transport.send(
            Call(
                "PUT",
                ARTIFACTS + quote(path),
                False,
                body=body,
                body_bytes=size,
                content_type="application/octet-stream",
            )
        )

    def create_upload(self, path: str, parts: int) -> tuple[str, dict[int, SignedPart]]:
        """Begin an upload in parts: its id, which may be empty, and where each part goes, from 1.

        Repeating it begins a second one. A server without such uploads answers 501, an old one 404.
        """
        answer = self._upload("create", path, {"num_parts": parts})
        return self._read("mpu/create", answer, lambda a: (text(a.get("upload_id")), _signed_parts(a)))

    def complete_upload(self, path: str, upload_id: str, parts: Sequence[Mapping[str, Any]]) -> None:
        """Make one file of these parts (part_number, etag, url). It can be done once."""
        self._upload("complete", path, {"upload_id": upload_id, "parts": list(parts)})

    def abort_upload(self, path: str, upload_id: str) -> None:
        """Discard what was sent of it."""
        self._upload("abort", path, {"upload_id": upload_id})

    def _upload(self, what: str, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        folder, _, name = path.rpartition("/")
        body = json.dumps({"path": name, **fields}).encode("ascii")
        return self._transport.send(
            Call("POST", f"{UPLOADS}{what}/{quote(folder)}", False, body=body, body_bytes=len(body))
        )

    def get_artifact(
        self, path: str, begin: Callable[[], Callable[[bytes], object]], *, repeatable: bool = True
    ) -> None:
        """Read a file through the server's artifact proxy; for each attempt, ``begin`` gives what takes its chunks."""
        self._transport.download(ARTIFACTS + quote(path), begin, repeatable=repeatable)

    def list_artifacts(self, remote_id: str, folder: str) -> dict[str, int]:
        """Sizes of the files in one folder of a run (by path; -1 for a folder within)."""
        call = "artifacts/list"
        asked = {"run_id": remote_id, **({"path": folder} if folder else {})}
        found: dict[str, int] = {}
        for page in self._pages(call, asked, "files", LISTED_ROWS):
            with shaped(self.url, call, page):
                found |= _files(page)
        return found


def _experiment(fields: Fields) -> RemoteExperiment:
    deleted, created = fields.get("lifecycle_stage") == "deleted", integer(fields.get("creation_time") or 0)
    tags = pairs(fields, "tags")
    return RemoteExperiment(identifier(fields["experiment_id"]), text(fields["name"]), deleted, tags, created)


def _run(fields: Fields) -> RemoteRun:
    info, data = mapping(fields["info"]), mapping(fields.get("data"))
    metrics = rows(data, "metrics")
    return RemoteRun(
        run_id=identifier(info.get("run_id") or info["run_uuid"]),
        experiment_id=identifier(info["experiment_id"]),
        artifact_uri=text(info.get("artifact_uri")),
        status=text(info.get("status")),
        deleted=info.get("lifecycle_stage") == "deleted",
        latest={text(m["key"]): (integer(m.get("step") or 0), integer(m["timestamp"])) for m in metrics},
        values={text(m["key"]): float(numbers([m["value"]])[0]) for m in metrics},
        name=text(info.get("run_name")),
        start_time=integer(info["start_time"]) if info.get("start_time") is not None else None,
        end_time=integer(info["end_time"]) if info.get("end_time") else None,
        params=pairs(data, "params"),
        tags=pairs(data, "tags"),
        inputs=mapping(fields.get("inputs")),
        outputs=mapping(fields.get("outputs")),
        user=text(info.get("user_id")),
    )


def _signed_parts(answer: Fields) -> dict[int, SignedPart]:
    found = rows(answer, "credentials")
    return {integer(row["part_number"]): SignedPart(text(row["url"]), texts(row.get("headers"))) for row in found}


def _files(found: Sequence[Fields]) -> dict[str, int]:
    return {text(row["path"]): -1 if row.get("is_dir") else integer(row.get("file_size") or 0) for row in found}


def _history(found: Sequence[Fields]) -> History:
    return History(
        integers([row.get("step") or 0 for row in found]),
        integers([row["timestamp"] for row in found]),
        numbers([row["value"] for row in found]),
    )
