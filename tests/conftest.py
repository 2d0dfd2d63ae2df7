"""What every test starts from: none of the caller's settings, no active run, and a store path of its own."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from mltrack.text import redaction

settings.register_profile(
    "mltrack",
    deadline=None,
    max_examples=40,
    derandomize="MLTRACK_TEST_RANDOM" not in os.environ,  # the same examples each time; with it, new ones
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("mltrack")

pytest.register_assert_rewrite("tests.support")
pytest_plugins = [
    f"tests.support.fixtures.{part}" for part in ("stores", "command_line", "remotes", "azure", "plugin", "ssh", "ui")
]

# Tests start hundreds of processes, each of which would compile all that it imports: 10% of the whole run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

gc.set_threshold(20_000, 20, 20)  # the modules and tests that are loaded are a million objects, and stay

MEMORY = "/dev/shm"
MEMORY_BYTES_MIN = 4 << 30
"""The tests need less than one; where there is not much memory, it is better used otherwise."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background has Ctrl-C ignored, and with it each program that a test starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as under nohup


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("MLTRACK_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLTRACK_QUIET", "1")  # tests/recording/test_announcements.py unsets it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config" / os.urandom(4).hex()))
    yield
    redaction.forget()
    current_store = sys.modules.get("mltrack.recording.current_store")
    if current_store is not None:
        from mltrack.recording.active import open_runs

        for run in open_runs():
            run.end("KILLED")
        current_store.set_store(None)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of quick tests in memory, where there is room: they sync to disk some 100,000 times.

    The slow ones and the soak stay on the disk, and so does all with ``--basetemp FOLDER``.
    """
    option = config.option
    if option.basetemp or "not slow" not in (option.markexpr or "") or not os.path.isdir(MEMORY):
        return
    held = os.statvfs(MEMORY)
    if held.f_bavail * held.f_frsize >= MEMORY_BYTES_MIN and os.access(MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what was logged or printed that UTF-8 can't encode: xdist could not send it, and would end all tests."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_finish() -> None:
    """Spare each garbage collection the modules and tests."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the real package download it: they run only when they are asked for, by ``-m azureml``."""
    if "azureml" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="run it with -m azureml")
    for item in items:
        if item.get_closest_marker("azureml") is not None:
            item.add_marker(skip)
