"""`mltrack ui` and `mltrack serve`, as processes that are asked over HTTP and ended by a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

import mltrack
from mltrack.store import Store

pytestmark = pytest.mark.slow


@contextmanager
def serving(*args: str, cwd: Path, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A command that says where it listens, for the body; ended and looked after."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))
    } | more
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrack", *args],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        words = [word for word in line.split() if word.startswith("http://")]
        assert words, process.stderr.read() if process.stderr else line
        yield words[0].partition("/#")[0], process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its server too
            process.communicate()


def refuses_connections(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) != 0


def test_the_ui_serves_the_store_on_loopback_and_leaves_nothing_behind(small_store: Store, tmp_path: Path) -> None:
    spirals = small_store.workspace.get_or_create("spirals")
    with serving("ui", "--no-browser", "--workers", "1", cwd=tmp_path) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        found = httpx.post(
            f"{url}/api/2.0/mlflow/runs/search",
            json={"experiment_ids": [spirals.experiment_id]},
        ).json()
        assert {run["info"]["run_name"] for run in found["runs"]} == {"spirals-1", "spirals-2", "spirals-3"}
        assert "<title>MLflow" in httpx.get(url).text

        info = found["runs"][0]["info"]  # a client elsewhere, which has neither the folder nor mltrack, logs a file
        assert info["artifact_uri"] == f"mlflow-artifacts:/runs/{info['run_id']}/artifacts"
        place = f"{url}/api/2.0/mlflow-artifacts/artifacts/runs/{info['run_id']}/artifacts/a.txt"
        assert httpx.put(place, content=b"from afar").status_code == 200
        assert small_store.run(info["run_id"]).folder.path.joinpath("artifacts", "a.txt").read_bytes() == b"from afar"
        assert httpx.get(f"{url}/get-artifact?path=a.txt&run_uuid={info['run_id']}").content == b"from afar"
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 0
    assert refuses_connections(url)


def processes_of(group: int) -> list[psutil.Process]:
    """Those that are alive in a process group."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_ui_that_is_stopped_while_it_starts_leaves_nothing_behind(
    small_store: Store, tmp_path: Path, number: signal.Signals
) -> None:
    line = [sys.executable, "-m", "mltrack", "ui", "--no-browser"]
    process = subprocess.Popen(line, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True)
    servers: list[psutil.Process] = []
    while not servers:
        assert process.poll() is None
        servers = [each for each in psutil.Process(process.pid).children() if "gunicorn" in " ".join(each.cmdline())]
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == 0
    assert processes_of(servers[0].pid) == []
    assert list(tmp_path.glob("mltrack-*")) == []


SWALLOWING = """
import signal, sys
from mltrack.cli import main

class SignalsWhenFreed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def hook(event, args):
    if event == "socket.connect" and not signaled:
        signaled.append(True)
        SignalsWhenFreed()  # Python ignores what a handler raises here

signaled = []
sys.unraisablehook = lambda what: print("ignored", what.exc_type.__name__, flush=True)
sys.addaudithook(hook)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["ui", "--no-browser"], 0), (["demo", "--points", "500", "--discard"], 128 + signal.SIGTERM)],
    ids=["ui", "demo"],
)
def test_a_shutdown_request_that_python_swallows_still_takes_effect(
    small_store: Store, tmp_path: Path, words: list[str], code: int
) -> None:
    line = [sys.executable, "-c", SWALLOWING, *words]
    done = subprocess.run(line, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    assert b"MLflow's UI" not in done.stdout  # it came before the server answered
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.glob("mltrack-*")) == []


def test_the_ui_opens_a_browser_if_there_is_a_display(small_store: Store, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$DISPLAY $1" >> {opened}\n')
    browser.chmod(0o755)
    with serving("ui", "--workers", "1", cwd=tmp_path, BROWSER=str(browser), DISPLAY=":7") as (url, process):
        while not opened.exists() or not opened.read_text().endswith("\n"):
            assert process.poll() is None
            time.sleep(0.01)
        assert opened.read_text() == f":7 {url}/#/experiments\n"


MODEL = """
import mlflow, mlflow.pyfunc

