"""Filters and orderings as programs make them: of thousands of parts, nested at will. Answered right, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.catalog.filter_parser import COMPARISONS_MAX, NESTED_MAX, And, Comparison, Or, parse_filter
from mltrack.cli import main
from mltrack.errors import FilterError
from mltrack.recording import current_store, fluent
from mltrack.store import Store


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Runs 0 to 9: metric m and param p are their number, tag odd is set on odd ones, n is NaN for 9."""
    current_store.set_store(tmp_path_factory.mktemp("numbers") / "store")
    for number in range(10):
        with fluent.start_run(run_name=str(number), tags={"odd": "yes"} if number % 2 else None) as run:
            run.log_metrics({"m": number, "n": float("nan") if number == 9 else number})
            run.log_param("p", number)
    store = current_store.get_store()
    current_store.set_store(None)
    return store


def found(store: Store, text: str) -> list[int]:
    return sorted(int(run.info.run_name) for run in store.search_runs(filter_string=text, max_results=100))


@pytest.mark.parametrize(
    ("text", "numbers_found"),
    [
        ("(" * 400 + "metrics.m < 3" + ")" * 400, [0, 1, 2]),
        ("(" * 20_000 + "metrics.m < 3" + ")" * 20_000, [0, 1, 2]),
        (" and ".join(["metrics.m < 3"] * 3000), [0, 1, 2]),
        (" and ".join(f"metrics.m < {limit}" for limit in range(3, 3003)), [0, 1, 2]),
        (" or ".join(f"params.p = '{number}'" for number in range(1, 10_000, 4)), [1, 5, 9]),
        (" or ".join(f"attributes.run_name = '{number}'" for number in range(2, 9_000, 3)), [2, 5, 8]),
        (" or ".join(f"(metrics.m > {n} and metrics.m < {n + 2})" for n in range(50)), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (" and ".join(f"tags.t{number} IS NULL" for number in range(100)), list(range(10))),
        ("(" * 300 + "metrics.m = 1" + " or metrics.m = 2) and metrics.m < 3)" * 150, [1, 2]),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_long_filters_that_programs_write_are_answered(text: str, numbers_found: list[int], numbers: Store) -> None:
    if text.count(" and ") == 150:  # alternates too often
        with pytest.raises(FilterError, match="nested more than 100 deep"):
            numbers.search_runs(filter_string=text)
        return
    assert found(numbers, text) == numbers_found


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["metrics.m = 1"] * (COMPARISONS_MAX + 1)),
        " and ".join(f"metrics.m{number} < 3" for number in range(101)),
        " and ".join(f"datasets.name = '{number}'" for number in range(101)),
        "(" * 5000 + "metrics.m = 1",
        "(" * 5000,
        "metrics.m = 1" + ")" * 5000,
        "".join("(metrics.m = 1 or (metrics.m < 2 and " for _ in range(NESTED_MAX))
        + "metrics.m = 1"
        + "))" * NESTED_MAX,
    ],
    ids=lambda text: text[:30],
)
def test_filters_beyond_the_limits_are_refused_in_one_line(
    text: str, numbers: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FilterError):
        numbers.search_runs(filter_string=text)
    assert main(["--store", str(numbers.path), "ls", "--filter", text]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and len(said) < 1000


def test_orderings_are_bounded_too(numbers: Store) -> None:
    orders = [f"metrics.m{number}" for number in range(60)]
    assert len(numbers.search_runs(order_by=orders[:50])) == 10
    with pytest.raises(FilterError, match="order_by has 60 parts"):
        numbers.search_runs(order_by=orders)
    with pytest.raises(FilterError):
        numbers.search_runs(order_by=["(" * 5000 + "metrics.m" + ")" * 5000])


def test_redundant_parentheses_and_repeated_terms_do_not_count() -> None:
    one = parse_filter("metrics.a = 1")
    assert parse_filter("((metrics.a = 1)) and (metrics.a = 1 or metrics.a = 1)") == one
    flat = parse_filter("(metrics.a = 1 and (metrics.b = 1 and metrics.c = 1)) and metrics.d = 1")
    assert isinstance(flat, And) and len(flat.parts) == 4
    tree = parse_filter("metrics.a = 1 or metrics.b = 1 and metrics.c = 1 or (metrics.d = 1 or metrics.e = 1)")
    assert isinstance(tree, Or) and [type(part) for part in tree.parts] == [Comparison, And, Comparison, Comparison]


_ONE = st.one_of(
    st.tuples(st.sampled_from(["metrics.m", "metrics.n"]), st.sampled_from(["=", "!=", "<", ">="]), st.integers(0, 9)),
    st.tuples(st.just("params.p"), st.sampled_from(["=", "!="]), st.integers(0, 9).map(str)),
    st.tuples(st.just("tags.odd"), st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none()),
)
_TREES = st.recursive(
    _ONE, lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4))
)


def written(tree: object) -> str:
    match tree:
        case (("and" | "or") as joined, list(parts)):
            return "(" + f" {joined} ".join(map(written, parts)) + ")"
        case (name, comparator, None):
            return f"{name} {comparator}"
        case (name, comparator, str(text)):
            return f"{name} {comparator} '{text}'"
        case (name, comparator, value):
            return f"{name} {comparator} {value}"
    raise AssertionError(tree)


def holds(tree: object, number: int) -> bool:
    match tree:
        case ("and", list(parts)):
            return all(holds(part, number) for part in parts)
        case ("or", list(parts)):
            return any(holds(part, number) for part in parts)
        case (_, ("IS NULL" | "IS NOT NULL") as comparator, None):
            return (number % 2 == 0) == (comparator == "IS NULL")
        case (name, comparator, value):
            held = float("nan") if name == "metrics.n" and number == 9 else float(number)
            wanted = float(str(value))
            outcomes = {"=": held == wanted, "!=": held != wanted, "<": held < wanted, ">=": held >= wanted}
            return outcomes[str(comparator)]
    raise AssertionError(tree)


@pytest.mark.slow
@given(_TREES)
def test_any_tree_of_comparisons_is_evaluated_correctly(numbers: Store, tree: object) -> None:
    assert found(numbers, written(tree)) == [number for number in range(10) if holds(tree, number)]
