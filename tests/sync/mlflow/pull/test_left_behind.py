"""A pull says what the server has and it did not bring; of selected runs it brings the models that they name."""

from __future__ import annotations

from mltrack.store import Store
from mltrack_sync import Remote, Selection
from mltrack_sync.engine.pull import pull
from tests.support.command_line import Cli
from tests.support.fake_mlflow import FakeMlflow
from tests.support.fake_parts import Fields
from tests.support.server import MlflowServer
from tests.support.server_content import make_experiment, make_model, make_run, pairs

OLD = Remote("old", "http://old.invalid")


class More(FakeMlflow):
    """A server that also has what mltrack does not keep."""

    def _webhooks(self, fields: Fields) -> Fields:
        return {"webhooks": [{"name": "one"}, {"name": "two"}]}

    def _do(self, call: str, fields: Fields, request: object) -> Fields:
        if call == "GET gateway/list":
            return {"endpoints": [{}]}
        if call == "POST issues/search":
            return {"issues": [{}, {}, {}]}
        if call == "GET review-queues":
            return {"review_queues": [{}]}
        return super()._do(call, fields, request)  # type: ignore[arg-type]


def test_what_mltrack_does_not_keep_is_counted_also_when_nothing_is_new(store: Store) -> None:
    fake = More()
    fake.make_run(fake.make_experiment("theirs"))
    for _ in range(2):
        report = pull(store, OLD, http=fake)
        assert report.complete
        assert report.left_behind == (
            "gateway endpoints (mltrack does not keep them): 1",
            "issues (pulls do not bring them): 3",
            "review queues (pulls do not bring them): 1",
            "webhooks (mltrack does not keep them): 2",
        )


def test_with_a_filter_prompts_models_and_traces_are_left_behind_and_said(store: Store) -> None:
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    fake.make_run(experiment, params={"a": "1"})
    fake.make_version("tree", "s3://x")
    fake.make_version("greet", "x", tags={}, of_tags={"mlflow.prompt.is_prompt": "true"})
    place = {"mlflow_experiment": {"experiment_id": experiment}}
    made = {"trace_id": "tr-1", "trace_location": place, "tags": {}, "trace_metadata": {}, "assessments": []}
    fake.traces.answer("POST traces", {"trace": {"trace_info": made}})
    report = pull(store, OLD, http=fake, selection=Selection(filter="params.a = '1'"))
    why = "(not pulled with --run or --filter)"
    assert report.left_behind == (f"prompts {why}: 1", f"registered models {why}: 1", f"traces {why}: 1")
    assert (store.registry.models(), store.traces.all()) == ([], [])


def test_logged_models_that_a_selected_run_made_or_used_come_with_it(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str
) -> None:
    elsewhere = make_experiment(server, f"{experiment} elsewhere")
    other = make_run(server, elsewhere)
    used = make_model(server, elsewhere, other)
    run_id = make_run(server, experiment_id)
    made = make_model(server, experiment_id, run_id)
    make_model(server, experiment_id, make_run(server, experiment_id))
    server.post("runs/log-inputs", run_id=run_id, models=[{"model_id": used}])
    report = pull(store, remote, selection=Selection(runs=(run_id,)))
    assert (report.runs, report.logged_models, report.complete) == (1, 2, True)
    models = [store.logged_models.get(model_id) for model_id in store.logged_models.ids()]
    assert {model.tags["mltrack.origin.model_id"] for model in models} == {used, made}
    again = pull(store, remote, selection=Selection(runs=(run_id,)))
    assert (again.runs, again.logged_models) == (0, 0)


def test_the_command_ends_with_what_it_left_behind(cli: Cli, server: MlflowServer, experiment: str) -> None:
    make_run(server, make_experiment(server, f"{experiment} a"))
    name = f"prompt of {experiment}"
    server.post("registered-models/create", name=name, tags=pairs({"mlflow.prompt.is_prompt": "true"}))
    said = cli("pull", server.url, "--experiment", f"{experiment} a")
    assert said.code == 0, said
    (line,) = [line for line in said.out.splitlines() if line.startswith("left behind: prompts")]
    assert "pulled only when everything is" in line
    assert said.out.splitlines()[-1].startswith("left behind: ")