class Doubled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[float]) -> list[float]:
        return [2 * value for value in model_input]

mlflow.pyfunc.log_model(name="model", python_model=Doubled(), registered_model_name="doubled", pip_requirements=[])
mlflow.MlflowClient().set_registered_model_alias("doubled", "best", 1)
"""


def test_a_ui_for_other_machines_answers_to_this_machines_names_only(small_store: Store, tmp_path: Path) -> None:
    with serving("ui", "--host", "0.0.0.0", "--workers", "1", "--no-browser", cwd=tmp_path) as (url, process):
        here = f"{socket.gethostname()}:{url.rpartition(':')[2]}"
        assert process.stdout is not None
        assert process.stdout.readline() == f"from other machines: http://{here}/#/experiments\n"
        assert search_as(url, here, origin=f"http://{here}") == 200
        assert search_as(url, here, origin="http://elsewhere.example") == 403
        assert search_as(url, "elsewhere.example", origin="http://elsewhere.example") == 403
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert "whoever can reach this machine's port can read and change the store" in said
    assert "Rejected request with invalid Host header: elsewhere.example" in said  # the server's own words


def test_a_ui_answers_to_the_names_that_are_allowed(small_store: Store, tmp_path: Path) -> None:
    words = ("ui", "--allowed-hosts", "proxy.example", "--workers", "1", "--no-browser")
    with serving(*words, cwd=tmp_path) as (url, _):
        assert search_as(url, "proxy.example", origin="https://proxy.example") == 200
        assert search_as(url, url.removeprefix("http://"), origin=url) == 200
        assert search_as(url, "elsewhere.example", origin="https://proxy.example") == 403


def search_as(url: str, host: str, *, origin: str) -> int:
    """The status of a request that a page of ``origin`` sends to the server by the name ``host``."""
    headers = {"Host": host, "Origin": origin}
    return httpx.post(
        f"{url}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers=headers
    ).status_code


def test_a_registered_model_answers_requests(tmp_path: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"mltrack://{tmp_path}/.mltrack", "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", MODEL], check=True, env=environment, cwd=tmp_path, capture_output=True)
    with serving("serve", "models:/doubled@best", cwd=tmp_path) as (url, _):
        answer = httpx.post(url, json={"inputs": [1.5, 2.0]}, timeout=60)
        assert answer.json() == {"predictions": [3.0, 4.0]}
        other = {"Host": "elsewhere.example"}  # a page may let its own name lead here
        assert httpx.post(url, json={"inputs": [1.5]}, headers=other, timeout=60).status_code == 403
    assert refuses_connections(url)


def test_a_port_in_use_is_reported_before_anything_starts(
    small_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mltrack.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--store", str(small_store.path), "ui", "--port", port]) == 2
        assert f"port {port} is already in use on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["models:/spirals", "models:/", "models://spirals/1", "runs:/spirals-1"])
def test_a_uri_that_names_no_version_or_path_is_refused(
    small_store: Store, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mltrack.cli import main

    assert main(["--store", str(small_store.path), "serve", uri]) == 2
    assert f"{uri!r} is not the whole URI of a model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/nothing@best", "'nothing'"),
        ("models:/nothing/1", "'nothing'"),
        ("models:/nothing/Production", "'nothing'"),
        (f"models:/m-{'0' * 32}", f"m-{'0' * 32}"),
        ("runs:/0123/model", "'0123'"),
        ("runs:/spirals-1/model", "there is no MLmodel file in model of run "),
    ],
)
def test_a_missing_model_is_reported_before_anything_starts(
    small_store: Store, uri: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mltrack.cli import main

    assert main(["--store", str(small_store.path), "serve", uri]) == 4
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_a_model_that_cannot_be_loaded_is_reported_with_the_servers_message(
    small_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mltrack.cli import main

    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    assert main(["--store", str(small_store.path), "serve", str(tmp_path)]) == 7
    said = capsys.readouterr().err
    assert f"the server for {tmp_path} ended with code 1" in said
    assert "mlflow" in said  # the traceback of its server
    assert mltrack.active_run() is None
