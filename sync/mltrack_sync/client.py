"""MLflow's REST calls, each a method; which may be repeated when an answer was lost is said here, call by call."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.transport import API, Call, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

__all__ = ["History", "MlflowClient", "RemoteExperiment", "RemoteRun", "SignedPart"]

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
UPLOADS = "/api/2.0/mlflow-artifacts/mpu/"
RUN_ID_TAG = "mltrack.run_id"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemoteExperiment:
    """An experiment over there; ``created`` in ms, 0 where the server does not say."""

    experiment_id: str
    name: str
    deleted: bool
    tags: Mapping[str, str]
    created: int = 0


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run over there; ``latest`` is (step, time in ms) of each metric's latest point, ``values`` its value.

    ``inputs`` and ``outputs`` are the datasets and models it is tied to, as MLflow writes them.
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


@dataclass(frozen=True, slots=True)
class SignedPart:
    """Where one part of an upload goes; the URL is a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Points of one metric over there: steps, times in ms, values."""

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class MlflowClient:
    """What the syncer asks of an MLflow server."""

    run_filter = f"tags.`{RUN_ID_TAG}` = '{{}}'"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def transport(self) -> Transport:
        """What carries its calls."""
        return self._transport

    @property
    def url(self) -> str:
        """The remote as the user calls it."""
        return self._transport.url

    # --- experiments ---

    def experiment_by_name(self, name: str) -> RemoteExperiment | None:
        """The experiment of that name, deleted or not."""
        try:
            answer = self._transport.get("experiments/get-by-name", {"experiment_name": name})
        except RemoteRefusedError as error:
            if error.is_missing:
                return None
            raise
        return _shaped(_experiment, answer, self._transport.url)

    def experiment_by_id(self, experiment_id: str) -> RemoteExperiment:
        """The experiment with that id over there."""
        answer = self._transport.get("experiments/get", {"experiment_id": experiment_id})
        return _shaped(_experiment, answer, self._transport.url)

    def experiment_by_tag(self, key: str, value: str) -> RemoteExperiment | None:
        """An experiment, deleted or not, with this tag. The value is to be without quotes."""
        asked = {"max_results": 1, "view_type": "ALL", "filter": f"tags.`{key}` = '{value}'"}
        rows = self._transport.post("experiments/search", asked, repeatable=True).get("experiments", [])
        return _shaped(_experiment, {"experiment": rows[0]}, self._transport.url) if rows else None

    def experiments(self, page_rows: int) -> Iterator[RemoteExperiment]:
        """All of them, deleted or not, page by page."""
        token = ""
        while True:
            asked = {"max_results": page_rows, "view_type": "ALL", **({"page_token": token} if token else {})}
            answer = self._transport.post("experiments/search", asked, repeatable=True)
            for fields in answer.get("experiments", []):
                yield _shaped(_experiment, {"experiment": fields}, self._transport.url)
            token = str(answer.get("next_page_token") or "")
            if not token:
                return

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Its id. RESOURCE_ALREADY_EXISTS is an error here."""
        fields = {"name": name, "tags": _pairs(tags.items())}
        answer = self._transport.post("experiments/create", fields, repeatable=False)
        return _shaped(lambda a: str(a["experiment_id"]), answer, self._transport.url)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag."""
        fields = {"experiment_id": experiment_id, "key": key, "value": value}
        self._transport.post("experiments/set-experiment-tag", fields, repeatable=True)

    # --- runs ---

    def create_run(
        self, experiment_id: str, *, name: str, user: str, start_time: int, tags: Mapping[str, str]
    ) -> RemoteRun:
        """A new run. Repeated, it would make a second one: look for its tag first."""
        fields = {
            "experiment_id": experiment_id,
            "run_name": name,
            "user_id": user,
            "start_time": start_time,
            "tags": _pairs(tags.items()),
        }
        answer = self._transport.post("runs/create", fields, repeatable=False)
        return _shaped(lambda a: _run(a["run"]), answer, self._transport.url)

    def find_runs(self, experiment_id: str, run_id: str) -> list[RemoteRun]:
        """The runs, deleted ones too, that carry our run's tag."""
        fields = {
            "experiment_ids": [experiment_id],
            "filter": self.run_filter.format(run_id),
            "run_view_type": "ALL",
            "max_results": 10,
        }
        answer = self._transport.post("runs/search", fields, repeatable=True)
        return _shaped(lambda a: [_run(run) for run in a.get("runs", [])], answer, self._transport.url)

    def get_run(self, remote_id: str) -> RemoteRun:
        """The run as it is now."""
        answer = self._transport.get("runs/get", {"run_id": remote_id})
        return _shaped(lambda a: _run(a["run"]), answer, self._transport.url)

    def update_run(self, remote_id: str, *, status: str, end_time: int | None, name: str) -> None:
        """Set status, end time and name."""
        fields: dict[str, Any] = {"run_id": remote_id, "status": status}
        if end_time is not None:
            fields["end_time"] = end_time
        if name:
            fields["run_name"] = name
        self._transport.post("runs/update", fields, repeatable=True)

    def delete_run(self, remote_id: str) -> None:
        """Move the run to the deleted ones; one that is not there at all is no error."""
        try:
            self._transport.post("runs/delete", {"run_id": remote_id}, repeatable=True)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise

    def restore_run(self, remote_id: str) -> None:
        """Take the run back from the deleted ones."""
        self._transport.post("runs/restore", {"run_id": remote_id}, repeatable=True)

    def delete_tag(self, remote_id: str, key: str) -> None:
        """Take a tag away; one that is not there is no error."""
        try:
            self._transport.post("runs/delete-tag", {"run_id": remote_id, "key": key}, repeatable=True)
        except RemoteRefusedError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def log_batch(self, body: bytes, *, repeatable: bool) -> None:
        """Params, tags and metrics in one request (see plan.Request.body)."""
        self._transport.send(Call("POST", API + "runs/log-batch", repeatable, body=body, body_bytes=len(body)))

    def history(self, remote_id: str, key: str, page_rows: int) -> Iterator[History]:
        """All points of one metric, page by page."""
        token = ""
        while True:
            asked = {"run_id": remote_id, "metric_key": key, "max_results": str(page_rows)}
            answer = self._transport.get("metrics/get-history", {**asked, "page_token": token} if token else asked)
            yield _shaped(lambda a: _history(a.get("metrics", [])), answer, self._transport.url)
            token = str(answer.get("next_page_token") or "")
            if not token:
                return

    # --- artifacts ---

    def put_artifact(self, path: str, body: Callable[[], Iterator[bytes]], size: int) -> None:
        """Send a file through the server's artifact proxy; a second time overwrites the first.

        It is sent again by itself only where it surely did not arrive: else look whether it is there.
        """
        from urllib.parse import quote

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

        Made again, it begins a second one. A server without such uploads answers 501, an old one 404.
        """
        answer = self._upload("create", path, {"num_parts": parts})
        return _shaped(lambda a: (str(a.get("upload_id") or ""), _signed_parts(a)), answer, self._transport.url)

    def complete_upload(self, path: str, upload_id: str, parts: Sequence[Mapping[str, Any]]) -> None:
        """Make one file of these parts (part_number, etag, url). It can be done once."""
        self._upload("complete", path, {"upload_id": upload_id, "parts": list(parts)})

    def abort_upload(self, path: str, upload_id: str) -> None:
        """Throw away what was sent of it."""
        self._upload("abort", path, {"upload_id": upload_id})

    def _upload(self, what: str, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        from urllib.parse import quote

        folder, _, name = path.rpartition("/")
        body = json.dumps({"path": name, **fields}).encode("ascii")
        return self._transport.send(
            Call("POST", f"{UPLOADS}{what}/{quote(folder)}", False, body=body, body_bytes=len(body))
        )

    def get_artifact(
        self, path: str, begin: Callable[[], Callable[[bytes], object]], *, repeatable: bool = True
    ) -> None:
        """Read a file through the server's artifact proxy, piece by piece; ``begin`` gives a taker for each attempt."""
        from urllib.parse import quote

        self._transport.download(ARTIFACTS + quote(path), begin, repeatable=repeatable)

    def list_artifacts(self, remote_id: str, folder: str) -> dict[str, int]:
        """Sizes of the files in one folder of a run (by path; -1 for a folder within)."""
        found: dict[str, int] = {}
        token = ""
        while True:
            asked = {"run_id": remote_id, **({"path": folder} if folder else {})}
            answer = self._transport.get("artifacts/list", {**asked, "page_token": token} if token else asked)
            found |= _shaped(lambda a: _files(a.get("files", [])), answer, self._transport.url)
            token = str(answer.get("next_page_token") or "")
            if not token:
                return found


