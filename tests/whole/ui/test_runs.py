"""The pages of experiments and runs."""

from __future__ import annotations

import pytest

from mltrack.store import Store
from tests.support.ui.looking import Look
from tests.support.ui.spike import DIP, SPIKE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # the first one makes thousands of runs


def test_the_list_of_experiments_holds_each(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open("/experiments")
    look.shows(*ui_experiments)
    look.shot("experiments")


def test_an_experiment_is_created_in_the_browser(look: Look, ui_store: Store) -> None:
    look.open("/experiments")
    look.click("Create", then=look.dialog(), exact=True)
    look.fill(look.dialog().get_by_role("textbox"), "made-here")
    look.press(look.dialog().get_by_role("button", name="Create"), then=look.sent("experiments/create"))
    look.shows("No runs logged")
    look.shot("experiment-made")
    made = ui_store.workspace.by_name("made-here")
    assert made is not None
    assert made.experiment_id in look.page.url


def test_thousands_of_runs_are_paged_sorted_and_filtered(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['many']}/runs")
    look.shows("100 matching runs")
    look.page.mouse.move(600, 500)
    more = look.page.get_by_role("button", name="Load more")
    look.page.mouse.wheel(0, 100_000)
    look.press(more, then=look.sent("page_token"))
    look.shows("200 matching runs")
    look.shot("runs-more")

    look.pick(look.page.get_by_role("button", name="Sort: Created"), look.text("loss"), then="Sort: loss")
    look.settle()
    look.page.mouse.move(600, 500)
    look.until("many-2999", lambda: look.page.mouse.wheel(0, -100_000))  # the greatest loss is first
    look.shot("runs-sorted")

    filters = look.page.get_by_placeholder("metrics.rmse")
    look.enter(filters, "metrics.loss < 0.001 and params.lr = '0.0001'", then=look.text("1 matching run"))
    look.shows("many-1234")
    look.shot("runs-filtered")


def test_an_invalid_filter_is_reported_and_does_not_give_an_empty_list(
    look: Look, ui_experiments: dict[str, str]
) -> None:
    look.open(f"/experiments/{ui_experiments['sweep']}/runs")
    look.enter(look.page.get_by_placeholder("metrics.rmse"), "metrics.loss ~ 3", then="Request error")
    look.shows("metric 'loss' can't be compared by ~")
    look.expect_trouble("400 POST")


def test_columns_of_metrics_params_and_tags_are_chosen(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['many']}/runs")
    for name in ("loss", "seed", "team"):
        item = look.page.locator(f"[class*=tree-title]:text-is({name!r})")
        look.pick(
            look.page.get_by_role("button", name="Columns"), item, then=look.page.get_by_test_id(f"sort-header-{name}")
        )
    look.page.keyboard.press("Escape")
    look.shows("Metrics", "Parameters", "Tags", "2999", "red")
    look.shot("runs-columns")


def test_a_child_run_is_shown_below_its_parent(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['nested']}/runs")
    look.shows("the-parent")
    look.lacks("the-child")
    row = look.page.locator("[role=row]").filter(has_text="the-parent")
    look.press(row.get_by_role("button").first, then="the-child")
    look.shot("runs-nested")


def test_charts_of_an_experiment_show_each_run(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['sweep']}/runs?compareRunsMode=CHART")
    look.shows("Model metrics", "accuracy", "loss")
    expected = {(metric, f"sweep-{number}") for metric in ("accuracy", "loss") for number in range(4)}
    lines = look.charts(*expected)
    assert lines.keys() == expected
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
    noise = look.charts(("noise", "long-run"))["noise", "long-run"]
    look.shot("million-points")
    assert sorted(noise)[-1] == SPIKE
    assert sorted(noise)[0] == DIP
    assert -1 <= sorted(noise)[1] < sorted(noise)[-2] <= 1


def test_system_metrics_have_charts_of_their_own(look: Look, ui_store: Store) -> None:
    run = ui_store.run("long-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/system-metrics")
    look.shows("System metrics", "cpu_utilization_percentage")
    cpu = ("system/cpu_utilization_percentage", "long-run")
    memory = ("system/system_memory_usage_megabytes", "long-run")
    lines = look.charts(cpu, memory)
    assert lines[cpu][:3] == [40, 41, 42]
    assert len(lines[memory]) == 50
    look.shot("system-metrics")


def test_images_texts_and_tables_among_artifacts_are_shown(look: Look, ui_store: Store) -> None:
    run = ui_store.run("full-run")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts")
    look.choose("images", then=look.text("square.png"))
    picture = look.page.get_by_role("img", name="square.png").or_(look.page.locator("img[src^=blob]")).first
    look.choose("square.png", then=picture)
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert picture.evaluate(size) == [160, 120]
    look.shot("artifact-image")
    look.choose("notes", then=look.text("fox.txt"))
    look.choose("fox.txt", then="the quick brown fox")
    look.choose("tables", then=look.text("points.json"))
    look.choose("points.json", then=look.page.get_by_role("columnheader", name="x"))
    look.shows("x", "y", "6")
    look.shot("artifact-table")


def test_a_live_run_is_shown_as_it_grows(look: Look, ui_store: Store, ui_training: str) -> None:
    run = ui_store.run(ui_training)
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    look.shows("Running", "loss")
    value = look.page.get_by_role("row").filter(has=look.page.get_by_role("link", name="loss", exact=True))
    before = float(value.inner_text().split()[-1])
    look.until(lambda: float(value.inner_text().split()[-1]) < before, look.reload)
    look.shows("Running", "loss")
    look.shot("run-growing")
    look.open(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    look.shows("Model metrics")
    assert look.charts(("loss", ui_training))["loss", ui_training][0] == 1
    look.shot("run-growing-chart")


def test_a_run_is_renamed_described_and_tagged(look: Look, ui_store: Store) -> None:
    run_id = ui_store.run("sweep-0").info.run_id
    look.open(f"/experiments/{ui_store.run(run_id).info.experiment_id}/runs/{run_id}")
    menu = look.page.get_by_role("button", name="Open header dropdown menu")
    look.pick(menu, look.page.get_by_role("menuitem", name="Rename"), then=look.dialog())
    look.fill(look.dialog().get_by_role("textbox"), "renamed-run")
    look.press(look.dialog().get_by_role("button", name="Save"), then=look.sent("runs/update"))
    look.shows("renamed-run")

    look.click("Edit description", then=look.page.locator("textarea"))
    look.fill(look.page.locator("textarea"), "a **bold** word")
    look.click("Save", then=look.sent("runs/set-tag"))
    look.shows("bold")

    look.click("Add tags", then=look.dialog())
    look.enter(look.dialog().get_by_role("combobox"), "stage", then=look.dialog().get_by_title("stage", exact=True))
    look.fill(look.dialog().get_by_label("Value"), "trial")
    look.press(look.dialog().locator("button[type=submit]"), then=look.dialog().get_by_text(": trial"))
    look.press(look.dialog().get_by_role("button", name="Save tags"), then=look.sent("runs/set-tag"))
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
    menu = look.page.get_by_role("button", name="Open header dropdown menu")
    look.pick(menu, look.page.get_by_role("menuitem", name="Delete"), then=look.dialog())
    look.press(look.dialog().get_by_role("button", name="Delete"), then=look.sent("runs/delete"))
    look.shows("sweep-2")
    look.lacks("sweep-3")
    look.shot("run-deleted")
    assert ui_store.run(run.info.run_id).info.lifecycle_stage == "deleted"

    state = look.page.get_by_role("combobox", name="State, selected option: Active")
    chosen = look.page.get_by_role("combobox", name="State, selected option: Deleted")
    look.pick(state, look.text("Deleted"), then=chosen)
    look.shows("sweep-3")
    restore = look.page.get_by_role("button", name="Restore")
    enabled = look.page.get_by_role("button", name="Restore", disabled=False)
    look.press(look.page.get_by_role("checkbox").nth(1), then=enabled)
    look.press(restore, then=look.dialog())
    look.press(look.dialog().get_by_role("button", name="Restore"), then=look.sent("runs/restore"))
    look.lacks("sweep-3")
    look.shot("run-restored")
    assert ui_store.run(run.info.run_id).info.lifecycle_stage == "active"
