"""The schema of every kind of line in a store: its types, their fields, and what each field may be.

docs/format.md says what the fields mean. Lines are checked against this when they are decoded (see fields.py).
"""

from __future__ import annotations

from mltrack.disk.fields import (
    COMPONENT,
    EXPERIMENT_ID,
    FLAG,
    INT64,
    JSON_OBJECT_TEXT,
    JSON_TEXT,
    KEY,
    NAME,
    PATH,
    TEXT,
    TIME,
    Fields,
    Kind,
    Optional,
    Records,
    count,
    dictionary,
    listing,
    maybe,
    one_of,
    record,
)
from mltrack.entities import ACTIVE, DELETED, LOGGED_MODEL_STATUSES, MODEL_STAGES, RUN_STATUSES

__all__ = [
    "ABSENT",
    "BUNDLE",
    "BUNDLES_PULLED",
    "BUNDLE_UNIT",
    "COPIED",
    "ELSEWHERE",
    "EVENTS",
    "EXPERIMENTS",
    "FACTS",
    "LAUNCH",
    "LEDGER",
    "MODEL",
    "RECEIPT",
    "REGISTRY",
    "SERIES",
    "SOURCE_FILES",
    "SPANS",
    "STORE",
    "UPLOADS",
]

_COUNT = count()
_SHA256 = Kind(lambda value: type(value) is str and len(value) <= 128, "a SHA-256 in hex")
_TEXTS = dictionary(TEXT)
_STAGE = one_of(ACTIVE, DELETED)
_SPAN = 1 << 40  # numbers of metrics and versions, and process ids, are less


def _is_finite(value: object) -> bool:
    return (type(value) is int and -(1 << 63) <= value < 1 << 63) or (type(value) is float and value - value == 0)


def _is_metric_value(value: object) -> bool:
    return _is_finite(value) or (type(value) is str and value in ("NaN", "Infinity", "-Infinity"))


_FINITE = Kind(_is_finite, "a finite number")

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
                "sha256": _SHA256,
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
            "tags": Optional(maybe(_TEXTS)),
        },
        "model_input": {"model_id": NAME},
        "model_output": {"model_id": NAME, "step": Optional(INT64)},
        "series": {"published": dictionary(_COUNT)},
        "end": {"status": one_of(*RUN_STATUSES), "end_time": Optional(maybe(INT64))},
        "status": {"status": one_of(*RUN_STATUSES), "end_time": Optional(maybe(INT64))},
        "lifecycle": {"stage": _STAGE},
        "lost": ({"points": _COUNT}, {"artifact": TEXT, "reason": Optional(maybe(TEXT))}),
        "close": {"points": _COUNT},
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
        "histogram": ({**_BINS, "low": _FINITE, "high": _FINITE}, {**_BINS, "edges": _ARRAY}),
        "table": {"columns": listing(_LABEL), "data": listing(listing(_ANYTHING))},
        "text": {"text": TEXT},
    },
)
"""series/<writer>.jsonl of a run."""

# --- the workspace ---------------------------------------------------------------------------------------------

EXPERIMENTS = Records(
    {"experiment_id": EXPERIMENT_ID, "time": TIME, "type": NAME},
    {
        "create": {"name": TEXT, "tags": Optional(_TEXTS), "artifact_location": Optional(TEXT)},
        "rename": {"name": TEXT},
        "tag": {"key": TEXT, "value": maybe(TEXT)},
        "lifecycle": {"stage": _STAGE},
        "remove": {},
    },
)
"""workspace/experiments.jsonl."""

_VERSION = count(_SPAN)


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
        "alias": {"alias": _TITLE, "version": maybe(_VERSION)},
        "create_version": {
            "version": _VERSION,
            "source": _WORDS,
            "run_id": maybe(_WORDS),
            "description": _WORDS,
            "tags": _LABELS,
            "model_id": Optional(maybe(_WORDS)),
            "run_link": Optional(maybe(_WORDS)),
            "location": Optional(maybe(_WORDS)),
            "as_address": Optional(FLAG),
        },
        "update_version": {"version": _VERSION, "description": _WORDS},
        "version_tag": {"version": _VERSION, "key": _WORDS, "value": maybe(_WORDS)},
        "stage": {"version": _VERSION, "stage": one_of(*MODEL_STAGES), "archive_existing": Optional(FLAG)},
        "delete_version": {"version": _VERSION},
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
            {"path": PATH, "size": _COUNT, "sha256": _SHA256, "deleted": Optional(FLAG)},
        ),
        "lifecycle": {"stage": _STAGE},
    },
)
"""models/<model_id>/model.jsonl: a logged model."""

