"""What says that records, versions of scorers, label schemas and tags are the same, and what both sides have."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from mltrack_sync.ledger.tables import ACKNOWLEDGED, ASKED, CAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import LabelSchema

__all__ = [
    "answers_text",
    "common_versions",
    "content_print",
    "deleted_versions",
    "is_same_kind_of_schema",
    "is_same_schema",
    "is_whole_when_put",
    "record_key",
    "record_print",
    "same_content",
    "tag_prints",
    "version_print",
]

EDITED_FIELDS = ("outputs", "expectations", "tags")
"""What can be changed of a record: its inputs say which one it is, its source stays."""


def same_content(serialized: str) -> str:
    """A text that is equal for two scorers of one content, as servers may write their JSON in another form."""
    try:
        return json.dumps(json.loads(serialized), sort_keys=True)
    except ValueError:
        return serialized


def version_print(serialized: str) -> str:
    """A fingerprint of a scorer's version."""
    return content_print(same_content(serialized))


def record_key(record: Mapping[str, Any]) -> str:
    """What says which record of its dataset one is: a fingerprint of its inputs."""
    return content_print(record.get("inputs"))


def record_print(record: Mapping[str, Any]) -> str:
    """A fingerprint of what can be changed of a record."""
    return content_print({name: record[name] for name in EDITED_FIELDS if record.get(name) not in (None, {})})


def tag_prints(tags: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of the values of tags."""
    return {key: content_print(value) for key, value in tags.items()}


def is_whole_when_put(on_remote: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a record is what it is meant to be once it is put where another with its inputs is: they are merged."""
    merged: dict[str, Any] = {
        name: {**(on_remote.get(name) or {}), **(record.get(name) or {})} for name in ("expectations", "tags")
    }
    merged["outputs"] = record.get("outputs", on_remote.get("outputs"))
    return record_print(merged) == record_print(record)


def is_same_schema(schema: LabelSchema, fields: Mapping[str, Any]) -> bool:
    """Whether a label schema is what a remote's one is, given its fields."""
    return (schema.kind.upper(), schema.instruction or "", schema.enable_comment) == (
        fields.get("type"),
        fields.get("instruction") or "",
        bool(fields.get("enable_comment")),
    ) and answers_text({schema.input_kind: schema.input}) == answers_text(fields.get("input") or {})


def is_same_kind_of_schema(schema: LabelSchema, fields: Mapping[str, Any]) -> bool:
    """Whether a label schema has the type and the kind of answers of a remote's one: these can't be changed."""
    return schema.kind.upper() == fields.get("type") and schema.input_kind in (fields.get("input") or {})


def answers_text(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """What may be answered, as text, without what is not given: servers leave out fields that have their default."""
    given = {kind: {key: value for key, value in fields.items() if value} for kind, fields in answers.items()}
    return json.dumps(given, sort_keys=True, ensure_ascii=False)


def content_print(content: Any) -> str:
    """A text that differs for other content, as JSON has it."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()


def common_versions(known: Iterable[str], local: Iterable[str], remote: Iterable[str]) -> tuple[str, ...]:
    """The marked fingerprints of the versions that a scorer has there, and has or had here.

    Args:
        known: Those of before.
        local: Fingerprints of the versions here.
        remote: Fingerprints of the versions there.
    """
    before, here, on_remote = Counter(known), Counter(local), Counter(remote)
    found = []
    for each, count in on_remote.items():
        sent = before[ACKNOWLEDGED + each] + before[ASKED + each]
        both = max(min(count, sent + before[CAME + each]), min(count, here[each]))
        own = min(both, sent)
        found += [ACKNOWLEDGED + each] * own + [CAME + each] * (both - own)
    return tuple(found)


def deleted_versions(known: Iterable[str], local: Sequence[str], remote: Mapping[int, str]) -> list[int]:
    """The numbers of the versions of a scorer that were sent from here, and are there but not here any more.

    Of several with one content it is the one that stands where none is here, and the latest of these.

    Args:
        known: The marked fingerprints of the versions that both sides had.
        local: The versions here.
        remote: The versions there by their numbers.
    """
    before, here = Counter(known), [version_print(each) for each in local]
    on_remote = {number: version_print(each) for number, each in remote.items()}
    numbers = sorted(on_remote)
    matcher = SequenceMatcher(None, [on_remote[number] for number in numbers], here, autojunk=False)
    kept = {numbers[n] for block in matcher.get_matching_blocks() for n in range(block.a, block.a + block.size)}
    found = []
    for each in dict.fromkeys(marked[1:] for marked in before):
        sent = before[ACKNOWLEDGED + each] + before[ASKED + each]
        candidates = [number for number in numbers if on_remote[number] == each]
        left = here.count(each)
        count = min(sent, sent + before[CAME + each] - left, len(candidates) - left)
        found += sorted(candidates, key=lambda number: (number in kept, -number))[: max(count, 0)]
    return sorted(found)
