"""Run history's artifacts: names are made first, in batches, and each comes with a URL to put its content to."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .blobs import BlobStore
from .exchange import Refused, Request, Response, as_json
from .limits import AzureLimits


@dataclass(frozen=True, slots=True)
class Container:
    """Artifacts that belong together: those of a run, or of one upload."""

    origin: str
    name: str

    def artifact_id(self, path: str) -> str:
        return f"{self.origin}/{self.name}/{path}"


class Artifacts:
    """The names of one workspace. ``page_rows`` is how many a listing gives at once."""

    def __init__(self, blobs: BlobStore) -> None:
        self.page_rows = 500
        self._blobs = blobs
        self._made: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def paths(self, container: Container) -> list[str]:
        """All names in a container, with or without content."""
        with self._lock:
            return sorted(self._made.get(container.artifact_id(""), {}))

    def content(self, container: Container, path: str) -> bytes | None:
        """The bytes that arrived; None when only the name is there."""
        return self._blobs.content(_blob_name(container, path))

    def replace(self, container: Container, path: str, content: bytes | None) -> None:
        """Other bytes behind everybody's back; with None only the name stays."""
        self._blobs.replace(_blob_name(container, path), content)

    def answer(self, request: Request, action: str, container: Container, limits: AzureLimits) -> Response:
        """One call."""
        match action, request.method:
            case "batch/metadata", "POST":
                return self._make(request, container, limits)
            case "contentinfo", "GET":
                return self._locate(request, container)
            case "metadata", "GET":
                path = self._known(request, container)
                return as_json(self._artifact(container, path))
            case "", "GET":
                return self._list(request, container)
        raise Refused(404, "NotFound", f"There is no {request.method} {action!r} here.")

    def _make(self, request: Request, container: Container, limits: AzureLimits) -> Response:
        asked = request.fields().get("paths")
        if not isinstance(asked, list) or not asked:
            raise Refused(400, "UserError", "The field paths is missing or empty.")
        if len(asked) > limits.batch_paths_max:
            raise Refused(400, "UserError", f"The batch has more than {limits.batch_paths_max} paths.")
        artifacts: dict[str, Any] = {}
        contents: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for path in (str(item["path"]) for item in asked):
            error = self._add(container, path, limits)
            if error:
                errors[path] = {"error": error}
            else:
                artifacts[path] = self._artifact(container, path)
                contents[path] = self._content_information(request, container, path)
        return as_json({"artifacts": artifacts, "artifactContentInformation": contents, "errors": errors})

    def _add(self, container: Container, path: str, limits: AzureLimits) -> Mapping[str, str] | None:
        if not path or path.startswith("/") or ".." in path.split("/"):
            return {"code": "UserError", "message": f"The artifact path {path!r} is not valid."}
        if len(path) > limits.artifact_path_chars_max:
            return {"code": "UserError", "message": "The artifact path is too long."}
        with self._lock:
            made = self._made.setdefault(container.artifact_id(""), {})
            if path in made:
                return {
                    "code": "UserError",
                    "message": f"Resource Conflict: ArtifactId {container.artifact_id(path)} already exists.",
                }
            made[path] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        return None

    def _locate(self, request: Request, container: Container) -> Response:
        return as_json(self._content_information(request, container, self._known(request, container)))

    def _list(self, request: Request, container: Container) -> Response:
        paths = self.paths(container)
        start = int(request.query.get("continuationToken") or 0)
        page = paths[start : start + self.page_rows]
        fields: dict[str, Any] = {"value": [self._artifact(container, path) for path in page]}
        after = start + len(page)
        if after < len(paths):
            fields["continuationToken"] = str(after)
            fields["nextLink"] = f"{request.base_url}{request.path}?continuationToken={after}"
        return as_json(fields)

    def _known(self, request: Request, container: Container) -> str:
        path = request.query.get("path", "")
        if path not in self.paths(container):
            raise Refused(404, "UserError", f"ArtifactId {container.artifact_id(path)} was not found.")
        return path

    def _artifact(self, container: Container, path: str) -> dict[str, Any]:
        with self._lock:
            created = self._made[container.artifact_id("")][path]
        return {
            "artifactId": container.artifact_id(path),
            "origin": container.origin,
            "container": container.name,
            "path": path,
            "etag": f'"{quote(path, safe="")}"',
            "createdTime": created,
            "dataPath": None,
            "tags": {},
        }

    def _content_information(self, request: Request, container: Container, path: str) -> dict[str, Any]:
        return {
            "contentUri": self._blobs.sas_url(request.base_url, _blob_name(container, path)),
            "origin": container.origin,
            "container": container.name,
            "path": path,
            "tags": {},
        }


def _blob_name(container: Container, path: str) -> str:
    return f"azureml/{container.artifact_id(path)}"
