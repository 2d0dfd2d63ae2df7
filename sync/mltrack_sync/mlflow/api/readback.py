"""Reading models and traces back from a remote to compare them; nothing is changed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.environment import PROMPT_TAG
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.http.shapes import identifier, integer, mapping, pages, pairs, rows, shaped, text
from mltrack_sync.mlflow.api.base import ApiClient, in_path
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.api.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ComparedClient"]

LISTED_ROWS = 100
MODELS_ROWS = 50
TRACE_BYTES_MAX = 256 << 20
"""A trace comes with all its spans and their contents in one answer."""

Fields = dict[str, Any]


class ComparedClient(ApiClient):
    """Answers as MLflow writes them, each a dictionary; None for what the remote does not have."""

    # --- registered models ---

    def registered_model(self, name: str) -> Fields | None:
        """A registered model."""
        return self._found("registered-models/get", {"name": name}, "registered_model")

    def versions(self, name: str, *, prompts: bool) -> list[Fields]:
        """All versions of a registered model; those of prompts are found only where they are asked for."""
        return [dict(row) for row in RegistryClient(self._transport).version_fields(name, prompts=prompts)]

    def registered_models(self, *, prompts: bool) -> Iterator[list[Fields]]:
        """All registered models, or all prompts, page by page, with tags and aliases."""
        yield from self._searched("registered-models/search", "registered_models", prompts=prompts)

    def all_versions(self, *, prompts: bool) -> Iterator[list[Fields]]:
        """The versions of all registered models, or of all prompts, page by page."""
        yield from self._searched("model-versions/search", "model_versions", prompts=prompts)

    def _searched(self, call: str, name: str, *, prompts: bool) -> Iterator[list[Fields]]:
        asked = {"max_results": str(LISTED_ROWS)}
        if prompts:
            asked["filter"] = f"tags.`{PROMPT_TAG}` = 'true'"
        for page in self._pages(call, asked, name, LISTED_ROWS):
            yield [dict(row) for row in page]

    # --- logged models ---

    def logged_models(self, experiment_ids: Sequence[str], model_id: str) -> list[Fields]:
        """The logged models in these experiments that carry our model's tag; a deleted one is not found."""
        return [dict(row) for row in LoggedModelsClient(self._transport).find_fields(experiment_ids, model_id)]

    def search_logged_models(self, experiment_ids: Sequence[str]) -> Iterator[list[Fields]]:
        """The logged models of these experiments, page by page; deleted ones are not found."""
        call, asked = "logged-models/search", {"experiment_ids": list(experiment_ids), "max_results": MODELS_ROWS}
        for page in self._pages(call, asked, "models", MODELS_ROWS, method="POST"):
            yield [dict(row) for row in page]

    def logged_model(self, remote_id: str) -> Fields | None:
        """A logged model, deleted or not."""
        return self._found(f"logged-models/{in_path(remote_id)}", {"allow_deleted": "true"}, "model")

    def model_of_origin(self, remote_id: str) -> list[Fields]:
        """The logged model of that id, which ours was pulled from; none where there is none, or it is deleted."""
        found = self._found(f"logged-models/{in_path(remote_id)}", {}, "model") if remote_id else None
        return [] if found is None else [found]

    def logged_model_files(self, remote_id: str, folder: str) -> dict[str, int]:
        """Sizes of the files in one folder of a logged model, by their paths."""
        found = self.logged_model_entries(remote_id, folder)
        return {path: size for path, size in found.items() if size >= 0}

    def logged_model_entries(self, remote_id: str, folder: str) -> dict[str, int]:
        """The same with the folders in it, whose size is -1."""
        asked = {"artifact_directory_path": folder} if folder else {}
        call = f"logged-models/{in_path(remote_id)}/artifacts/directories"
        found: dict[str, int] = {}
        for page in self._pages(call, asked, "files", LISTED_ROWS):
            with shaped(self.url, call, page):
                for row in page:
                    found[text(row["path"])] = -1 if row.get("is_dir") else integer(row.get("file_size") or 0)
        return found

    # --- traces ---

    def trace(self, trace_id: str) -> Fields | None:
        """A trace with its spans; without the field ``spans`` where the server returns none."""
        try:
            found = self._found_3("traces/get", {"trace_id": trace_id, "allow_partial": "true"})
        except (RemoteRefusedError, NotMlflowError) as error:
            if not error.unknown_call:
                raise
            found = None
        if found is not None:
            return {"spans": [], **found}
        # an older server takes the last part of that path for a trace's id
        return self._found_3(f"traces/{in_path(trace_id)}")

    def trace_infos(self, trace_ids: Sequence[str]) -> dict[str, Fields]:
        """What traces have in addition to their spans, by id; without those that the remote does not have."""
        try:
            answer = self._send_3("POST", "traces/batchGetInfos", {"trace_ids": list(trace_ids)})
        except (RemoteRefusedError, NotMlflowError) as error:
            if not error.unknown_call:
                raise
            traces = [self._found_3(f"traces/{in_path(trace_id)}") for trace_id in trace_ids]
            infos = [dict(mapping(trace.get("trace_info"))) for trace in traces if trace is not None]
        else:
            with shaped(self.url, "traces/batchGetInfos", answer):
                infos = [dict(row) for row in rows(answer, "trace_infos")]
        with shaped(self.url, "traces/batchGetInfos", infos):
            return {text(info["trace_id"]): info for info in infos}

    def search_traces(self, experiment_id: str) -> Iterator[list[Fields]]:
        """What the traces of an experiment have besides spans, page by page, the oldest first."""
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        yield from self._trace_pages({"locations": [place], "order_by": ["timestamp_ms ASC"]})

    def traces_of_run(self, experiment_id: str, remote_run: str) -> Iterator[list[Fields]]:
        """The traces of an experiment that are linked to a run, page by page."""
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        yield from self._trace_pages({"locations": [place], "filter": f"attributes.run_id = '{remote_run}'"})

    # --- what is only counted ---

    def gateway_endpoints(self) -> Fields:
        """Endpoints of its gateway, as the server answers."""
        return self._send_3("GET", "gateway/endpoints/list")

    def issues(self, experiment_id: str, most: int) -> Fields:
        """Issues of an experiment, or of all ("")."""
        place = {"experiment_id": experiment_id} if experiment_id else {}
        return self._send_3("POST", "issues/search", {**place, "max_results": most})

    def review_queues(self, experiment_id: str, most: int) -> Fields:
        """Review queues of an experiment."""
        params = {"experiment_id": experiment_id, "max_results": str(most)}
        return self._send_3("GET", "review-queues/list", params=params)

    def _trace_pages(self, asked: Mapping[str, Any]) -> Iterator[list[Fields]]:
        def ask(token: str) -> dict[str, Any]:
            fields = {**asked, "max_results": LISTED_ROWS, **({"page_token": token} if token else {})}
            return self._send_3("POST", "traces/search", fields)

        for page in pages(ask, "traces", url=self.url, call="traces/search", page_rows=LISTED_ROWS):
            yield [dict(row) for row in page]

    def search_traces_2(self, experiment_id: str) -> Iterator[list[Fields]]:
        """As ``search_traces``, of a server that knows only the second version of that call and of their infos."""
        asked = {"experiment_ids": experiment_id, "order_by": "timestamp_ms ASC", "max_results": str(LISTED_ROWS)}
        for page in self._pages("traces", asked, "traces", LISTED_ROWS):
            with shaped(self.url, "traces", page):
                yield [_info_3(row) for row in page]

    def _found(self, path: str, asked: Mapping[str, str], name: str) -> Fields | None:
        try:
            answer = self._transport.get(path, asked)
        except RemoteRefusedError as error:
            if error.says_missing:
                return None
            raise
        return self._dictionary(answer, name)

    def _found_3(self, path: str, asked: Mapping[str, str] | None = None) -> Fields | None:
        try:
            answer = self._send_3("GET", path, params=asked or {}, answer_bytes_max=TRACE_BYTES_MAX)
        except RemoteRefusedError as error:
            if error.says_missing or error.code == "NOT_FOUND":
                return None
            raise
        return self._dictionary(answer, "trace")

    def _dictionary(self, answer: Mapping[str, Any], name: str) -> Fields:
        found = answer.get(name)
        if not isinstance(found, dict):
            raise NotMlflowError(f"{self.url} answered without a {name}")
        return found


def _info_3(row: Any) -> Fields:
    """The info of a trace as the second version writes it, as the third does; times are ms, as numbers."""
    return {
        "trace_id": identifier(row.get("request_id")),
        "trace_location": {"mlflow_experiment": {"experiment_id": identifier(row["experiment_id"])}},
        "request_time": integer(row["timestamp_ms"]),
        "execution_duration": None if row.get("execution_time_ms") is None else integer(row["execution_time_ms"]),
        "state": _STATES.get(text(row.get("status")), "STATE_UNSPECIFIED"),
        "trace_metadata": pairs(row, "request_metadata"),
        "tags": pairs(row, "tags"),
    }


_STATES = {"OK": "OK", "ERROR": "ERROR", "IN_PROGRESS": "IN_PROGRESS"}
