"""Writes a small tracking folder or database with whatever version of MLflow runs this, from 0.9 on.

    cd /tmp/golden && USER=ada LOGNAME=ada python write_with_mlflow.py file mlruns
    cd /tmp/golden && USER=ada LOGNAME=ada python write_with_mlflow.py sqlite mlflow.db

It uses nothing that Python 3.7 does not have, and each part that the version has. Times, values and texts are always
the same; ids are MLflow's, so random. ``tests/support/sources/__init__.py`` says which versions wrote what is kept.
"""

# ruff: noqa
# mypy: ignore-errors

import json
import os
import sys
import traceback

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # versions from 3.13 on refuse it otherwise
os.environ["GIT_PYTHON_REFRESH"] = "quiet"

import mlflow
from mlflow.tracking import MlflowClient

START = 1700000000000
VERSION = tuple(int(part) for part in mlflow.__version__.split(".")[:2])


def log(client, run_id, key, value, at, step):
    """One point; the versions before 1.0 have no steps, and times in seconds."""
    if VERSION < (1, 0):
        client.log_metric(run_id, key, value, at // 1000)
    else:
        client.log_metric(run_id, key, value, at, step)


def named_run(client, experiment, name, tags=None, at=START):
    """A new run of that name."""
    tags = dict(tags or {})
    tags["mlflow.runName"] = name
    tags["mlflow.user"] = "ada"
    run = client.create_run(experiment, start_time=at, tags=tags)
    return getattr(run.info, "run_id", None) or run.info.run_uuid


def write_runs(client, experiment):
    """A run with everything, a child that failed, one that goes on and one that is deleted."""
    first = named_run(client, experiment, "first", {"data/source": "spirals", "note": "größe 模型"})
    for step in range(40):
        log(client, first, "loss", 1.0 / (step + 1), START + 1000 * step, step)
    for step, value in enumerate([0.25, float("nan"), float("inf"), float("-inf"), 1e-300, -0.0]):
        attempt(log, client, first, "val/odd", value, START + 10 * step, step)
    log(client, first, "val/odd", 7.5, START + 5, -3)
    for key, value in [("lr", "0.1"), ("model/depth", "3"), ("note", "a: b  c"), ("lines", "a\nb"), ("empty", "")]:
        if VERSION >= (1, 1) or key not in ("lines", "empty"):  # they could not read these themselves
            client.log_param(first, key, value)
    with open("weights.bin", "wb") as file:
        file.write(bytes(range(256)) * 4)
    with open("notes.txt", "w") as file:
        file.write("written by MLflow\n")
    client.log_artifact(first, "weights.bin", "model/data")
    client.log_artifact(first, "notes.txt")
    os.remove("weights.bin")
    os.remove("notes.txt")
    child = named_run(client, experiment, "child", {"mlflow.parentRunId": first}, START + 60000)
    log(client, child, "loss", 2.5, START + 61000, 0)
    client.set_terminated(child, "FAILED", START + 70000)
    named_run(client, experiment, "goes on", None, START + 80000)
    gone = named_run(client, experiment, "gone", None, START + 90000)
    log(client, gone, "loss", 3.5, START + 91000, 2)
    client.set_terminated(gone, "KILLED" if VERSION >= (1, 1) else "FAILED", START + 95000)
    client.delete_run(gone)
    return first


def write_dataset(client, experiment, first):
    """A dataset that the run used."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset("spirals", "d1e5", "local", json.dumps({"uri": "spirals.csv"}), '{"columns": 2}', '{"rows": 9}')
    client.log_inputs(first, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def write_registry(client, experiment, first):
    """A model with three versions, of which one is deleted."""
    client.create_registered_model("spirals")
    source = client.get_run(first).info.artifact_uri + "/model"
    for _ in range(3):
        client.create_model_version("spirals", source, first)
    client.transition_model_version_stage("spirals", "3", "Production")


def write_registry_details(client, experiment, first):
    """Texts, tags and a deletion; the calls have other names in the first versions with a registry."""
    client.update_registered_model("spirals", description="of spirals")
    client.update_model_version("spirals", "1", description="the first")
    client.set_registered_model_tag("spirals", "team", "vision")
    client.set_model_version_tag("spirals", "3", "checked", "yes")
    client.delete_model_version("spirals", "2")


def write_alias(client, experiment, first):
    """An alias."""
    client.set_registered_model_alias("spirals", "champion", "3")


def write_logged_model(client, experiment, first):
    """A logged model with files and metrics, made by the run and used by it."""
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    model = client.create_logged_model(
        experiment,
        name="net",
        source_run_id=first,
        tags={"stage/kind": "test"},
        params={"depth": "3"},
        model_type="agent",
    )
    os.mkdir("net")
    with open("net/MLmodel", "w") as file:
        file.write("model_id: %s\n" % model.model_id)
    client.log_model_artifacts(model.model_id, "net")
    os.remove("net/MLmodel")
    os.rmdir("net")
    for step in range(3):
        client.log_metric(
            first,
            "acc",
            0.5 + step / 10,
            timestamp=START + step,
            step=step,
            model_id=model.model_id,
            dataset_name="spirals",
            dataset_digest="d1e5",
        )
    client.log_outputs(first, [LoggedModelOutput(model.model_id, 2)])
    client.log_inputs(first, models=[LoggedModelInput(model.model_id)])
    client.finalize_logged_model(model.model_id, "READY")


def write_trace(client, experiment, first):
    """A trace with two spans."""
    root = client.start_trace("answer", inputs={"question": "why?"}, tags={"kind": "demo"}, experiment_id=experiment)
    trace_id = getattr(root, "trace_id", None) or root.request_id
    child = client.start_span("look up", trace_id, root.span_id, span_type="TOOL", inputs={"key": 1})
    client.end_span(trace_id, child.span_id, outputs={"value": "größe"})
    client.end_trace(trace_id, outputs={"answer": "because"})
    if hasattr(mlflow, "flush_trace_async_logging"):
        mlflow.flush_trace_async_logging()
    return trace_id


def write_assessments(client, experiment, trace_id):
    """What somebody said of the trace."""
    from mlflow.entities import AssessmentSource

    human = AssessmentSource("HUMAN", "ada")
    mlflow.log_feedback(trace_id=trace_id, name="good", value=True, rationale="it is", source=human)
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": "because"}, source=human)


def attempt(part, *args):
    """Write one part; a version that does not have it says so."""
    try:
        return part(*args)
    except Exception as error:  # versions refuse what they don't have in many ways
        print("not in MLflow %s: %s: %s" % (mlflow.__version__, part.__name__, str(error).split("\n")[0][:200]))
        if os.environ.get("VERBOSE"):
            traceback.print_exc()
        return None


def main():
    """Write it."""
    kind, name = sys.argv[1:]
    place = os.path.join(os.getcwd(), name)
    uri = ("file://" if kind == "file" else "sqlite:///") + place
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    place_of_files = (
        {} if kind == "file" else {"artifact_location": "file://" + os.path.join(os.getcwd(), "artifacts", "digits")}
    )
    experiment = client.create_experiment("digits", **place_of_files)
    old = client.create_experiment("old", **place_of_files)
    if hasattr(client, "set_experiment_tag"):
        client.set_experiment_tag(experiment, "team", "vision")
    first = write_runs(client, experiment)
    log(client, named_run(client, old, "ancient"), "loss", 9.0, START, 0)
    client.delete_experiment(old)
    attempt(write_dataset, client, experiment, first)
    if attempt(write_registry, client, experiment, first) is None:
        attempt(write_registry_details, client, experiment, first)
        attempt(write_alias, client, experiment, first)
    attempt(write_logged_model, client, experiment, first)
    client.set_terminated(first, "FINISHED", START + 50000)
    trace_id = attempt(write_trace, client, experiment, first)
    if trace_id is not None:
        attempt(write_assessments, client, experiment, trace_id)


main()