def _pairs(items: Any) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in items]


def _shaped(read: Callable[[dict[str, Any]], T], answer: dict[str, Any], url: str) -> T:
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotMlflowError(
            f"{url} gave an answer that MLflow does not give: {json.dumps(answer)[:120]}",
            hint="is there something between here and the server that changes answers?",
        ) from error


def _experiment(answer: dict[str, Any]) -> RemoteExperiment:
    fields = answer["experiment"]
    tags = {str(tag["key"]): str(tag["value"]) for tag in fields.get("tags", [])}
    deleted, created = fields.get("lifecycle_stage") == "deleted", int(fields.get("creation_time") or 0)
    return RemoteExperiment(str(fields["experiment_id"]), str(fields["name"]), deleted, tags, created)


def _run(fields: dict[str, Any]) -> RemoteRun:
    info, data = fields["info"], fields.get("data", {})
    metrics = data.get("metrics", [])
    return RemoteRun(
        run_id=str(info.get("run_id") or info["run_uuid"]),
        experiment_id=str(info["experiment_id"]),
        artifact_uri=str(info.get("artifact_uri", "")),
        status=str(info.get("status", "")),
        deleted=info.get("lifecycle_stage") == "deleted",
        latest={str(m["key"]): (int(m.get("step", 0)), int(m["timestamp"])) for m in metrics},
        values={str(m["key"]): float(m["value"]) for m in metrics},
        name=str(info.get("run_name", "")),
        start_time=int(info["start_time"]) if "start_time" in info else None,
        end_time=int(info["end_time"]) if info.get("end_time") else None,
        params={str(p["key"]): str(p.get("value", "")) for p in data.get("params", [])},
        tags={str(t["key"]): str(t.get("value", "")) for t in data.get("tags", [])},
        inputs=dict(fields.get("inputs") or {}),
        outputs=dict(fields.get("outputs") or {}),
    )


def _signed_parts(answer: dict[str, Any]) -> dict[int, SignedPart]:
    rows = answer.get("credentials", [])
    return {int(row["part_number"]): SignedPart(str(row["url"]), dict(row.get("headers") or {})) for row in rows}


def _files(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {str(row["path"]): -1 if row.get("is_dir") else int(row.get("file_size") or 0) for row in rows}


def _history(rows: Sequence[Mapping[str, Any]]) -> History:
    return History(
        np.array([int(row.get("step", 0)) for row in rows], np.int64),
        np.array([int(row["timestamp"]) for row in rows], np.int64),
        np.array([float(row["value"]) for row in rows], np.float64),
    )
