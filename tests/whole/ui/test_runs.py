"""The pages of experiments and runs."""

from __future__ import annotations

import pytest

from mltrack.store import Store
from tests.support.ui.looking import Look
from tests.support.ui.spike import DIP, SPIKE

pytestmark = pytest.mark.browser


def test_the_list_of_experiments_holds_each(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open("/experiments")
    look.shows(*ui_experiments)
    look.shot("experiments")


def test_an_experiment_is_created_in_the_browser(look: Look, ui_store: Store) -> None:
    look.open("/experiments")
    look.click("Create", exact=True)
    look.dialog().get_by_role("textbox").first.fill("made-here")
    look.dialog().get_by_role("button", name="Create").click()
    look.shows("No runs logged")
    look.shot("experiment-made")
    made = ui_store.workspace.by_name("made-here")
    assert made is not None
    assert made.experiment_id in look.page.url


def test_thousands_of_runs_are_paged_sorted_and_filtered(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['many']}/runs")
    look.shows("100 matching runs")
    look.page.mouse.move(600, 500)
    look.page.mouse.wheel(0, 100_000)
    look.click("Load more")
    look.shows("200 matching runs")
    look.shot("runs-more")

    look.click("Sort: Created")
    look.choose("loss")
    look.shows("Sort: loss")
    look.settle()
    look.page.mouse.wheel(0, -100_000)
    look.shows("many-2999")  # the greatest loss is first
    look.shot("runs-sorted")

    look.page.get_by_placeholder("metrics.rmse").first.fill("metrics.loss < 0.001 and params.lr = '0.0001'")
    look.page.keyboard.press("Enter")
    look.shows("1 matching run", "many-1234")
    look.shot("runs-filtered")


def test_an_invalid_filter_is_reported_and_does_not_give_an_empty_list(
    look: Look, ui_experiments: dict[str, str]
) -> None:
    look.open(f"/experiments/{ui_experiments['sweep']}/runs")
    look.page.get_by_placeholder("metrics.rmse").first.fill("metrics.loss ~ 3")
    look.page.keyboard.press("Enter")
    look.shows("Request error", "metric 'loss' can't be compared by ~")
    look.expect_trouble("400 POST")


def test_columns_of_metrics_params_and_tags_are_chosen(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['many']}/runs")
    look.open_list("Columns", "loss")
    for name in ("loss", "seed", "team"):
        look.choose(name)
    look.page.keyboard.press("Escape")
    look.shows("Metrics", "Parameters", "Tags", "2999", "red")
    look.shot("runs-columns")


def test_a_child_run_is_shown_below_its_parent(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['nested']}/runs")
    look.shows("the-parent")
    look.lacks("the-child")
    look.page.locator("[role=row]").filter(has_text="the-parent").get_by_role("button").first.click()
    look.shows("the-child")
    look.shot("runs-nested")


def test_charts_of_an_experiment_show_each_run(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['sweep']}/runs?compareRunsMode=CHART")
    look.shows("Model metrics", "accuracy", "loss")
    lines = look.charts()
    assert lines.keys() == {(metric, f"sweep-{number}") for metric in ("accuracy", "loss") for number in range(4)}
    assert {len(values) for values in lines.values()} == {100}
    look.shot("charts")


def test_runs_are_compared(look: Look, ui_store: Store) -> None:
    runs = [ui_store.run(f"sweep-{number}") for number in (1, 2, 3)]
    ids = ",".join(f'"{run.run_id}"' for run in runs)
    look.open(f'/compare-runs?runs=[{ids}]&experiments=["{runs[0].info.experiment_id}"]')
    look.shows("Comparing 3 Runs from 1 Experiment", "Parallel Coordinates Plot", "sweep-1", "sweep-3", "adam")
    look.shot("compare")


def test_runs_of_two_experiments_are_compared(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f'/compare-experiments/s?experiments=["{ui_experiments["sweep"]}","{ui_experiments["full"]}"]')
    look.shows("Displaying Runs from 2 Experiments", "sweep-1", "full-run", "points (")
    look.shot("compared-experiments")


def test_the_page_of_a_run_shows_all_its_data(look: Look, ui_store: Store) -> None:
    run = ui_store.run("full-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    look.shows("full-run", "Finished", run.info.run_id, "everything", "0.875", "depth", "trial", "doubler", "Training")
    look.shows("points (")
    look.shot("run")


def test_a_million_points_are_charted_with_their_spikes(look: Look, ui_store: Store) -> None:
    run = ui_store.run("long-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    look.shows("Model metrics", "noise")
    noise = look.charts()["noise", "long-run"]
    look.shot("million-points")
    assert sorted(noise)[-1] == SPIKE
    assert sorted(noise)[0] == DIP
    assert -1 <= sorted(noise)[1] < sorted(noise)[-2] <= 1


def test_system_metrics_have_charts_of_their_own(look: Look, ui_store: Store) -> None:
    run = ui_store.run("long-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/system-metrics")
    look.shows("System metrics", "cpu_utilization_percentage")
    lines = look.charts()
    assert lines["system/cpu_utilization_percentage", "long-run"][:3] == [40, 41, 42]
    assert len(lines["system/system_memory_usage_megabytes", "long-run"]) == 50
    look.shot("system-metrics")


def test_images_texts_and_tables_among_artifacts_are_shown(look: Look, ui_store: Store) -> None:
    run = ui_store.run("full-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts")
    look.choose("images")
    look.choose("square.png")
    picture = look.page.get_by_role("img", name="square.png").or_(look.page.locator("img[src^=blob]")).first
    picture.wait_for()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [160, 120]
    look.shot("artifact-image")
    look.choose("notes")
    look.choose("fox.txt")
    look.shows("the quick brown fox")
    look.choose("tables")
    look.choose("points.json")
    look.shows("x", "y", "6")
    look.shot("artifact-table")


def test_a_live_run_is_shown_as_it_grows(look: Look, ui_store: Store, ui_training: str) -> None:
    run = ui_store.run(ui_training)
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    look.shows("Running", "loss")
    value = look.page.get_by_role("row").filter(has=look.page.get_by_role("link", name="loss", exact=True))
    before = float(value.inner_text().split()[-1])
    look.page.reload()
    look.settle()
    look.shows("Running", "loss")
    assert float(value.inner_text().split()[-1]) < before
    look.shot("run-growing")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    look.shows("Model metrics")
    assert look.charts()["loss", ui_training][0] == 1
    look.shot("run-growing-chart")


def test_a_run_is_renamed_described_and_tagged(look: Look, ui_store: Store) -> None:
    run_id = ui_store.run("sweep-0").info.run_id
    look.open(f"/experiments/{ui_store.run(run_id).info.experiment_id}/runs/{run_id}")
    look.click("Open header dropdown menu")
    look.click("Rename", "menuitem")
    look.dialog().get_by_role("textbox").fill("renamed-run")
    look.dialog().get_by_role("button", name="Save").click()
    look.shows("renamed-run")

    look.click("Edit description")
    look.page.locator("textarea").first.fill("a **bold** word")
    look.click("Save")
    look.shows("bold")

    look.click("Add tags")
    look.dialog().get_by_role("combobox").fill("stage")
    look.page.keyboard.press("Enter")
    look.dialog().get_by_label("Value").fill("trial")
    look.dialog().locator("button[type=submit]").first.click()
    look.dialog().get_by_role("button", name="Save tags").click()
    look.shows("stage")
    look.shot("run-edited")

    changed = ui_store.run(run_id)
    assert changed.info.run_name == "renamed-run"
    assert changed.data.tags["mlflow.note.content"] == "a **bold** word"
    assert changed.data.tags["stage"] == "trial"
    assert changed.info.status == "FINISHED"


def test_a_run_is_deleted_and_restored(look: Look, ui_store: Store) -> None:
    run = ui_store.run("sweep-3")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    look.click("Open header dropdown menu")
    look.click("Delete", "menuitem")
    look.dialog().get_by_role("button", name="Delete").click()
    look.shows("sweep-2")
    look.lacks("sweep-3")
    look.shot("run-deleted")
    assert ui_store.run(run.info.run_id).info.lifecycle_stage == "deleted"

    look.click("State, selected option: Active", "combobox")
    look.choose("Deleted")
    look.shows("sweep-3")
    look.page.get_by_role("checkbox").nth(1).click()
    look.click("Restore")
    look.dialog().get_by_role("button", name="Restore").click()
    look.lacks("sweep-3")
    look.shot("run-restored")
    assert ui_store.run(run.info.run_id).info.lifecycle_stage == "active"
