"""The tree of runs: groups, children, what is open."""

from __future__ import annotations

from mltrack.catalog.overview import RunLine
from mltrack.top.tree import RunTree


def line(run_id: str, *, parent: str | None = None, experiment: str = "e", value: str | None = None) -> RunLine:
    return RunLine(run_id, f"run {run_id}", experiment, "FINISHED", 0, 1, parent, False, False, value)


def labels(tree: RunTree) -> list[str]:
    return ["  " * row.depth + row.label for row in tree.rows()]


def test_runs_are_below_their_experiment_and_children_below_their_parent_once_it_is_open() -> None:
    tree = RunTree()
    tree.show([line("c", parent="a"), line("b", experiment="f"), line("a")], "experiment")
    assert labels(tree) == ["f", "  run b", "e", "  run a"]
    assert [row.size for row in tree.rows()] == [1, 0, 2, 1]
    tree.toggle(tree.rows()[3])
    assert labels(tree) == ["f", "  run b", "e", "  run a", "    run c"]
    tree.toggle(tree.rows()[2])
    assert labels(tree) == ["f", "  run b", "e"]


def test_groups_of_a_param_are_ordered_by_number_and_runs_without_it_are_last() -> None:
    tree = RunTree()
    tree.show([line("a", value="10"), line("b"), line("c", value="9"), line("d", parent="a", value="9")], "params.n")
    assert labels(tree) == ["9", "  run c", "  run d", "10", "  run a", "(none)", "  run b"]


def test_values_that_are_no_numbers_are_ordered_as_text() -> None:
    tree = RunTree()
    tree.show([line("a", value="sgd"), line("b", value="10"), line("c", value="adam")], "params.opt")
    assert [row.label for row in tree.rows() if row.run is None] == ["10", "adam", "sgd"]


def test_by_parent_the_runs_without_one_are_at_the_top() -> None:
    tree = RunTree()
    tree.show([line("b", parent="a"), line("a"), line("c", parent="gone")], "parent")
    assert labels(tree) == ["run a", "run c"]
    assert [each.run_id for each in tree.below("a")] == ["b"]


def test_runs_that_are_each_others_parents_do_not_hang_the_tree() -> None:
    tree = RunTree(opened={"a", "b", "c"})
    tree.show([line("a", parent="b"), line("b", parent="a"), line("c", parent="c")], "parent")
    assert labels(tree) == ["run c"]
    assert [each.run_id for each in tree.below("a")] == ["b"]
