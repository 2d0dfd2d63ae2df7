"""MLflow's calls on evaluation datasets, scorers and label schemas.

Creating a dataset and registering a scorer's version make another one each time; the others may be repeated: records
with equal inputs are one, and a label schema is known by its name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import identifier, mapping, pages, rows, text
from mltrack_sync.mlflow.api.base import ApiClient, in_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mltrack_sync.http.shapes import Fields

__all__ = ["RemoteDataset", "RemoteSchema", "TablesClient"]

PAGE_ROWS = 200


@dataclass(frozen=True, slots=True)
class RemoteDataset:
    """A remote dataset without its records; ``version`` changes with any of them."""

    dataset_id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class RemoteSchema:
    """A remote label schema: its id, and the fields that can be changed, as MLflow writes them."""

    schema_id: str
    name: str
    fields: Fields

    @property
    def content(self) -> str:
        """A text that changes with what it says."""
        names = ("type", "instruction", "enable_comment", "input")
        given = json.dumps([self.fields.get(name) or None for name in names], sort_keys=True)
        return hashlib.sha256(given.encode()).hexdigest()[:32]


class TablesClient(ApiClient):
    """What is asked of a remote's evaluation datasets, scorers and label schemas."""

    # --- evaluation datasets ---

    def datasets(self, experiment_ids: Sequence[str] = ()) -> Iterator[RemoteDataset]:
        """All of them, or those of these experiments."""
        call = "datasets/search"
        asked = {"max_results": PAGE_ROWS, **({"experiment_ids": list(experiment_ids)} if experiment_ids else {})}

        def ask(token: str) -> dict[str, Any]:
            return self._send_3("POST", call, {**asked, **({"page_token": token} if token else {})})

        for page in pages(ask, "datasets", url=self.url, call=call, page_rows=PAGE_ROWS):
            for row in page:
                yield self._read(call, row, _dataset)

    def create_dataset(self, name: str, experiment_ids: Sequence[str], tags: Mapping[str, str]) -> str:
        """Create a dataset; returns its id."""
        fields = {"name": name, "experiment_ids": list(experiment_ids), "tags": json.dumps(dict(tags))}
        answer = self._send_3("POST", "datasets/create", fields, repeatable=False)
        return self._read("datasets/create", answer, lambda made: identifier(mapping(made["dataset"])["dataset_id"]))

    def tag_dataset(self, dataset_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._send_3("PATCH", f"datasets/{in_path(dataset_id)}/tags", {"tags": json.dumps(dict(tags))})

    def untag_dataset(self, dataset_id: str, key: str) -> None:
        """Remove a tag."""
        self._send_3("DELETE", f"datasets/{in_path(dataset_id)}/tags/{in_path(key)}")

    def dataset_experiments(self, dataset_id: str) -> list[str]:
        """The experiments that it belongs to."""
        call = f"datasets/{in_path(dataset_id)}/experiment-ids"
        answer = self._send_3("GET", call)
        return self._read(call, answer, lambda found: [identifier(each) for each in found.get("experiment_ids") or ()])

    def add_dataset_to(self, dataset_id: str, experiment_ids: Sequence[str]) -> None:
        """Have it belong to more experiments."""
        call = f"datasets/{in_path(dataset_id)}/add-experiments"
        self._send_3("POST", call, {"experiment_ids": list(experiment_ids)})

    def put_records(self, dataset_id: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Add records, or change those with equal inputs."""
        self._send_3("POST", f"datasets/{in_path(dataset_id)}/records", {"records": json.dumps(list(records))})

    def records(self, dataset_id: str) -> Iterator[list[Fields]]:
        """The records of a dataset, page by page."""
        call = f"datasets/{in_path(dataset_id)}/records"

        def ask(token: str) -> dict[str, Any]:
            params = {"max_results": str(PAGE_ROWS), **({"page_token": token} if token else {})}
            answer = self._send_3("GET", call, params=params)
            return {**answer, "records": self._read(call, answer, lambda found: _list(found.get("records")))}

        yield from pages(ask, "records", url=self.url, call=call, page_rows=PAGE_ROWS)

    def delete_records(self, dataset_id: str, record_ids: Sequence[str]) -> None:
        """Delete records of a dataset; those that are gone already are no error."""
        self._send_3("DELETE", f"datasets/{in_path(dataset_id)}/records", {"dataset_record_ids": list(record_ids)})

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset with its records."""
        self._send_3("DELETE", f"datasets/{in_path(dataset_id)}")

    # --- scorers ---

    def has_scorers(self, experiment_ids: Sequence[str]) -> bool:
        """Whether any of these experiments may have one: older servers tell of one experiment at a time."""
        try:
            answer = self._send_3("GET", "scorers/list", params={"experiment_ids": list(experiment_ids)})
        except RemoteRefusedError as error:
            if error.unknown_call:
                raise
            return True
        return self._read("scorers/list", answer, lambda found: bool(_scorers(found)))

    def scorer_names(self, experiment_id: str) -> list[str]:
        """The scorers of an experiment."""
        answer = self._send_3("GET", "scorers/list", params={"experiment_id": experiment_id})
        return self._read("scorers/list", answer, lambda found: [text(row["scorer_name"]) for row in _scorers(found)])

    def scorer_versions(self, experiment_id: str, name: str) -> list[str]:
        """The versions of a scorer as MLflow's JSON texts, the oldest first; none if there is no such scorer."""
        return list(self.numbered_versions(experiment_id, name).values())

    def numbered_versions(self, experiment_id: str, name: str) -> dict[int, str]:
        """The same by their numbers."""
        call = "scorers/versions"
        try:
            answer = self._send_3("GET", call, params={"experiment_id": experiment_id, "name": name})
        except RemoteRefusedError as error:
            if not error.says_missing:
                raise
            return {}
        rows = self._read(call, answer, lambda got: {int(each["scorer_version"]): each for each in _scorers(got)})
        return {n: self._read(call, rows[n], lambda got: text(got["serialized_scorer"])) for n in sorted(rows)}

    def register_scorer(self, experiment_id: str, name: str, serialized: str) -> None:
        """Register the next version of a scorer."""
        fields = {"experiment_id": experiment_id, "name": name, "serialized_scorer": serialized}
        self._send_3("POST", "scorers/register", fields, repeatable=False)

    def delete_scorer(self, experiment_id: str, name: str) -> None:
        """Delete all versions of a scorer."""
        self._send_3("DELETE", "scorers/delete", {"experiment_id": experiment_id, "name": name})

    def delete_version(self, experiment_id: str, name: str, number: int) -> None:
        """Delete a version of a scorer."""
        self._send_3("DELETE", "scorers/delete", {"experiment_id": experiment_id, "name": name, "version": number})

    # --- label schemas ---

    def schemas(self, experiment_id: str) -> list[RemoteSchema]:
        """The label schemas of an experiment, without those that MLflow makes by itself."""
        call = "label-schemas/list"

        def ask(token: str) -> dict[str, Any]:
            params = {"experiment_id": experiment_id, "max_results": str(PAGE_ROWS)}
            return self._send_3("GET", call, params={**params, **({"page_token": token} if token else {})})

        listed = pages(ask, "label_schemas", url=self.url, call=call, page_rows=PAGE_ROWS)
        found = [self._read(call, row, _schema) for page in listed for row in page]
        return [each for each in found if not each.fields.get("is_default")]

    def create_schema(self, experiment_id: str, fields: Mapping[str, Any]) -> RemoteSchema:
        """Create a label schema."""
        call = "label-schemas/create"
        answer = self._send_3("POST", call, {"experiment_id": experiment_id, **fields}, repeatable=False)
        return self._read(call, answer, _sent_schema)

    def change_schema(self, schema_id: str, fields: Mapping[str, Any]) -> RemoteSchema:
        """Change a label schema: all but its name and type."""
        call = "label-schemas/update"
        answer = self._send_3("PATCH", call, {"schema_id": schema_id, **fields})
        return self._read(call, answer, _sent_schema)

    def delete_schema(self, schema_id: str) -> None:
        """Delete a label schema."""
        self._send_3("DELETE", "label-schemas/delete", {"schema_id": schema_id})


def _dataset(row: Fields) -> RemoteDataset:
    tags = mapping(json.loads(row["tags"])) if row.get("tags") else {}
    return RemoteDataset(
        identifier(row["dataset_id"]),
        text(row.get("name")),
        {text(key): text(value) for key, value in tags.items()},
        f"{text(row.get('last_update_time'))} {text(row.get('digest'))} {text(row.get('profile'))}",
    )


def _schema(row: Fields) -> RemoteSchema:
    return RemoteSchema(identifier(row["schema_id"]), text(row["name"]), mapping(row))


def _sent_schema(answer: Fields) -> RemoteSchema:
    return _schema(mapping(answer["label_schema"]))


def _scorers(answer: Fields) -> list[Fields]:
    return [mapping(row) for row in rows(answer, "scorers")]


def _list(records: Any) -> list[Any]:
    found = json.loads(records) if records else []
    return found if isinstance(found, list) else [found]
