"""The plan: bounded requests that say, one after the other, what was given."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrack.disk.segment import PointColumns
from mltrack.entities import Event
from mltrack_sync.limits import MLFLOW_LIMITS, Limits
from mltrack_sync.mlflow.plan.batches import Facts, Piece, Request, facts_of, requests_of, sift

MS = 1_000_000

keys = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5, unique=True)
integers = st.integers(-(2**63), 2**63 - 1)
pairs = st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=60)), max_size=30)
limits = st.builds(
    Limits,
    batch_metrics_max=st.integers(1, 50),
    batch_params_max=st.integers(1, 10),
    batch_tags_max=st.integers(1, 10),
    batch_items_max=st.integers(1, 60),
    request_bytes_max=st.integers(2000, 20_000),
)


@st.composite
def columns(draw: st.DrawFn, first: int = 0) -> PointColumns:
    names = draw(keys)
    rows = draw(
        st.lists(st.tuples(st.integers(0, len(names) - 1), integers, st.integers(0, 2**62), st.floats()), max_size=80)
    )
    codes, steps, times, values = zip(*rows, strict=True) if rows else ((), (), (), ())
    return PointColumns(
        names,
        np.array(codes, np.int64),
        np.arange(first, first + len(rows), dtype=np.int64),
        np.array(steps, np.int64),
        np.array(times, np.int64),
        np.array(values, np.float64),
    )


def rows_of(points: PointColumns) -> list[tuple[str, str, int, int]]:
    return [
        (points.keys[code], repr(value), time // MS, step)
        for code, value, time, step in zip(
            points.codes.tolist(), points.values.tolist(), points.times.tolist(), points.steps.tolist(), strict=True
        )
    ]


def as_sent(metric: dict[str, object]) -> tuple[object, str, object, object]:
    words = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
    value = metric["value"]
    text = words[value] if isinstance(value, str) else repr(value)
    return metric["key"], text, metric["timestamp"], metric["step"]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(columns(), max_size=4), params=pairs, tags=pairs, limits=limits)
def test_the_bodies_one_after_the_other_are_the_input_in_order_each_within_the_limits(
    pieces: list[PointColumns], params: list[tuple[str, str]], tags: list[tuple[str, str]], limits: Limits
) -> None:
    given_pieces = [Piece(f"w{n}", points, len(points)) for n, points in enumerate(pieces)]
    facts = Facts(tuple(params), tuple(tags), events={"w0": 7})
    sent = list(requests_of(facts, given_pieces, lambda: limits))
    bodies = [request.body("r" * 32) for request in sent]
    read = [json.loads(body, parse_constant=lambda name: 1 / 0) for body in bodies]
    assert [as_sent(m) for body in read for m in body.get("metrics", [])] == [
        row for points in pieces for row in rows_of(points)
    ]
    assert [(p["key"], p["value"]) for body in read for p in body.get("params", [])] == params
    assert [(t["key"], t["value"]) for body in read for t in body.get("tags", [])] == tags
    for request, body in zip(sent, bodies, strict=True):
        assert request.points_count <= limits.batch_metrics_max
        assert len(request.params) <= limits.batch_params_max
        assert len(request.tags) <= limits.batch_tags_max
        assert request.items <= limits.batch_items_max
        assert len(body) <= limits.request_bytes_max or request.items == 1


@settings(max_examples=80, deadline=None)
@given(pieces=st.lists(columns(), min_size=1, max_size=4), limits=limits)
def test_after_each_request_the_ledger_position_is_just_after_its_last_point(
    pieces: list[PointColumns], limits: Limits
) -> None:
    ends: dict[str, int] = {}
    done: dict[str, int] = {}
    given_pieces = [Piece(f"w{n}", points, len(points) + 3) for n, points in enumerate(pieces)]
    for request in requests_of(Facts(), given_pieces, lambda: limits):
        ((writer, end),) = request.ends.items()
        done[writer] = done.get(writer, 0) + request.points_count
        total = len(pieces[int(writer[1:])])
        assert end == (total + 3 if done[writer] == total else done[writer])
        ends[writer] = end
    assert ends == {piece.writer: piece.end for piece in given_pieces}


@settings(max_examples=80, deadline=None)
@given(points=columns(), params=pairs, tags=pairs)
def test_the_parts_of_a_split_request_equal_the_whole(
    points: PointColumns, params: list[tuple[str, str]], tags: list[tuple[str, str]]
) -> None:
    def leaves(request: Request) -> list[Request]:
        parts = request.split()
        return parts if len(parts) == 1 else [leaf for part in parts for leaf in leaves(part)]

    found = leaves(Request(tuple(params), tuple(tags), points))
    assert all(leaf.items <= 1 for leaf in found)
    assert [p for leaf in found for p in leaf.params] == params
    assert [t for leaf in found for t in leaf.tags] == tags
    sent = [row for leaf in found if leaf.points is not None for row in rows_of(leaf.points)]
    assert sent == rows_of(points)


@settings(max_examples=100, deadline=None)
@given(points=columns())
def test_of_points_that_are_equal_on_the_remote_the_first_is_kept(points: PointColumns) -> None:
    def there(row: tuple[str, str, int, int]) -> tuple[str, str, int, int]:
        value = float(row[1])
        kept = (
            "nan" if math.isnan(value) else repr(max(-1.7976931348623157e308, min(1.7976931348623157e308, value)) + 0.0)
        )
        return row[0], kept, row[2], row[3]

    sifted = sift(points, lambda key: None)
    firsts: dict[tuple[str, str, int, int], tuple[str, str, int, int]] = {}
    for row in rows_of(points):
        firsts.setdefault(there(row), row)
    assert rows_of(sifted.points) == list(firsts.values())
    assert sifted.collapsed == len(points) - len(firsts)
    assert sifted.refused == []


def test_refused_names_and_times_before_1970_are_rejected() -> None:
    points = PointColumns(
        ["good", "bad"],
        np.array([0, 1, 0, 1]),
        np.arange(4),
        np.zeros(4, np.int64),
        np.array([5 * MS, 5 * MS, -1, 6 * MS]),
        np.ones(4),
    )
    sifted = sift(points, lambda key: "no" if key == "bad" else None)
    assert rows_of(sifted.points) == [("good", "1.0", 5, 0)]
    assert [(r.kind, r.key, len(r.seqs)) for r in sifted.refused] == [("metric", "bad", 2), ("point", "good", 1)]


def test_run_data_has_the_current_values_of_what_the_events_changed() -> None:
    events = [
        Event("w", 3, 1, "param", {"key": "p", "value": "1"}),
        Event("w", 4, 1, "tag", {"key": "t", "value": "old"}),
        Event("w", 5, 2, "tag", {"key": "gone", "value": None}),
        Event("w", 6, 2, "tag", {"key": "known", "value": "k"}),
        Event("v", 0, 2, "param", {"key": "long", "value": "x"}),
    ]
    facts = facts_of(
        events,
        params={"p": "1", "long": "x" * 6001, "untouched": "1"},
        tags={"t": "new", "known": "k"},
        limits=MLFLOW_LIMITS,
        known_tags={"known": "k"},
    )
    assert facts.params == (("p", "1"),)
    assert facts.tags == (("t", "new"),)
    assert facts.removed == ("gone",)
    assert facts.events == {"w": 7, "v": 1}
    assert [(r.kind, r.key) for r in facts.refused] == [("param", "long")]
    assert "6001" in facts.refused[0].reason


def test_names_that_the_server_refuses_are_recognised() -> None:
    for name in ("a", "a/b c-d_e.f:g", "größe", "視覚", "a" * 250):
        assert MLFLOW_LIMITS.refuse_key(name) is None
    for name in ("😀", "a%", "a@b", "a\\b", "/a", "a/", "a//b", "../a", "a/..", ".", "a" * 251):
        assert MLFLOW_LIMITS.refuse_key(name)
