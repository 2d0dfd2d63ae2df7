"""The choice of points for a sampled history: what is in it, how many, and that it does not depend on the pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrack.disk.segment import PointColumns
from mltrack_sync.mlflow.plan.sampling import Chosen, Sampler, bucket_size, points_max, windows_of
from mltrack_sync.remotes.settings import HISTORY_MIN

N = HISTORY_MIN
ODD = (math.nan, math.inf, -math.inf)


def column(values: Sequence[float], steps: Sequence[int] | None = None) -> PointColumns:
    """Points of one metric, one a ms."""
    at = np.arange(len(values), dtype=np.int64)
    where = at if steps is None else np.array(steps, np.int64)
    codes = np.zeros(len(values), np.int64)
    return PointColumns(["m"], codes, at, where, at * 1_000_000, np.array(values, np.float64))


def in_pieces(points: PointColumns, cuts: Sequence[int], history: int = N) -> tuple[dict[int, int], dict[int, int]]:
    """What goes while the writer lives, and at its end, looked at in these pieces: when each point was due, by seq."""
    sampler = Sampler(history)
    found: list[Chosen] = []
    edges = [0, *sorted(cuts), len(points)]
    for start, end in pairwise(edges):
        chosen = sampler.add(points.take(slice(start, end)))
        assert (np.diff(chosen.due) >= 0).all()
        assert (chosen.due < end).all()
        assert (chosen.due >= start).all()
        found.append(chosen)
    at_end = sampler.finish()
    live = {seq: due for one in found for seq, due in zip(one.points.seqs.tolist(), one.due.tolist(), strict=True)}
    assert len(live) == sum(len(one.due) for one in found), "no point goes twice"
    last = dict(zip(at_end.points.seqs.tolist(), at_end.due.tolist(), strict=True))
    assert not live.keys() & last.keys(), "no point goes twice"
    return live, last


def spans(count: int, history: int = N) -> tuple[list[range], list[range]]:
    """The windows that have closed, and the buckets, of a metric with so many points: said once more, in plain code."""
    windows, at = [], history // 8
    while at + max(1, at * 130 // history) <= count:
        windows.append(range(at, at + max(1, at * 130 // history)))
        at = windows[-1].stop
    size = bucket_size(history, count)
    return windows, [range(start, min(start + size, count)) for start in range(0, count, size)]


def of_span(values: Sequence[float], span: range) -> set[int]:
    """What goes of a window or bucket."""
    finite = [k for k in span if math.isfinite(values[k])]
    found = {span[-1]}
    if finite:
        found |= {min(finite, key=lambda k: (values[k], k)), min(finite, key=lambda k: (-values[k], k))}
    for odd in ODD:
        mine = [k for k in span if repr(values[k]) == repr(odd)]
        found |= {*mine[:1], *mine[-1:]}
    return found


values_of = st.lists(
    st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-1e6, 1e6, width=32),
        st.sampled_from(ODD),
        st.sampled_from([1e308, -1e308, 5e-324, -0.0]),
    ),
    max_size=40,
)


@st.composite
def histories(draw: st.DrawFn) -> list[float]:
    """Values of a metric: a pattern drawn, repeated with changes up to some thousands of points."""
    pattern = draw(values_of.filter(bool))
    count = draw(st.integers(0, 40 * N))
    values = [pattern[k % len(pattern)] + (k // 97) for k in range(count)]
    for k in draw(st.lists(st.integers(0, max(0, count - 1)), max_size=8)):
        if count:
            values[k] = draw(st.sampled_from([*ODD, 1e300, -1e300]))
    return values


@settings(max_examples=60, deadline=None)
@given(values=histories(), cuts=st.lists(st.integers(0, 40 * N), max_size=6))
def test_each_window_and_bucket_keeps_its_extremes_and_non_finite_values(values: list[float], cuts: list[int]) -> None:
    live, last = in_pieces(column(values), [min(cut, len(values)) for cut in cuts])
    windows, buckets = spans(len(values))
    expected = {k: k for k in range(min(N // 8, len(values)))}
    for window in windows:
        expected |= dict.fromkeys(of_span(values, window), window[-1])
    assert live == expected
    if len(values) <= N:
        assert live.keys() | last.keys() == set(range(len(values))), "a history of up to N points goes whole"
    wanted = set().union(*(of_span(values, bucket) for bucket in buckets)) - expected.keys()
    assert last == dict.fromkeys(wanted, len(values))


@settings(max_examples=40, deadline=None)
@given(values=histories(), data=st.data())
def test_the_sample_does_not_depend_on_how_the_points_are_chunked(values: list[float], data: st.DataObject) -> None:
    cuts = st.lists(st.integers(0, len(values)), max_size=30)
    assert in_pieces(column(values), data.draw(cuts)) == in_pieces(column(values), data.draw(cuts))


@settings(max_examples=40, deadline=None)
@given(values=histories(), at=st.integers(0, 40 * N))
def test_what_is_sent_of_a_live_writer_is_part_of_the_sample_of_every_longer_history(
    values: list[float], at: int
) -> None:
    shorter, _ = in_pieces(column(values[:at]), [])
    longer, _ = in_pieces(column(values), [])
    assert shorter.items() <= longer.items()


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(-5, 5), min_size=N + 1, max_size=6 * N), seed=st.integers(0, 1 << 16))
def test_the_latest_point_is_always_in_the_sample_whatever_the_order_of_steps(steps: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 9, len(steps)).astype(float).tolist()
    live, last = in_pieces(column(values, steps), [len(steps) // 2])
    assert max(range(len(steps)), key=lambda k: (steps[k], k)) in live.keys() | last.keys()


@pytest.mark.parametrize("history", [100, 500, 1000, 2000, 20_000])
@pytest.mark.parametrize("count", [1, 100, 2001, 50_000, 600_000])
def test_the_sample_has_no_more_points_than_its_stated_bound(history: int, count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).tolist()
    live, last = in_pieces(column(values), list(range(0, count, 1 << 15)), history)
    assert min(count, history // 2) <= len(live) + len(last) <= points_max(history, count)


@pytest.mark.parametrize("history", [1000, 2000, 5000, 100_000])
@pytest.mark.parametrize("count", [10**3, 10**5, 10**7, 10**9])
def test_a_sample_has_at_most_twice_the_requested_points_up_to_a_billion_points(history: int, count: int) -> None:
    assert points_max(history, count) <= 2 * history


@pytest.mark.parametrize("history", [100, 1000, 2000])
def test_a_sample_of_any_length_of_history_stays_near_twice_the_requested_points(history: int) -> None:
    assert points_max(history, 1 << 61) <= 3.5 * history


@pytest.mark.parametrize("count", [10_000, 100_000, 1_000_000])
def test_of_points_taken_evenly_by_number_most_are_spread_evenly_over_the_steps(count: int) -> None:
    """As MLflow's charts take 320 of a series: no tenth of the steps may be left with a handful."""
    values = np.random.default_rng(count).normal(size=count).tolist()
    live, last = in_pieces(column(values), list(range(0, count, 1 << 15)), 2000)
    sent = np.sort(np.array([*live, *last]))
    drawn = sent[(np.arange(320) * len(sent)) // 320]
    tenths = np.bincount(drawn * 10 // count, minlength=10)
    assert tenths.min() >= 12
    assert tenths[1:].sum() > 200


@pytest.mark.parametrize("history", [1000, 2000, 100_000])
@pytest.mark.parametrize("count", [10**5, 10**7, 10**9])
def test_a_server_is_behind_by_one_window_at_most(history: int, count: int) -> None:
    assert windows_of(history, count + count * 130 // history + 2) > windows_of(history, count)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 5 * N), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 30 * N), max_size=5),
    seed=st.integers(0, 1 << 16),
)
def test_interleaved_metrics_are_sampled_independently(counts: list[int], cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    at = np.arange(len(codes), dtype=np.int64)
    points = PointColumns(
        [f"m{n}" for n in range(len(counts))], codes, at, at, at * 1_000_000, random.normal(size=len(codes))
    )
    live, last = in_pieces(points, [min(cut, len(points)) for cut in cuts])
    expected: set[int] = set()
    for code in range(len(counts)):
        mine = np.flatnonzero(codes == code)
        alone = in_pieces(column(points.values[mine].tolist()), [])
        expected |= {int(mine[k]) for part in alone for k in part}
    assert live.keys() | last.keys() == expected


def test_a_writer_that_turns_out_to_be_alive_is_sampled_as_if_it_had_never_seemed_ended() -> None:
    values = np.random.default_rng(1).normal(size=9 * N).tolist()
    points, sampler = column(values), Sampler(N)
    sampler.add(points.take(slice(0, 5 * N)))
    sampler.finish()
    after = sampler.add(points.take(slice(5 * N, None)))
    live, last = in_pieces(points, [])
    assert set(after.points.seqs.tolist()) == {seq for seq, due in live.items() if due >= 5 * N}
    assert set(sampler.finish().points.seqs.tolist()) == last.keys()
