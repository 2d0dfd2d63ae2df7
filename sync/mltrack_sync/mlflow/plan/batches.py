"""The plan: what is new in a run becomes requests of limited size, in order. Pure: no disk, no network, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mltrack_sync.limits import Limits

if TYPE_CHECKING:
    from mltrack.disk.segment import PointColumns
    from mltrack.entities import Event

__all__ = [
    "Facts",
    "Piece",
    "Refusal",
    "RefusedPoints",
    "Request",
    "Sifted",
    "facts_of",
    "metric_items",
    "requests_of",
    "sift",
]

METRIC_BYTES_MAX = 128  # of one metric's JSON, without its key
FACT_BYTES = 24  # of one param's or tag's JSON, without its key and value
ENVELOPE_BYTES = 256

NS_PER_MS = 1_000_000

Pair = tuple[str, str]


class Refusal(NamedTuple):
    """What the remote does not take: its kind (param, tag, metric, point, artifact, run), key, why, how many points.

    A metric is refused with all its points; of kind point are single ones of the metric ``key``.
    """

    kind: str
    key: str
    reason: str
    points: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Params and tags to set, tags to remove, those refused, and the events' positions after that (seq by writer)."""

    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)


def facts_of(
    events: Iterable[Event],
    *,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    limits: Limits,
    known_tags: Mapping[str, str] | None = None,
    again: Iterable[tuple[str, str]] = (),
    first: tuple[str, ...] = (),
) -> Facts:
    """What the new events set, with the run's current values; the remote has ``known_tags`` already.

    ``again`` names (kind, key) of params and tags to send though no event is new; ``first`` names tags that take
    precedence where the number of a run's tags is limited.
    """
    beyond = limits.beyond(params, tags, first)
    touched: dict[tuple[str, str], None] = dict.fromkeys(again)
    reach: dict[str, int] = {}
    for event in events:
        reach[event.writer] = max(reach.get(event.writer, 0), event.seq + 1)
        if event.type in ("param", "tag"):
            touched[(event.type, str(event.fields["key"]))] = None
    sent: dict[str, list[Pair]] = {"param": [], "tag": []}
    removed: list[str] = []
    refused: list[Refusal] = []
    for kind, key in touched:
        value = (params if kind == "param" else tags).get(key)
        if value is None:
            if kind == "tag" and limits.refuse_key(key) is None:
                removed.append(key)
            continue
        reason = limits.refuse_param(key, value) if kind == "param" else limits.refuse_tag(key, value)
        reason = reason or beyond.get((kind, key))
        if reason is not None:
            refused.append(Refusal(kind, key, reason))
        elif kind == "param" or (known_tags or {}).get(key) != value:
            sent[kind].append((key, value))
    return Facts(tuple(sent["param"]), tuple(sent["tag"]), tuple(removed), tuple(refused), reach)


