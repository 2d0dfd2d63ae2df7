"""What both stores append to, merged: experiments, the registry, logged models; and all that is not a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.recording import current_store
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.full_store import make_full_store
from tests.support.store_copies import assert_same_runs, copy


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """Two empty stores."""
    return Store.create(tmp_path / "a"), Store.create(tmp_path / "b")


def both_ways(here: Store, there: Store) -> list[str]:
    """Copy each way; returns the notes."""
    reports = [copy(here, there), copy(there, here)]
    assert [report.problems for report in reports] == [[], []]
    return [note for report in reports for note in report.notes]


def assert_settled(here: Store, there: Store) -> None:
    """Copying each way again changes nothing."""
    both_ways(here, there)
    before = [sorted((store.path / "workspace").glob("*.jsonl")) for store in (here, there)]
    sizes = [[path.stat().st_size for path in paths] for paths in before]
    both_ways(here, there)
    assert [[path.stat().st_size for path in paths] for paths in before] == sizes
    for store in (here, there):
        assert [str(finding) for finding in check_store(store.path).findings] == []


def test_everything_of_a_store_arrives(tmp_path: Path) -> None:
    here, there = make_full_store(tmp_path / "a"), Store.create(tmp_path / "b")
    report = copy(here, there)
    assert report.problems == []
    assert there.experiments() == here.experiments()
    assert there.registry.models() == here.registry.models()
    assert there.registry.versions() == here.registry.versions()
    assert there.logged_models.models() == here.logged_models.models()
    assert (there.path / "traces").is_dir()
    files = {path.relative_to(here.path) for path in here.path.glob("traces/*/*/*")}
    assert files == {path.relative_to(there.path) for path in there.path.glob("traces/*/*/*")}
    assert_same_runs(here, there)
    again = copy(here, there)
    assert again.units == []


def test_an_experiment_whose_name_is_taken_gets_another_name_and_keeps_it(stores: tuple[Store, Store]) -> None:
    here, there = stores
    mine, other = here.workspace.create("speech"), there.workspace.create("speech")
    notes = both_ways(here, there)
    assert len(notes) == 2
    for store, own, incoming in ((here, mine, other), (there, other, mine)):
        assert store.workspace.get(own.experiment_id).name == "speech"
        assert store.workspace.get(incoming.experiment_id).name == f"speech ({incoming.experiment_id[-6:]})"
    assert_settled(here, there)


def test_of_two_conflicting_settings_the_later_wins_in_both_stores_and_is_reported(stores: tuple[Store, Store]) -> None:
    here, there = stores
    made = here.workspace.create("speech")
    both_ways(here, there)
    here.workspace.set_tag(made.experiment_id, "team", "a")
    there.workspace.set_tag(made.experiment_id, "team", "b")
    there.workspace.rename(made.experiment_id, "voices")
    notes = both_ways(here, there)
    assert any("tag:team of experiment 'speech'" in note for note in notes)
    for store in stores:
        assert store.workspace.get(made.experiment_id).tags == {"team": "b"}
        assert store.workspace.get(made.experiment_id).name == "voices"
    assert_settled(here, there)


def test_a_later_change_on_one_side_is_not_a_conflict(stores: tuple[Store, Store]) -> None:
    here, there = stores
    made = here.workspace.create("speech", {"team": "a"})
    here.registry.create_version("net", "runs:/a/model", create_model=True, description="first")
    both_ways(here, there)
    there.workspace.set_tag(made.experiment_id, "team", "b")
    there.registry.update_version("net", 1, "better")
    there.registry.set_alias("net", "best", 1)
    assert both_ways(here, there) == []
    assert here.workspace.get(made.experiment_id).tags == {"team": "b"}
    assert here.registry.get_version("net", 1).description == "better"
    assert here.registry.models() == there.registry.models()
    assert_settled(here, there)


def test_versions_made_on_both_sides_are_in_both_stores_under_different_numbers(
    stores: tuple[Store, Store],
) -> None:
    here, there = stores
    for store, source in ((here, "runs:/a/model"), (there, "runs:/b/model")):
        store.registry.create_version("net", source, create_model=True)
        store.registry.set_alias("net", "best", 1)
        store.registry.create_version("net", f"{source}2")
    notes = both_ways(here, there)
    assert any("version 1 of model 'net' in the other store is version 3 here" in note for note in notes)
    assert any("alias:best of model 'net' was set in both stores" in note for note in notes)
    for store in stores:
        sources = {version.source for version in store.registry.versions("net")}
        assert sources == {"runs:/a/model", "runs:/a/model2", "runs:/b/model", "runs:/b/model2"}
        assert store.registry.by_alias("net", "best").source == "runs:/b/model"
    assert_settled(here, there)


def test_a_later_deletion_is_applied_in_both_stores(stores: tuple[Store, Store]) -> None:
    here, there = stores
    for name in ("net", "old"):
        here.registry.create_version(name, "runs:/a/model", create_model=True)
        here.registry.create_version(name, "runs:/a/model2")
    both_ways(here, there)
    there.registry.delete_version("net", 2)
    there.registry.delete_model("old")
    notes = both_ways(here, there)
    assert len(notes) == 2
    for store in stores:
        assert [model.name for model in store.registry.models()] == ["net"]
        assert [version.version for version in store.registry.versions("net")] == [1]
    assert_settled(here, there)


def test_a_renamed_model_is_renamed_in_both_stores(stores: tuple[Store, Store]) -> None:
    here, there = stores
    here.registry.create_version("net", "runs:/a/model", create_model=True)
    both_ways(here, there)
    here.registry.rename_model("net", "network")
    there.registry.set_alias("net", "best", 1)
    both_ways(here, there)
    for store in stores:
        assert store.registry.by_alias("network", "best").source == "runs:/a/model"
        assert len(store.registry.models()) == 1
    assert_settled(here, there)


def test_a_logged_model_that_both_changed_has_both_changes(stores: tuple[Store, Store]) -> None:
    here, there = stores
    model = here.logged_models.create("0", "m", params={"a": "1"}, tags={"t": "0"})
    both_ways(here, there)
    here.logged_models.set_tags(model.model_id, {"x": "here", "t": "1"})
    there.logged_models.set_tags(model.model_id, {"y": "there", "t": "2"})
    there.logged_models.set_status(model.model_id, "READY")
    notes = both_ways(here, there)
    assert any("tag:t" in note for note in notes)
    for store in stores:
        found = Store.open(store.path).logged_models.get(model.model_id)
        assert (found.tags, found.params, found.status) == ({"x": "here", "y": "there", "t": "2"}, {"a": "1"}, "READY")
    assert_settled(here, there)


def test_runs_of_two_processes_that_resumed_one_run_in_two_stores_merge(stores: tuple[Store, Store]) -> None:
    from mltrack.recording import fluent

    here, there = stores
    current_store.set_store(here.path)
    with fluent.start_run(run_name="job") as run:
        run.log_metric("loss", 1.0, 0)
        run_id: str = run.run_id
    both_ways(here, there)
    for store, step in ((here, 1), (there, 2)):
        current_store.set_store(store.path)
        with fluent.start_run(run_id=run_id) as run:
            run.log_metric("loss", step, step)
            run.log_text(f"step {step}", "state.txt")
    current_store.set_store(None)
    both_ways(here, there)
    assert_same_runs(here, there)
    assert here.run(run_id).metrics("loss").num_rows == 3
    assert here.run(run_id).artifact_path("state.txt").read_text() == "step 2"
    assert_settled(here, there)
