"""The schema of every kind of line in a store: its types, their fields, and what each field may be.

docs/format.md says what the fields mean. Lines are checked against this when they are decoded (see fields.py).
"""

from __future__ import annotations

import re

from mltrack.disk.fields import (
    COMPONENT,
    EXPERIMENT_ID,
    FINITE,
    FLAG,
    INT64,
    JSON_OBJECT_TEXT,
    JSON_TEXT,
    KEY,
    NAME,
    PATH,
    RUN_ID,
    SHA256,
    TEXT,
    TEXTS,
    TIME,
    VERSION,
    Fields,
    Kind,
    Optional,
    Records,
    count,
    dictionary,
    is_finite,
    listing,
    maybe,
    one_of,
    record,
)
from mltrack.entities import ACTIVE, DELETED, LOGGED_MODEL_STATUSES, MODEL_STAGES, RUN_STATUSES

__all__ = [
    "EVENTS",
    "EXPERIMENTS",
    "FACTS",
    "LAUNCH",
    "MODEL",
    "REGISTRY",
    "SERIES",
    "SOURCE_FILES",
    "SPANS",
    "STORE",
]

_WRITER_NAME = re.compile(r"[0-9a-f]{16}")

_COUNT = count()
_STAGE = one_of(ACTIVE, DELETED)
_SPAN = 1 << 40  # numbers of metrics and versions, and process ids, are less


def _is_metric_value(value: object) -> bool:
    return is_finite(value) or (type(value) is str and value in ("NaN", "Infinity", "-Infinity"))


_WRITER = Kind(lambda value: type(value) is str and _WRITER_NAME.fullmatch(value) is not None, "a writer's name")
_HIDDEN = Kind(
    lambda value: type(value) is list and len(value) == 2 and _COUNT.check(value[0]) and INT64.check(value[1]),
    "a number of points and a step",
)
_INHERITED = record(
    {"run_id": RUN_ID, "writer": _WRITER, "points": _COUNT, "hidden": listing(_HIDDEN), "seen": Optional(_COUNT)}
)


STORE = Records({"format": count(first=1), "store_id": TEXT, "created": Optional(INT64)}, {})
"""store.json. Where its format is newer than this mltrack, only that number is read."""

# --- runs ------------------------------------------------------------------------------------------------------

EVENTS = Records(
    {"seq": _COUNT, "time": TIME, "type": NAME},
    {
        "writer": {
            "run_id": Optional(TEXT),
            "role": Optional(TEXT),
            "host": Optional(TEXT),
            "pid": Optional(count(1 << 31)),
            "locked": Optional(FLAG),
            "origin": Optional(TEXT),
            "stand_in": Optional(FLAG),
        },
        "start": {
            "run_name": Optional(TEXT),
            "experiment_id": Optional(COMPONENT),
            "experiment_name": Optional(TEXT),
            "start_time": Optional(INT64),
            "user_id": Optional(TEXT),
        },
        "param": {"key": KEY, "value": TEXT},
        "tag": {"key": KEY, "value": maybe(TEXT)},
        "metric": {"number": count(1 << 32), "key": KEY},
        "artifact": (
            {"path": PATH, "deleted": Kind(lambda value: value is True, "true")},
            {
                "path": PATH,
                "size": _COUNT,
                "sha256": SHA256,
                "deleted": Optional(FLAG),
                "logged": Optional(TIME),
                "remote": Optional(TEXT),
            },
        ),
        "dataset": {
            "name": TEXT,
            "digest": TEXT,
            "source_type": TEXT,
            "source": TEXT,
            "schema": Optional(maybe(TEXT)),
            "profile": Optional(maybe(TEXT)),
            "tags": Optional(maybe(TEXTS)),
        },
        "model_input": {"model_id": NAME},
        "model_output": {"model_id": NAME, "step": Optional(INT64)},
        "series": {"published": dictionary(_COUNT)},
        "end": {"status": one_of(*RUN_STATUSES), "end_time": Optional(maybe(INT64))},
        "status": {"status": one_of(*RUN_STATUSES), "end_time": Optional(maybe(INT64))},
        "lifecycle": {"stage": _STAGE},
        "lost": ({"points": _COUNT}, {"artifact": TEXT, "reason": Optional(maybe(TEXT))}),
        "rewind": {"step": INT64, "at": dictionary(listing(_COUNT, 3), _WRITER)},
        "undo_rewind": {"rewind": NAME},
        "fork": {"run_id": RUN_ID, "step": INT64, "history": listing(_INHERITED)},
        "alert": {
            "rule": NAME,
            "condition": TEXT,
            "message": TEXT,
            "episode": TIME,
            "actions": listing(NAME),
            "metric": Optional(TEXT),
            "step": Optional(INT64),
            "value": Optional(Kind(_is_metric_value, "a number, NaN, Infinity or -Infinity")),
        },
        "alert_action": {"alert": NAME, "action": NAME, "outcome": TEXT},
        "stop": {"reason": TEXT},
        "close": {"points": _COUNT, "points_crc": Optional(count(1 << 32))},
    },
)
"""events/<writer>.jsonl of a run."""