# --- points ------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Some of one writer's points, in order; once they are acknowledged the writer is at seq ``end``.

    Points of a sampled history have as their seq when they were due: several may have the same.
    """

    writer: str
    points: PointColumns
    end: int


class RefusedPoints(NamedTuple):
    """Points of one metric that the remote does not take, as in Refusal; ``seqs`` says which, in order."""

    kind: str
    key: str
    reason: str
    seqs: npt.NDArray[np.int64]


class Sifted(NamedTuple):
    """What is left to send, what was refused, and how many points equal another one (see sift)."""

    points: PointColumns
    refused: list[RefusedPoints]
    collapsed: int


def sift(points: PointColumns, refuse: Callable[[str], str | None]) -> Sifted:
    """Leave out points the remote refuses, and repetitions: it keeps points with equal key, step, ms and value once.

    ``refuse(key)`` says why a metric of that name is not taken.
    """
    keep = np.ones(len(points), np.bool_)
    refused: list[RefusedPoints] = []
    for code in np.unique(points.codes).tolist():
        reason = refuse(points.keys[code])
        if reason is not None:
            mine = points.codes == code
            refused.append(RefusedPoints("metric", points.keys[code], reason, points.seqs[mine]))
            keep &= ~mine
    early = keep & (points.times < 0)
    if early.any():
        for code in np.unique(points.codes[early]).tolist():
            seqs = points.seqs[early & (points.codes == code)]
            refused.append(RefusedPoints("point", points.keys[code], "time before 1970: the remote takes none", seqs))
        keep &= ~early
    kept = points if keep.all() else points.take(keep)
    first = _first_of_equals(kept)
    collapsed = len(kept) - int(np.count_nonzero(first))
    return Sifted(kept.take(first) if collapsed else kept, refused, collapsed)


def _first_of_equals(points: PointColumns) -> npt.NDArray[np.bool_]:
    times, values = points.times // NS_PER_MS, comparable(points.values)
    order = np.lexsort((values, times, points.steps, points.codes))
    columns = (points.codes[order], points.steps[order], times[order], values[order])
    new = np.ones(len(points), np.bool_)
    if len(points) > 1:
        new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    first = np.empty(len(points), np.bool_)
    first[order] = new
    return first


def comparable(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Values as integers that are equal just when MLflow keeps the values as the same number (NaN, infinities, -0)."""
    limit = np.finfo(np.float64).max
    clipped = np.clip(values, -limit, limit) + 0.0
    return np.where(np.isnan(clipped), np.nan, clipped).view(np.int64)


_OVER = {"inf": '"Infinity"', "-inf": '"-Infinity"', "nan": '"NaN"'}


def metric_value(value: float) -> float | str:
    """A value as it goes into JSON: NaN and infinities as the strings that MLflow understands."""
    text = _OVER.get(repr(value))
    return value if text is None else text.strip('"')