# --- traces ----------------------------------------------------------------------------------------------------

_TRACE = NAME
_MAYBE = Optional(maybe(TEXT))
_TOKENS = dictionary(maybe(INT64))
_COSTS = dictionary(maybe(_FINITE))
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

# --- copies from other stores ---------------------------------------------------------------------------------

COPIED = Records({"unit": TEXT, "token": TEXT}, {})
"""copied/<store_id>.jsonl: which units of another store are whole here."""

_ROW = Kind(lambda value: type(value) is list and len(value) == 7, "a file")
_TWO = listing(_COUNT, 2)
_ORIGIN = listing(TEXT, 2)

BUNDLE = Records(
    {
        "format": TEXT,
        "version": _COUNT,
        "bundle": TEXT,
        "store": TEXT,
        "store_format": _COUNT,
        "host": TEXT,
        "for": TEXT,
        "number": _COUNT,
        "after": _COUNT,
        "after_id": TEXT,
        "units": _COUNT,
        "index": _TWO,
        "index_sha256": _SHA256,
    },
    {},
)
"""manifest.json of a bundle."""

BUNDLE_UNIT = Records(
    {
        "unit": TEXT,
        "token": TEXT,
        "live": listing(TEXT),
        "taken_at": TIME,
        "origin": _ORIGIN,
        "files": listing(_ROW),
        "needs": listing(_TWO),
        "size": _COUNT,
        "sha256": _SHA256,
        "zip_crc": count(1 << 32),
    },
    {},
)
"""index.jsonl of a bundle."""

BUNDLES_PULLED = Records({"bundle": TEXT, "store": TEXT, "for": TEXT, "number": _COUNT, "time": TIME}, {})
"""copied/bundles.jsonl: the bundles that were pulled whole."""

RECEIPT = Records(
    {"receipt": _COUNT, "bundle": TEXT, "store": TEXT, "for": TEXT, "number": _COUNT, "receiver": TEXT, "host": TEXT},
    {},
)
"""What a receiver of a bundle sends back."""

ABSENT = Records({"path": PATH, "size": _COUNT, "sha256": _SHA256, "store": TEXT}, {})
"""absent.jsonl of a run: artifacts that a copy does not have."""

ELSEWHERE = Records({"host": TEXT, "store": TEXT, "time": TIME}, {})
"""live/<writer>.elsewhere of a run."""

# --- what remotes acknowledged ---------------------------------------------------------------------------------

_POSITIONS = dictionary(listing(_COUNT, 2))
_COUNTS = dictionary(_COUNT)
_DOUBT = Kind(lambda value: value == "*" or _COUNTS.check(value), 'counts by writer, or "*"')
_HEADS = Kind(
    lambda value: (
        type(value) is list
        and (not value or (len(value) == 3 and all(type(n) is int for n in value[:2]) and type(value[2]) is bool))
    ),
    "how far a run goes: events, points, live",
)
_MAYBE_INT64 = maybe(INT64)
_ENDING = Kind(
    lambda value: (
        type(value) is list
        and (
            not value
            or (
                len(value) == 4
                and type(value[0]) is str
                and _MAYBE_INT64.check(value[1])
                and type(value[2]) is str
                and type(value[3]) is bool
            )
        )
    ),
    "an ending: status, end time, name, whether it crashed",
)
_LINKS = listing(TEXT)
_SAMPLED: dict[str, Kind | Optional] = {
    "history": _COUNT,
    "whole": Optional(_COUNTS),
    "ended": Optional(_COUNTS),
    "mixed": Optional(FLAG),
    "pinned": Optional(FLAG),
}

