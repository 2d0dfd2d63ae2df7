"""Which events make up a run's state: what each type says, under which key, and which of several decides."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.entities import Alert, Artifact, Dataset, DatasetInput, Event, ModelOutput
from mltrack.storage.runs.visibility import Fork, Hidden, Inherited, Mark, Rewind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ONLY", "RULES", "Order", "Rule"]

Order = tuple[int, str, int]
"""Time, writer and seq of an event."""


class Rule(NamedTuple):
    """How events of one type enter the state: in which mapping, under which key, and which event of a key wins."""

    name: str
    wins: Callable[[Order, Order], bool]
    key: Callable[[Event], Any]
    value: Callable[[Event], Any]


_FIRST, _LAST = operator.lt, operator.gt
ONLY = ""
"""The key of what a run has only one of."""


# --- keys ---


def _field(name: str) -> Callable[[Event], str]:
    return lambda event: str(event.fields[name])


def _only(event: Event) -> str:
    return ONLY


def _event_id(event: Event) -> str:
    return f"{event.writer}.{event.seq}"


# --- values ---


def _tag_value(event: Event) -> str | None:
    value = event.fields["value"]
    return None if value is None else str(value)


def _artifact(event: Event) -> Artifact | None:
    fields = event.fields
    if fields.get("deleted", False):
        return None
    logged, remote = int(fields.get("logged", event.time)), str(fields.get("remote", ""))
    return Artifact(fields["path"], fields["size"], fields["sha256"], logged, remote)


def _reason(event: Event) -> str:
    return str(event.fields.get("reason") or "unknown")


def _rewind(event: Event) -> Rewind:
    at = {str(writer): Mark(*counts) for writer, counts in event.fields["at"].items()}
    return Rewind(_event_id(event), int(event.fields["step"]), event.time, at)


def _fork(event: Event) -> Fork:
    history = (
        Inherited(
            one["run_id"],
            one["writer"],
            one["points"],
            tuple(Hidden(*hidden) for hidden in one["hidden"]),
            one.get("seen", 0),
        )
        for one in event.fields["history"]
    )
    return Fork(str(event.fields["run_id"]), int(event.fields["step"]), tuple(history))


def _alert(event: Event) -> Alert:
    fields = event.fields
    value = fields.get("value")
    return Alert(
        _event_id(event),
        fields["rule"],
        fields["condition"],
        fields["message"],
        event.time,
        fields["episode"],
        fields.get("metric", ""),
        fields.get("step"),
        None if value is None else float(value),
        {action: "done" if action in ("stop", "tag") else "" for action in fields["actions"]},
    )


def _model_output(event: Event) -> ModelOutput:
    return ModelOutput(str(event.fields["model_id"]), int(event.fields.get("step", 0)))


def _dataset_input(event: Event) -> DatasetInput:
    fields = event.fields
    schema, profile = fields.get("schema"), fields.get("profile")
    dataset = Dataset(
        str(fields["name"]),
        str(fields["digest"]),
        str(fields["source_type"]),
        str(fields["source"]),
        None if schema is None else str(schema),
        None if profile is None else str(profile),
    )
    tags = dict(fields.get("tags") or {})
    return DatasetInput(dataset, {str(key): str(value) for key, value in tags.items()})


def _ending(event: Event) -> tuple[str, str, int | None]:
    return event.type, event.fields["status"], event.fields.get("end_time")


# --- the table ---

RULES = {
    "start": Rule("start", _FIRST, _only, lambda event: event.fields),
    "param": Rule("params", _FIRST, _field("key"), _field("value")),
    "tag": Rule("tags", _LAST, _field("key"), _tag_value),
    "artifact": Rule("artifacts", _LAST, _field("path"), _artifact),
    "lost": Rule("lost_artifacts", _LAST, lambda event: str(event.fields.get("artifact", "")), _reason),
    "dataset": Rule("datasets", _FIRST, lambda event: (event.fields["name"], event.fields["digest"]), _dataset_input),
    "model_input": Rule("model_inputs", _FIRST, _field("model_id"), _field("model_id")),
    "model_output": Rule("model_outputs", _FIRST, _field("model_id"), _model_output),
    "end": Rule("ending", _LAST, _only, _ending),
    "status": Rule("ending", _LAST, _only, _ending),
    "lifecycle": Rule("stage", _LAST, _only, _field("stage")),
    "rewind": Rule("rewinds", _FIRST, _event_id, _rewind),
    "undo_rewind": Rule("undone", _FIRST, _field("rewind"), lambda event: True),
    "fork": Rule("fork", _FIRST, _only, _fork),
    "alert": Rule("alerts", _FIRST, _event_id, _alert),
    "alert_action": Rule(
        "alert_actions", _LAST, lambda event: (event.fields["alert"], event.fields["action"]), _field("outcome")
    ),
    "stop": Rule("stops", _FIRST, lambda event: (event.time, event.fields["reason"]), lambda event: True),
}