_ANYTHING = Kind(lambda value: True, "a value")
_LABEL = Kind(lambda value: type(value) in (str, int, float, bool, type(None), list), "a column's name")
_ARRAY = Kind(lambda value: type(value) is str and value[:3] in ("u1:", "u2:", "u4:", "u8:", "f8:"), "an array as text")
_BINS: Fields = {"counts": _ARRAY, "left_out": Optional(_COUNT)}

SERIES = Records(
    {"seq": _COUNT, "time": TIME, "key": KEY, "step": INT64, "type": NAME},
    {
        "histogram": ({**_BINS, "low": FINITE, "high": FINITE}, {**_BINS, "edges": _ARRAY}),
        "table": {"columns": listing(_LABEL), "data": listing(listing(_ANYTHING))},
        "text": {"text": TEXT},
    },
)
"""series/<writer>.jsonl of a run."""

# --- the workspace ---------------------------------------------------------------------------------------------

EXPERIMENTS = Records(
    {"experiment_id": EXPERIMENT_ID, "time": TIME, "type": NAME},
    {
        "create": {"name": TEXT, "tags": Optional(TEXTS), "artifact_location": Optional(TEXT)},
        "rename": {"name": TEXT},
        "tag": {"key": TEXT, "value": maybe(TEXT)},
        "lifecycle": {"stage": _STAGE},
        "remove": {},
    },
)
"""workspace/experiments.jsonl."""


