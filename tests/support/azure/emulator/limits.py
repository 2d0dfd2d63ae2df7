"""The limits of an Azure ML workspace, and what it turns down because of them."""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .exchange import Refused

_SORTS_REFUSED = re.compile(r"\s*[`\"]?(metrics?|params?|parameters?|tags?)\b\s*\.", re.IGNORECASE)
_TAG_UNEQUAL = re.compile(r"\btags?\s*\.\s*(`[^`]*`|\"[^\"]*\"|[\w.\-]+)\s*!=", re.IGNORECASE)
_METRIC_ESCAPED = re.compile(r"\bmetrics?\s*\.\s*[`\"]", re.IGNORECASE)
_MODEL_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}")


@dataclass(frozen=True, slots=True)
class AzureLimits:
    """What is documented or was observed; None takes a limit away."""

    batch_metrics_max: int = 200
    batch_params_max: int = 100
    run_params_max: int = 200
    run_tags_max: int = 50
    run_metric_names_max: int | None = 50
    metric_rows_max: int = 1_000_000
    tag_key_chars_max: int = 100
    tag_value_chars_max: int = 1000
    experiment_name_chars_max: int = 256
    history_rows_max: int = 999
    batch_paths_max: int = 100
    artifact_path_chars_max: int = 5000


class RunTally:
    """How much each run holds already."""

    def __init__(self) -> None:
        self._params: dict[str, set[str]] = defaultdict(set)
        self._tags: dict[str, set[str]] = defaultdict(set)
        self._rows: dict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def check(self, run_id: str, batch: Batch, limits: AzureLimits) -> None:
        """Turn a batch down that would be too much for its run."""
        with self._lock:
            params = self._params[run_id] | {str(item.get("key")) for item in batch.params}
            tags = self._tags[run_id] | {str(item.get("key")) for item in batch.tags}
            rows = self._rows[run_id].copy()
        rows.update(str(item.get("key")) for item in batch.metrics)
        _most("Parameters", len(params), limits.run_params_max)
        _most("Tags", len(tags), limits.run_tags_max)
        _most("MetricNames", len(rows), limits.run_metric_names_max)
        _most("MetricRows", max(rows.values(), default=0), limits.metric_rows_max)

    def add(self, run_id: str, batch: Batch) -> None:
        """The batch was taken."""
        with self._lock:
            self._params[run_id].update(str(item.get("key")) for item in batch.params)
            self._tags[run_id].update(str(item.get("key")) for item in batch.tags)
            self._rows[run_id].update(str(item.get("key")) for item in batch.metrics)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call writes to a run."""

    metrics: tuple[Mapping[str, Any], ...] = ()
    params: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[Mapping[str, Any], ...] = ()

    @staticmethod
    def of(call: str, fields: Mapping[str, Any]) -> Batch | None:
        """None when the call writes nothing of the kind."""
        match call:
            case "runs/log-batch" | "runs/log-batch-async":
                return Batch(_list(fields, "metrics"), _list(fields, "params"), _list(fields, "tags"))
            case "runs/log-metric":
                return Batch(metrics=(fields,))
            case "runs/log-parameter":
                return Batch(params=(fields,))
            case "runs/set-tag" | "experiments/set-experiment-tag":
                return Batch(tags=(fields,))
            case "runs/create" | "experiments/create":
                return Batch(tags=_list(fields, "tags"))
        return None


def check_call(call: str, fields: Mapping[str, Any], limits: AzureLimits) -> None:
    """Turn down what is too large or not supported, whatever run it is about."""
    batch = Batch.of(call, fields)
    if batch is not None:
        _most("MetricV2Dto.Value/Count", len(batch.metrics), limits.batch_metrics_max)
        _most("Parameters/Count", len(batch.params), limits.batch_params_max)
        _check_tags(batch.tags, limits)
    if call == "experiments/create":
        _most("ExperimentName", len(str(fields.get("name", ""))), limits.experiment_name_chars_max)
    if call == "metrics/get-history" and int(fields.get("max_results") or 0) > limits.history_rows_max:
        asked = f"MaxResults = {fields['max_results']}"
        raise Refused(
            400, "UserError", f"{asked} is invalid: MaxResults must be less than {limits.history_rows_max + 1}."
        )
    if call == "registered-models/create" and _MODEL_NAME.fullmatch(str(fields.get("name", ""))) is None:
        raise invalid(f"The model name must match ^{_MODEL_NAME.pattern}$.")
    _check_supported(call, fields)


def _check_tags(tags: Iterable[Mapping[str, Any]], limits: AzureLimits) -> None:
    for tag in tags:
        _most("Tags.Key", len(str(tag.get("key", ""))), limits.tag_key_chars_max)
        _most("Tags.Value", len(str(tag.get("value", ""))), limits.tag_value_chars_max)


def _check_supported(call: str, fields: Mapping[str, Any]) -> None:
    wanted = str(fields.get("filter") or "")
    if call == "runs/search":
        if any(_SORTS_REFUSED.match(str(item)) for item in fields.get("order_by") or ()):
            raise invalid("Ordering by metrics, parameters or tags is not supported.")
        if _TAG_UNEQUAL.search(wanted):
            raise invalid("The operator != is not supported for tags.")
        if _METRIC_ESCAPED.search(wanted):
            raise invalid("Escaped metric names are not supported in filters.")
    if call == "experiments/update" and fields.get("new_name"):
        raise invalid("Renaming experiments is not supported.")
    if call == "registered-models/rename":
        raise invalid("Renaming models is not supported.")
    if call in ("registered-models/search", "model-versions/search") and re.search(
        r"(?i)\bI?LIKE\b|\btags?\s*\.", wanted
    ):
        raise invalid("LIKE and tags are not supported in this search.")


def invalid(message: str) -> Refused:
    return Refused(400, "ValidationError", message, error_code="INVALID_PARAMETER_VALUE")


def _most(field: str, count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise invalid(
            f"A field of the entity is over the size limit. FieldName={field}, Limit={most}, Size={count}. "
            "See https://aka.ms/azure-machine-learning-limits for service limits documentation."
        )


def _list(fields: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(item for item in fields.get(name) or () if isinstance(item, dict))