_PAGE = Kind(
    lambda value: type(value) is list and [type(each) for each in value] == [int, str] and value[0] >= 0,
    "a count and a token",
)
LEDGER = Records(
    {"type": NAME},
    {
        "ledger": {"version": Optional(_COUNT), "url": Optional(TEXT)},
        "experiment": {"local": TEXT, "remote": TEXT, "tags": _TEXTS, "created": Optional(INT64)},
        "create": {"run": TEXT},
        "run": {"run": TEXT, "remote": TEXT, "experiment": TEXT, "uri": TEXT, "adopted": Optional(FLAG)},
        "ack": {"run": TEXT, "at": _POSITIONS, "next": Optional(_DOUBT), "history": Optional(_COUNT)},
        "entry": {
            "run": TEXT,
            "remote": TEXT,
            "experiment": TEXT,
            "uri": TEXT,
            "at": _POSITIONS,
            "next": Optional(_DOUBT),
            "artifacts": Optional(_TEXTS),
            "ended": Optional(_ENDING),
            "stage": Optional(TEXT),
            "settled": Optional(_HEADS),
            "linked": Optional(_LINKS),
            "lacking": Optional(_LINKS),
            "sampled": Optional(record(_SAMPLED)),
        },
        "sampled": {"run": TEXT, **_SAMPLED},
        "artifact": {"run": TEXT, "path": TEXT, "sha256": TEXT},
        "ended": {"run": TEXT, "as": _ENDING},
        "stage": {"run": TEXT, "stage": TEXT},
        "settled": {"run": TEXT, "head": _HEADS},
        "linked": {"run": TEXT, "linked": _LINKS, "lacking": _LINKS},
        "forgotten": {"run": TEXT},
        "pulled": {
            "run": TEXT,
            "remote": TEXT,
            "print": Optional(TEXT),
            "ended": Optional(FLAG),
            "files": Optional(INT64),
            "pages": Optional(dictionary(_PAGE)),
        },
        "rejected": {"run": TEXT, "kind": TEXT, "key": TEXT, "reason": TEXT, "points": Optional(_COUNT)},
        "cleared": {"run": TEXT, "kind": TEXT, "key": TEXT},
        "model": {"model": TEXT, "description": TEXT, "tags": _TEXTS, "aliases": dictionary(_VERSION)},
        "model_version": {
            "model": TEXT,
            "version": _VERSION,
            "made": INT64,
            "remote": TEXT,
            "ready": FLAG,
            "description": TEXT,
            "tags": _TEXTS,
            "stage": TEXT,
        },
        "logged_model": {"model": TEXT, "remote": TEXT, "experiment": TEXT, "uri": TEXT},
        "logged_model_state": {
            "model": TEXT,
            "params": _TEXTS,
            "tags": _TEXTS,
            "status": TEXT,
            "stage": TEXT,
            "metrics": _COUNT,
            "settled": _COUNT,
        },
        "logged_model_file": {"model": TEXT, "path": TEXT, "sha256": TEXT},
        "in_run": {"model": TEXT, "of": TEXT, "remote": TEXT, "place": TEXT},
        "in_run_file": {"model": TEXT, "path": TEXT, "sha256": TEXT},
        "in_run_settled": {"model": TEXT, "size": _COUNT},
        "trace": {"trace": TEXT, "print": TEXT},
        "traces": {"at": _COUNTS, "sizes": _COUNTS},
        "store": {"store": TEXT},
        "differs": {"unit": TEXT, "differs": FLAG},
        "unit": {"unit": TEXT, "token": TEXT},
        "bundle": {"bundle": TEXT, "number": _COUNT, "confirmed": FLAG},
        "pass": {"time": INT64, "runs": Optional(_COUNT), "points": Optional(_COUNT), "seconds": Optional(_FINITE)},
        "error": {"time": INT64, "message": TEXT},
    },
)
"""remotes/<name>/ledger.jsonl."""

UPLOADS = Records(
    {"type": NAME, "run": TEXT, "path": TEXT},
    {
        "upload": {
            "name": TEXT,
            "sha256": TEXT,
            "size": _COUNT,
            "part_bytes": count(first=1),
            "upload_id": maybe(TEXT),
        },
        "part": {"number": count(1 << 31, 1), "etag": TEXT},
        "done": {},
        "tried": {"sha256": TEXT, "passes": _COUNT, "time": _FINITE},
        "taken": {},
    },
)
"""remotes/<name>/uploads.jsonl."""

# --- lists that are JSON without a checksum --------------------------------------------------------------------

SOURCE_FILES = Records(
    {
        "files": dictionary(
            record({"sha256": _SHA256, "size": Optional(_COUNT), "executable": Optional(FLAG)}),
            NAME,
        ),
        "left_out": Optional(_TEXTS),
    },
    {},
)
"""The artifact code/files.json, and its copies in sources/."""

LAUNCH = Records({"command_line": TEXT, "command": listing(TEXT), "folder": Optional(maybe(TEXT))}, {})
"""The artifact that describes how a program was launched: the fields that are read."""