def _is_whole(value: str) -> bool:
    """Whether UTF-8 can encode the text: lone surrogates, which JSON can hold, make MLflow's answers fail."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_WORDS = Kind(lambda value: TEXT.check(value) and _is_whole(value), "a text that UTF-8 can encode")
_TITLE = Kind(lambda value: NAME.check(value) and _is_whole(value), f"{NAME.what} that UTF-8 can encode")
_LABELS = dictionary(_WORDS, _WORDS)

REGISTRY = Records(
    {"time": TIME, "type": NAME, "name": _TITLE},
    {
        "create": {"description": _WORDS, "tags": _LABELS},
        "rename": {"new_name": _TITLE},
        "update": {"description": _WORDS},
        "tag": {"key": _WORDS, "value": maybe(_WORDS)},
        "delete": {},
        "alias": {"alias": _TITLE, "version": maybe(VERSION)},
        "create_version": {
            "version": VERSION,
            "source": _WORDS,
            "run_id": maybe(_WORDS),
            "description": _WORDS,
            "tags": _LABELS,
            "model_id": Optional(maybe(_WORDS)),
            "run_link": Optional(maybe(_WORDS)),
            "location": Optional(maybe(_WORDS)),
            "as_address": Optional(FLAG),
        },
        "update_version": {"version": VERSION, "description": _WORDS},
        "version_tag": {"version": VERSION, "key": _WORDS, "value": maybe(_WORDS)},
        "stage": {"version": VERSION, "stage": one_of(*MODEL_STAGES), "archive_existing": Optional(FLAG)},
        "delete_version": {"version": VERSION},
    },
)
"""workspace/models.jsonl: the registered models and their versions."""

MODEL = Records(
    {"seq": _COUNT, "time": TIME, "type": NAME},
    {
        "create": {
            "experiment_id": EXPERIMENT_ID,
            "name": TEXT,
            "model_type": Optional(maybe(TEXT)),
            "source_run_id": Optional(maybe(TEXT)),
            "tags": dictionary(TEXT, KEY),
            "params": dictionary(TEXT, KEY),
        },
        "param": {"key": KEY, "value": TEXT},
        "tag": {"key": KEY, "value": maybe(TEXT)},
        "status": {"status": one_of(*LOGGED_MODEL_STATUSES), "message": Optional(maybe(TEXT))},
        "metric": {
            "run_id": TEXT,
            "key": KEY,
            "value": Kind(_is_metric_value, "a number, NaN, Infinity or -Infinity"),
            "step": INT64,
            "ms": INT64,
            "dataset_name": Optional(maybe(TEXT)),
            "dataset_digest": Optional(maybe(TEXT)),
        },
        "artifact": (
            {"path": PATH, "deleted": Kind(lambda value: value is True, "true")},
            {"path": PATH, "size": _COUNT, "sha256": SHA256, "deleted": Optional(FLAG)},
        ),
        "lifecycle": {"stage": _STAGE},
    },
)
"""models/<model_id>/model.jsonl: a logged model."""

# --- traces ----------------------------------------------------------------------------------------------------

_TRACE = NAME
_MAYBE = Optional(maybe(TEXT))
_TOKENS = dictionary(maybe(INT64))
_COSTS = dictionary(maybe(FINITE))
_STATE = one_of("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
_ASSESSMENT: dict[str, Kind | Optional] = {
    "assessment_id": NAME,
    "name": TEXT,
    "kind": one_of("feedback", "expectation", "issue"),
    "value": JSON_TEXT,
    "source_type": one_of("HUMAN", "LLM_JUDGE", "AI_JUDGE", "CODE", "SOURCE_TYPE_UNSPECIFIED"),
    "create_time": INT64,
    "update_time": INT64,
    "source_id": _MAYBE,
    "error": Optional(maybe(JSON_OBJECT_TEXT)),
    "run_id": _MAYBE,
    "span_id": _MAYBE,
    "rationale": _MAYBE,
    "overrides": _MAYBE,
    "metadata": Optional(maybe(JSON_OBJECT_TEXT)),
}
_CHANGES: Fields = {
    name: field if isinstance(field, Optional) else Optional(field) for name, field in _ASSESSMENT.items()
}
_ISSUE = record({**_ASSESSMENT, "kind": one_of("issue"), "value": JSON_OBJECT_TEXT}, closed=True)
_JUDGED = record({**_ASSESSMENT, "kind": one_of("feedback", "expectation")}, closed=True)
_ANY_ASSESSMENT = Kind(lambda value: _JUDGED.check(value) or _ISSUE.check(value), "an assessment")
_HEAD = record(
    {
        "id": NAME,
        "parent": _MAYBE,
        "name": TEXT,
        "kind": _MAYBE,
        "status": TEXT,
        "start": INT64,
        "end": Optional(maybe(INT64)),
        "usage": Optional(maybe(_TOKENS)),
        "cost": Optional(maybe(_COSTS)),
        "model": _MAYBE,
        "provider": _MAYBE,
    }
)

FACTS = Records(
    {"seq": _COUNT, "time": TIME, "type": NAME, "trace_id": Optional(_TRACE)},
    {
        "writer": {"experiment_id": Optional(EXPERIMENT_ID), "host": Optional(TEXT), "pid": Optional(count(1 << 31))},
        "info": {
            "trace_id": _TRACE,
            "request_time": Optional(INT64),
            "duration": Optional(maybe(INT64)),
            "state": Optional(_STATE),
            "client_request_id": _MAYBE,
            "request_preview": _MAYBE,
            "response_preview": _MAYBE,
            "session": _MAYBE,
            "tokens": Optional(_TOKENS),
            "cost": Optional(_COSTS),
            "tags": Optional(dictionary(maybe(TEXT))),
            "metadata": Optional(dictionary(maybe(TEXT))),
            "assessments": Optional(listing(_ANY_ASSESSMENT)),
            "final": Optional(FLAG),
        },
        "spans": {
            "trace_id": _TRACE,
            "at": listing(_COUNT, 2),
            "heads": listing(_HEAD),
            "start": INT64,
            "end": Optional(maybe(INT64)),
            "root_state": Optional(maybe(_STATE)),
            "request_preview": _MAYBE,
            "response_preview": _MAYBE,
            "session": _MAYBE,
            "user": _MAYBE,
            "tags": Optional(dictionary(maybe(TEXT))),
        },
        "tag": {"trace_id": _TRACE, "key": TEXT, "value": maybe(TEXT)},
        "assessment": {"trace_id": _TRACE, "assessment": _ANY_ASSESSMENT},
        "assessment_change": {"trace_id": _TRACE, "assessment_id": NAME, "changes": record(_CHANGES, closed=True)},
        "assessment_delete": {"trace_id": _TRACE, "assessment_id": NAME},
        "run": {"trace_id": _TRACE, "run_id": TEXT, "linked": FLAG},
        "prompt": {"trace_id": _TRACE, "prompt": TEXT},
        "delete": {"trace_id": _TRACE},
        "close": {},
    },
)
"""traces/<experiment_id>/facts/<writer>.jsonl."""

SPANS = Records(
    {
        "seq": _COUNT,
        "trace_id": _TRACE,
        "spans": listing(Kind(lambda value: type(value) in (str, dict), "an object or a text")),
    },
    {},
)
"""traces/<experiment_id>/spans/<writer>.jsonl."""

# --- lists that are JSON without a checksum --------------------------------------------------------------------

SOURCE_FILES = Records(
    {
        "files": dictionary(
            record({"sha256": SHA256, "size": Optional(_COUNT), "executable": Optional(FLAG)}),
            NAME,
        ),
        "left_out": Optional(TEXTS),
    },
    {},
)
"""The artifact code/files.json, and its copies in sources/."""

LAUNCH = Records({"command_line": TEXT, "command": listing(TEXT), "folder": Optional(maybe(TEXT))}, {})
"""The artifact that describes how a program was launched: the fields that are read."""
