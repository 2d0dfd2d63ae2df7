"""Every kind of remote keeps the same promises: MLflow's, and one that another package adds by an entry point."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import NotFoundError, UsageError
from mltrack.recording.background_sync import SyncRequest, requested_sync
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.remotes.kind import GROUP, find_kind, is_place_of_a_kind, is_remote_url, kind_of
from mltrack_sync.status import status_of
from tests.support.json_kind import JsonKind, points_on
from tests.support.killed_push import KilledPushes

POINTS = 12


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The toy kind, as a package that was installed."""
    folder = tmp_path_factory.mktemp("site-packages")
    info = folder / "json_remotes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: json-remotes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\njsonfolder = tests.support.json_kind:JsonKind\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


@pytest.fixture(scope="module")
def killed(installed: None) -> Iterator[KilledPushes]:
    killed = KilledPushes()
    try:
        yield killed
    finally:
        killed.close()


SLOW_MLFLOW = pytest.param("mlflow", marks=pytest.mark.slow)
SLOW_LAKE = pytest.param("lake", marks=pytest.mark.slow)
"""Killed at each request, its many steps take minutes."""


@pytest.fixture(params=["jsonfolder", "store", "lake", SLOW_MLFLOW])
def new_url(request: pytest.FixtureRequest, installed: None, tmp_path: Path) -> Callable[[], str]:
    """The URL of a remote of each kind that has nothing of a new store."""
    return urls_of(request, tmp_path)


@pytest.fixture(params=["jsonfolder", "store", SLOW_LAKE, SLOW_MLFLOW])
def url_for_kills(request: pytest.FixtureRequest, installed: None, tmp_path: Path) -> Callable[[], str]:
    """The same, where pushes are killed."""
    return urls_of(request, tmp_path)


def urls_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    if request.param == "mlflow":
        server = request.getfixturevalue("server")
        return lambda: str(server.url)
    numbers = itertools.count()

    def new_store() -> str:
        return str(Store.create(tmp_path / f"remote {next(numbers)}" / ".mltrack").path)

    if request.param == "store":
        return new_store
    if request.param == "lake":
        return lambda: f"delta:{tmp_path / f'lake {next(numbers)}'}"

    def new_folder() -> str:
        folder = tmp_path / f"remote {next(numbers)}"
        folder.mkdir()
        return f"jsonfolder:{folder}"

    return new_folder


def record(path: Path, url: str, runs: int = 2) -> tuple[Store, Remote]:
    """A new store with runs, and the remote."""
    mltrack.set_store(path)
    mltrack.set_experiment(f"kinds {uuid.uuid4().hex}")
    for number in range(runs):
        with mltrack.start_run(run_name=f"run {number}"):
            mltrack.log_params({"number": number, "lr": 0.1})
            mltrack.set_tag("team", "blue")
            for step in range(POINTS):
                mltrack.log_metric("loss", 1 / (step + 1), step=step)
            mltrack.log_text(f"notes {number}", "notes.txt")
    mltrack.set_store(None)
    store = Store.open(path)
    return store, Remotes(store).add("there", url)


def test_everything_arrives_once_and_a_second_sync_sends_nothing(tmp_path: Path, new_url: Callable[[], str]) -> None:
    store, remote = record(tmp_path / "store", new_url())
    first = push(store, remote)
    assert (first.runs, first.points, first.artifacts) == (2, 2 * POINTS, 2)
    assert first.complete
    second = push(store, remote)
    assert (second.runs, second.points, second.artifacts) == (0, 0, 0)
    found = verify(store, remote)
    assert found.same
    assert (found.runs, found.points) == (2, 2 * POINTS)


def test_a_dry_run_says_what_a_push_sends_and_sends_nothing(tmp_path: Path, new_url: Callable[[], str]) -> None:
    store, remote = record(tmp_path / "store", new_url())
    said = push(store, remote, dry_run=True)
    assert not verify(store, remote).same
    sent = push(store, remote)
    assert (said.runs, said.points) == (sent.runs, sent.points)
    assert push(store, remote, dry_run=True).runs == 0


def test_only_what_is_new_is_sent(tmp_path: Path, new_url: Callable[[], str]) -> None:
    store, remote = record(tmp_path / "store", new_url())
    push(store, remote)
    mltrack.set_store(store.path)
    with mltrack.start_run(run_id=store.run_ids()[0]):
        mltrack.log_metric("loss", 0.0, step=POINTS)
    mltrack.set_store(None)
    report = push(store, remote)
    assert (report.runs, report.points, report.artifacts) == (1, 1, 0)
    assert verify(store, remote).same


