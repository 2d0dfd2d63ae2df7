"""What is read of a remote to compare models and traces with; nothing is changed there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.http.shapes import integer, mapping, pages, pairs, rows, shaped, text
from mltrack_sync.http.transport import Call
from mltrack_sync.mlflow.api.models import MODEL_ID_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mltrack_sync.http.transport import Transport

__all__ = ["ComparedClient", "texts_of"]

API_3 = "/api/3.0/mlflow/"
PAGE_ROWS = 200
LISTED_ROWS = 100
TRACE_BYTES_MAX = 256 << 20
"""A trace comes with all its spans, and what they hold, in one answer."""

Fields = dict[str, Any]


class ComparedClient:
    """Answers as MLflow writes them, each a dictionary; None for what is not there.

    Each call raises RemoteError, as transport does.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # --- registered models ---

    def registered_model(self, name: str) -> Fields | None:
        """A registered model."""
        return self._found("registered-models/get", {"name": name}, "registered_model")

    def versions(self, name: str, *, prompts: bool) -> list[Fields]:
        """All versions of a registered model; those of prompts are found only where they are asked for."""
        quoted = '"' if "'" in name else "'"
        which = f"name={quoted}{name}{quoted}"
        if prompts:
            which += " AND tags.`mlflow.prompt.is_prompt` = 'true'"
        asked, call = {"filter": which, "max_results": str(PAGE_ROWS)}, "model-versions/search"
        return [dict(row) for page in self._pages(call, asked, "model_versions", PAGE_ROWS) for row in page]

    # --- logged models ---

    def logged_models(self, experiment_ids: Sequence[str], model_id: str) -> list[Fields]:
        """The logged models in these experiments that carry our model's tag; a deleted one is not found."""
        fields = {"experiment_ids": list(experiment_ids), "filter": f"tags.`{MODEL_ID_TAG}` = '{model_id}'"}
        answer = self._transport.post("logged-models/search", {**fields, "max_results": 10}, repeatable=True)
        with shaped(self._transport.url, "logged-models/search", answer):
            return [dict(row) for row in rows(answer, "models")]

    def logged_model(self, remote_id: str) -> Fields | None:
        """A logged model, deleted or not."""
        return self._found(f"logged-models/{quote(remote_id, safe='')}", {"allow_deleted": "true"}, "model")

    def logged_model_files(self, remote_id: str, folder: str) -> dict[str, int]:
        """Sizes of the files in one folder of a logged model, by their paths."""
        asked = {"artifact_directory_path": folder} if folder else {}
        call = f"logged-models/{quote(remote_id, safe='')}/artifacts/directories"
        found: dict[str, int] = {}
        for page in self._pages(call, asked, "files", LISTED_ROWS):
            with shaped(self._transport.url, call, page):
                files = [row for row in page if not row.get("is_dir")]
                found |= {text(row["path"]): integer(row.get("file_size") or 0) for row in files}
        return found

    def _pages(
        self, call: str, asked: Mapping[str, str], name: str, page_rows: int
    ) -> Iterator[list[Mapping[str, Any]]]:
        def ask(token: str) -> dict[str, Any]:
            return self._transport.get(call, {**asked, "page_token": token} if token else asked)

        return pages(ask, name, url=self._transport.url, call=call, page_rows=page_rows)

    # --- traces ---

    def trace(self, trace_id: str) -> Fields | None:
        """A trace with its spans; without the field ``spans`` where the server gives none back."""
        try:
            found = self._found_3("traces/get", {"trace_id": trace_id, "allow_partial": "true"})
        except (RemoteRefusedError, NotMlflowError) as error:
            if not _is_older(error):
                raise
            found = None
        if found is not None:
            return {"spans": [], **found}
        # an older server takes the last word of that path for a trace's id
        return self._found_3(f"traces/{quote(trace_id, safe='')}")

    def trace_infos(self, trace_ids: Sequence[str]) -> dict[str, Fields]:
        """What is told of traces beside their spans, by id; those that are not there are left out."""
        body = json.dumps({"trace_ids": list(trace_ids)}, separators=(",", ":")).encode("ascii")
        try:
            answer = self._transport.send(
                Call("POST", f"{API_3}traces/batchGetInfos", True, body=body, body_bytes=len(body))
            )
        except (RemoteRefusedError, NotMlflowError) as error:
            if not _is_older(error):
                raise
            traces = [self._found_3(f"traces/{quote(trace_id, safe='')}") for trace_id in trace_ids]
            infos = [dict(mapping(trace.get("trace_info"))) for trace in traces if trace is not None]
        else:
            with shaped(self._transport.url, "traces/batchGetInfos", answer):
                infos = [dict(row) for row in rows(answer, "trace_infos")]
        with shaped(self._transport.url, "traces/batchGetInfos", infos):
            return {text(info["trace_id"]): info for info in infos}

    def _found(self, path: str, asked: Mapping[str, str], name: str) -> Fields | None:
        try:
            answer = self._transport.get(path, asked)
        except RemoteRefusedError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return self._dictionary(answer, name)

    def _found_3(self, path: str, asked: Mapping[str, str] | None = None) -> Fields | None:
        try:
            call = Call("GET", API_3 + path, True, asked or {}, answer_bytes_max=TRACE_BYTES_MAX)
            answer = self._transport.send(call)
        except RemoteRefusedError as error:
            if error.code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                return None
            raise
        return self._dictionary(answer, "trace")

    def _dictionary(self, answer: Mapping[str, Any], name: str) -> Fields:
        found = answer.get(name)
        if not isinstance(found, dict):
            raise NotMlflowError(f"{self._transport.url} gave no {name} in its answer")
        return found


def texts_of(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    """Params or tags, which MLflow writes as a list of pairs."""
    return pairs(fields, name)


def _is_older(error: RemoteRefusedError | NotMlflowError) -> bool:
    """Whether the server does not know such a call."""
    if isinstance(error, NotMlflowError):
        return error.unknown_call
    return error.status in (404, 405, 501) and error.code != "RESOURCE_DOES_NOT_EXIST"