def metric_items(points: PointColumns) -> list[str]:
    """Each point as MLflow's JSON object; NaN and infinities as the strings that it understands."""
    heads = {code: '{"key":' + json.dumps(points.keys[code]) + ',"value":' for code in set(points.codes.tolist())}
    rows = zip(
        points.codes.tolist(),
        points.values.tolist(),
        (points.times // NS_PER_MS).tolist(),
        points.steps.tolist(),
        strict=True,
    )
    if np.isfinite(points.values).all():
        return [f'{heads[c]}{v!r},"timestamp":{t},"step":{s}}}' for c, v, t, s in rows]
    return [f'{heads[c]}{_OVER.get(repr(v), repr(v))},"timestamp":{t},"step":{s}}}' for c, v, t, s in rows]


# --- requests ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One log-batch. After its acknowledgement the ledger is at ``events`` and ``ends`` (of points), by writer.

    ``reach`` is the seq, by writer, before which its points are: greater than ``ends`` where the next request has
    points of the same seq as its last.
    """

    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()
    points: PointColumns | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)
    reach: Mapping[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many params, tags and points it holds."""
        return len(self.params) + len(self.tags) + self.points_count

    @property
    def points_count(self) -> int:
        """How many points it holds."""
        return 0 if self.points is None else len(self.points)

    def exceeds(self, limits: Limits) -> bool:
        """Whether it holds more items of a kind, or in all, than these limits allow, and can be split."""
        return self.items > 1 and (
            self.points_count > limits.batch_metrics_max
            or len(self.params) > limits.batch_params_max
            or len(self.tags) > limits.batch_tags_max
            or self.items > limits.batch_items_max
        )

    def body(self, run_id: str) -> bytes:
        """The request's JSON for the remote run ``run_id``."""
        parts = [f'{{"run_id":{json.dumps(run_id)}']
        if self.points_count and self.points is not None:
            parts.append(',"metrics":[' + ",".join(metric_items(self.points)) + "]")
        for name, pairs in (("params", self.params), ("tags", self.tags)):
            if pairs:
                parts.append(f',"{name}":' + json.dumps([{"key": k, "value": v} for k, v in pairs]))
        return ("".join(parts) + "}").encode("ascii")

    def split(self) -> list[Request]:
        """Two requests equal to this one: facts and points apart, else either in two parts. One item stays whole."""
        if self.items <= 1:
            return [self]
        if self.points is not None and self.points_count and (self.params or self.tags):
            return [replace(self, points=None, ends={}, reach={}), replace(self, params=(), tags=(), events={})]
        if self.params and self.tags:
            return [replace(self, tags=()), replace(self, params=())]
        if self.points is not None and self.points_count:
            half = len(self.points) // 2
            return [
                replace(self, points=self.points.take(slice(0, half))),
                replace(self, points=self.points.take(slice(half, None))),
            ]
        pairs = self.params or self.tags
        parts = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
        return [replace(self, params=part) if self.params else replace(self, tags=part) for part in parts]


def requests_of(facts: Facts, pieces: Iterable[Piece], limits: Callable[[], Limits]) -> Iterator[Request]:
    """The requests, each within the current limits: params and tags first, then the points in their order."""
    pending: Request | None = None
    for chunk in _fact_chunks(facts, limits()):
        if pending is not None:
            yield pending
        pending = chunk
    if facts.events:
        pending = replace(pending or Request(), events=facts.events)
    for piece in pieces:
        for request in _requests_of_piece(piece, pending, limits):
            yield request
            pending = None
    if pending is not None:
        yield pending


def _requests_of_piece(piece: Piece, facts: Request | None, limits: Callable[[], Limits]) -> Iterator[Request]:
    """The requests of one piece, an empty one too, as its writer's position moves; the first carries ``facts``."""
    at, count = 0, len(piece.points)
    while True:
        taken = _room(piece.points, at, limits(), facts)
        if facts is not None and count and not taken:  # the facts alone fill a request
            yield facts
            facts = None
            continue
        part = piece.points.take(slice(at, at + taken))
        at += taken
        is_last = at >= count
        reach = piece.end if is_last else int(part.seqs[-1]) + 1
        same = not is_last and int(piece.points.seqs[at]) == int(part.seqs[-1])
        ends = {piece.writer: reach - 1 if same else reach}
        yield replace(facts or Request(), points=part, ends=ends, reach={piece.writer: reach})
        if is_last:
            return
        facts = None


def _room(points: PointColumns, at: int, limits: Limits, facts: Request | None) -> int:
    """How many points from ``at`` on fit into a request that already holds these facts."""
    items = facts.items if facts is not None else 0
    most = min(limits.batch_metrics_max, limits.batch_items_max - items, len(points) - at)
    if most <= 0:
        return 0
    codes = set(points.codes[at : at + most].tolist())
    each = METRIC_BYTES_MAX + max(len(json.dumps(points.keys[code])) for code in codes)
    free = limits.request_bytes_max - ENVELOPE_BYTES - (_facts_bytes(facts) if facts is not None else 0)
    fits = min(most, free // each)
    return fits if facts is not None else max(1, fits)


def _pair_bytes(pair: Pair) -> int:
    return FACT_BYTES + len(json.dumps(pair[0])) + len(json.dumps(pair[1]))


def _facts_bytes(request: Request) -> int:
    return sum(map(_pair_bytes, (*request.params, *request.tags)))


def _alternating(
    facts: Facts, params: list[Pair], tags: list[Pair], limits: Limits
) -> Iterator[tuple[Pair, list[Pair], int]]:
    """Params and tags in turn, each with the list it goes to and that list's limit: so requests fill with both."""
    for param, tag in zip_longest(facts.params, facts.tags):
        if param is not None:
            yield param, params, limits.batch_params_max
        if tag is not None:
            yield tag, tags, limits.batch_tags_max


def _fact_chunks(facts: Facts, limits: Limits) -> Iterator[Request]:
    params: list[Pair] = []
    tags: list[Pair] = []
    free = limits.request_bytes_max - ENVELOPE_BYTES
    size = 0
    for pair, mine, most in _alternating(facts, params, tags, limits):
        full = len(mine) >= most or len(params) + len(tags) >= limits.batch_items_max
        if full or (size + _pair_bytes(pair) > free and size):
            yield Request(tuple(params), tuple(tags))
            params.clear()
            tags.clear()
            size = 0
        mine.append(pair)
        size += _pair_bytes(pair)
    if params or tags:
        yield Request(tuple(params), tuple(tags))