def test_a_difference_is_found(tmp_path: Path, new_url: Callable[[], str]) -> None:
    store, remote = record(tmp_path / "store", new_url())
    push(store, remote)
    mltrack.set_store(store.path)
    with mltrack.start_run(run_id=store.run_ids()[0]) as run:
        mltrack.log_metric("loss", 0.0, step=POINTS)
    mltrack.set_store(None)
    found = verify(store, remote)
    assert not found.same
    assert found.differing() == {run.info.run_id}


@pytest.mark.parametrize(
    "arrives", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["before it arrives", "when it arrived"]
)
def test_killed_at_each_request_a_push_continues_and_duplicates_nothing(
    tmp_path: Path, url_for_kills: Callable[[], str], killed: KilledPushes, arrives: bool
) -> None:
    for number in itertools.count(1):
        store, remote = record(tmp_path / f"store {number}", url_for_kills(), runs=1)
        died = killed.push(store, remote.name, number, arrives=arrives)
        push(store, remote)
        found = verify(store, remote)
        assert found.same, f"killed at request {number}: {found.differences}"
        assert found.points == POINTS
        assert push(store, remote).points == 0
        if not died:
            break
    assert number > 4  # a moment for each request of the push


# --- the registry of kinds ---


def test_a_kind_of_another_package_is_found_by_its_entry_point(installed: None, tmp_path: Path) -> None:
    url = f"jsonfolder:{tmp_path}"
    assert isinstance(find_kind("jsonfolder"), JsonKind)
    assert isinstance(kind_of(url), JsonKind)
    assert is_remote_url(url)
    assert find_kind("jsonfolder") is kind_of(url)


def test_the_kinds_of_mltrack_are_asked_first() -> None:
    assert kind_of("http://127.0.0.1:5000").name == "mlflow"
    assert kind_of("azureml://eastus.api.azureml.ms/mlflow").name == "azure"
    assert kind_of("ftp://somewhere").name == "mlflow"  # which says what is wrong with it
    assert not is_remote_url("lab")


def test_only_addresses_where_a_kind_keeps_artifacts_belong_to_it(installed: None, tmp_path: Path) -> None:
    assert is_place_of_a_kind("azureml://h/experiments/1/runs/2/artifacts")
    assert not is_place_of_a_kind("s3://bucket/x")
    assert not is_place_of_a_kind("http://127.0.0.1:5000")
    assert not is_place_of_a_kind(f"jsonfolder:{tmp_path}")


@pytest.mark.parametrize(
    ("url", "claimed"), [("http://127.0.0.1:5000", True), ("jsonfolder:/x", True), ("mltrack:", False), ("/x", False)]
)
def test_live_push_goes_to_the_remote_of_any_kind_named_in_the_environment(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, claimed: bool
) -> None:
    store = Store.create(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    if claimed:
        assert requested_sync(store.layout, True) == SyncRequest("", None)
    else:
        with pytest.raises(UsageError, match="no remote yet"):
            requested_sync(store.layout, True)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'carrier pigeon'"):
        find_kind("carrier pigeon")


def test_a_remote_is_stored_with_its_kind_and_without_what_the_kind_refuses(installed: None, tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    mltrack.set_experiment("any")
    mltrack.set_store(None)
    remotes = Remotes(Store.open(tmp_path / "store"))
    added = remotes.add("folder", f"jsonfolder:{tmp_path}")
    assert added.kind == "jsonfolder"
    assert remotes.get("folder") == added
    with pytest.raises(UsageError, match="name a folder"):
        remotes.add("other", "jsonfolder:relative")
    with pytest.raises(UsageError, match="tokens"):
        remotes.add("other", f"jsonfolder:{tmp_path}", token_file="/token")
    with pytest.raises(UsageError, match="not an MLflow server"):
        remotes.share_folder("folder", str(tmp_path))
    with pytest.raises(NotFoundError):
        remotes.get("other")


def test_an_unreachable_remote_is_an_error_and_what_is_recorded_stays_pending(installed: None, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    store, remote = record(tmp_path / "store", f"jsonfolder:{folder}")
    with pytest.raises(RemoteUnavailableError):
        push(store, remote)
    folder.mkdir()
    assert push(store, remote).points == 2 * POINTS
    assert len([point for run_id in store.run_ids() for point in points_on(remote, run_id)]) == 2 * POINTS


# --- status ---


@pytest.mark.slow
def test_status_counts_for_a_kind_that_does_not_count_itself(installed: None, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    store, remote = record(tmp_path / "store", f"jsonfolder:{tmp_path / 'remote'}")
    before = status_of(store, remote)
    assert (before.pending_runs, before.pending_points) == (2, 2 * POINTS)
    assert before.oldest_pending > 0
    push(store, remote)
    after = status_of(store, remote)
    assert (after.pending_runs, after.pending_points, after.oldest_pending) == (0, 0, 0)
