"""The filter line: grammar, regular expressions, a part of a name."""

from __future__ import annotations

import pytest

from mltrack.catalog.filter_parser import Name
from mltrack.errors import FilterError
from mltrack.store import Store
from mltrack.top.filters import metric_filter, parse_line
from tests.support.written_runs import write_run


@pytest.mark.parametrize(
    ("line", "grammar", "pattern"),
    [
        ("", "", ""),
        ("metrics.loss < 0.5", "metrics.loss < 0.5", ""),
        (r"/seed-\d+/", "", r"seed-\d+"),
        ("/a|b/ and params.lr = '0.1'", "params.lr = '0.1'", "a|b"),
        ("/a/ params.lr = '0.1'", "params.lr = '0.1'", "a"),
        (r"/a\/b/", "", "a/b"),
        ("seed-1", "", r"(?i)seed\-1"),
    ],
)
def test_a_line_is_grammar_a_regular_expression_or_a_part_of_a_name(line: str, grammar: str, pattern: str) -> None:
    assert parse_line(line)[:2] == (grammar, pattern)


def test_a_param_a_tag_or_an_attribute_makes_groups() -> None:
    assert parse_line("", "params.lr").group == Name("param", "lr")
    assert parse_line("", "tags.`my team`").group == Name("tag", "my team")
    assert parse_line("", "status").group == Name("attribute", "status")
    assert parse_line("", "experiment").group is None


@pytest.mark.parametrize(("line", "group"), [("metrics.loss <", "experiment"), ("", "metrics.loss"), ("", "nothing")])
def test_what_does_not_parse_is_refused(line: str, group: str) -> None:
    with pytest.raises(FilterError):
        parse_line(line, group)


def test_metrics_are_chosen_by_a_regular_expression() -> None:
    wanted = metric_filter("^(loss|acc)$")
    assert [name for name in ("loss", "val_loss", "acc") if wanted(name)] == ["loss", "acc"]
    with pytest.raises(FilterError, match="regular expression"):
        metric_filter("(")


def test_runs_are_found_by_name_and_by_grammar_with_the_value_they_are_grouped_by(empty_store: Store) -> None:
    for number in range(4):
        params = {"lr": str(number % 2)} if number else {}
        write_run(empty_store, name=f"Seed-{number}", params=params, start_ms=1_000 + number)
    write_run(empty_store, name="other", params={"lr": "1"})
    write_run(empty_store, name="seed-deleted", params={"lr": "1"}, stage="deleted")

    def found(line: str, group: str = "experiment") -> list[tuple[str, str | None]]:
        return [(each.name, each.value) for each in empty_store.overview(parse_line(line, group))]

    assert found("seed", "params.lr") == [("Seed-3", "1"), ("Seed-2", "0"), ("Seed-1", "1"), ("Seed-0", None)]
    assert found("/^Seed-[12]/ and params.lr = '1'") == [("Seed-1", None)]
    assert found("other", "status") == [("other", "FINISHED")]
    with pytest.raises(FilterError, match=r"/\(/"):
        found("/(/")
    assert empty_store.keys("param") == ["lr"]
