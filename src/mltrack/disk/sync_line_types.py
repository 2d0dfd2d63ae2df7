"""The schema of every kind of line that syncs and copies write: ledgers, bundles, and what a copy does not have.

As line_types.py is of a store's own record.
"""

from __future__ import annotations

from mltrack.disk.fields import (
    FINITE,
    FLAG,
    INT64,
    NAME,
    PATH,
    SHA256,
    TEXT,
    TEXTS,
    TIME,
    VERSION,
    Kind,
    Optional,
    Records,
    count,
    dictionary,
    listing,
    maybe,
    record,
)

__all__ = [
    "ABSENT",
    "ARRIVING",
    "BUNDLE",
    "BUNDLES_PULLED",
    "BUNDLE_UNIT",
    "COPIED",
    "ELSEWHERE",
    "LEDGER",
    "RECEIPT",
    "UPLOADS",
]

_COUNT = count()

# --- copies from other stores ---------------------------------------------------------------------------------

_WRITERS = listing(NAME)
ARRIVING = Records({"arriving": _WRITERS, "made": _WRITERS, "replaced": _WRITERS}, {})
"""live/arriving: which writers of a run don't count yet, or any more."""

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
        "index_sha256": SHA256,
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
        "sha256": SHA256,
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

ABSENT = Records({"path": PATH, "size": _COUNT, "sha256": SHA256, "store": TEXT}, {})
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
        "experiment": {
            "local": TEXT,
            "remote": TEXT,
            "tags": TEXTS,
            "created": Optional(INT64),
            "name": Optional(TEXT),
            "stage": Optional(TEXT),
        },
        "table": {
            "kind": TEXT,
            "key": TEXT,
            "remote": TEXT,
            "print": TEXT,
            "sent": _COUNT,
            "version": Optional(TEXT),
            "made": Optional(FLAG),
            "file": Optional(_COUNT),
            "tags": Optional(listing(TEXT)),
            "until": Optional(_COUNT),
            "tag_prints": Optional(TEXTS),
            "versions": Optional(listing(TEXT)),
        },
        "table_records": {"key": TEXT, "has": TEXTS, "lacks": listing(TEXT), "reset": Optional(FLAG)},
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
            "artifacts": Optional(TEXTS),
            "ended": Optional(_ENDING),
            "stage": Optional(TEXT),
            "settled": Optional(_HEADS),
            "linked": Optional(_LINKS),
            "lacking": Optional(_LINKS),
            "sampled": Optional(record(_SAMPLED)),
            "rewinds": Optional(_LINKS),
            "former": Optional(_LINKS),
            "replaced": Optional(_LINKS),
        },
        "sampled": {"run": TEXT, **_SAMPLED},
        "artifact": {"run": TEXT, "path": TEXT, "sha256": TEXT},
        "ended": {"run": TEXT, "as": _ENDING},
        "stage": {"run": TEXT, "stage": TEXT},
        "settled": {"run": TEXT, "head": _HEADS},
        "linked": {"run": TEXT, "linked": _LINKS, "lacking": _LINKS},
        "forgotten": {"run": TEXT},
        "rewinds": {"run": TEXT, "rewinds": _LINKS},
        "replace": {"run": TEXT, "former": _LINKS, "replaced": _LINKS},
        "former_deleted": {"run": TEXT, "remote": TEXT},
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
        "model": {"model": TEXT, "description": TEXT, "tags": TEXTS, "aliases": dictionary(VERSION)},
        "model_version": {
            "model": TEXT,
            "version": VERSION,
            "made": INT64,
            "remote": TEXT,
            "ready": FLAG,
            "description": TEXT,
            "tags": TEXTS,
            "stage": TEXT,
        },
        "model_renamed": {"model": TEXT, "to": TEXT},
        "gone": {"kind": TEXT, "key": TEXT, "gone": FLAG},
        "logged_model": {"model": TEXT, "remote": TEXT, "experiment": TEXT, "uri": TEXT},
        "logged_model_state": {
            "model": TEXT,
            "params": TEXTS,
            "tags": TEXTS,
            "status": TEXT,
            "stage": TEXT,
            "metrics": _COUNT,
            "settled": _COUNT,
        },
        "logged_model_file": {"model": TEXT, "path": TEXT, "sha256": TEXT},
        "logged_model_forgotten": {"model": TEXT},
        "model_forgotten": {"model": TEXT},
        "in_run": {"model": TEXT, "of": TEXT, "remote": TEXT, "place": TEXT},
        "in_run_file": {"model": TEXT, "path": TEXT, "sha256": TEXT},
        "in_run_settled": {"model": TEXT, "size": _COUNT},
        "trace": {"trace": TEXT, "print": TEXT},
        "traces": {"at": _COUNTS, "sizes": _COUNTS},
        "lake": {"numbers": _COUNTS, "lake": Optional(TEXT)},
        "store": {"store": TEXT},
        "differs": {"unit": TEXT, "differs": FLAG, "files": Optional(_LINKS)},
        "unit": {"unit": TEXT, "token": TEXT},
        "bundle": {"bundle": TEXT, "number": _COUNT, "confirmed": FLAG},
        "pass": {"time": INT64, "runs": Optional(_COUNT), "points": Optional(_COUNT), "seconds": Optional(FINITE)},
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
        "tried": {"sha256": TEXT, "passes": _COUNT, "time": FINITE},
        "taken": {},
    },
)
"""remotes/<name>/uploads.jsonl."""
