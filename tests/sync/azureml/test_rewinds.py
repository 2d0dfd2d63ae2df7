"""Rewinds and forks in an Azure ML workspace, which can't remove points: a rewound run is made again there, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mltrack
from mltrack.environment import RUN_ID_TAG
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import read_ledger
from tests.support.azure.emulator import AzureEmulator, Contents, LoseAnswer, unavailable
from tests.support.azure.stores import record
from tests.support.both_sides import assert_equal

pytestmark = pytest.mark.slow

HASTY = RetryPolicy(sleep=lambda seconds: None)
Check = Callable[[], None]


@pytest.fixture
def equal(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> Check:
    """Checks that both sides have the same, each point once, and that nothing is left to send."""

    def check() -> None:
        former = {run["info"]["run_id"] for run in azure_contents.all_runs(experiment, "DELETED_ONLY")}
        assert not [twice for twice in azure.points_twice() if twice[0] not in former]
        assert_equal(azure_store, azure_contents, experiment)
        assert verify(azure_store, azure_remote).differences == ()
        assert push(azure_store, azure_remote).requests == 0

    return check


def deleted(contents: Contents, experiment: str) -> list[dict[str, str]]:
    """The tags of the runs of the workspace that are deleted."""
    runs = contents.all_runs(experiment, "DELETED_ONLY")
    return [{tag["key"]: tag["value"] for tag in run["data"].get("tags", [])} for run in runs]


def test_a_rewound_run_is_made_again_and_the_former_one_deleted(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str, equal: Check
) -> None:
    run_id = record(40)
    assert push(azure_store, azure_remote).complete
    former = read_ledger(azure_store, azure_remote).runs[run_id].remote_id
    azure_store.rewind_run(run_id, 19)
    with mltrack.start_run(run_id=run_id) as run:
        run.log_metric("loss", 7.0, step=20)
    assert push(azure_store, azure_remote).complete
    entry = read_ledger(azure_store, azure_remote).runs[run_id]
    assert (entry.former, entry.replaced) == ([], [former])
    found = [step for step, _, _ in azure_contents.history(entry.remote_id, "loss")]
    assert sorted(found) == list(range(21))
    assert [RUN_ID_TAG in tags for tags in deleted(azure_contents, experiment)] == [False]
    equal()


@pytest.mark.parametrize("call", ["mlflow/runs/create", "mlflow/runs/delete", "mlflow/runs/log-batch"])
def test_a_rewound_run_is_made_again_once_whatever_answer_is_lost(
    call: str,
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    experiment: str,
    equal: Check,
) -> None:
    run_id = record(40, files=False)
    assert push(azure_store, azure_remote).complete
    azure_store.rewind_run(run_id, 19)
    azure.faults.on(call, LoseAnswer())
    azure.faults.on(call, unavailable(), skip=1)
    push(azure_store, azure_remote, policy=HASTY)
    assert push(azure_store, azure_remote).complete
    assert len(deleted(azure_contents, experiment)) == 1
    equal()


def test_a_fork_arrives_whole_and_is_rewound_alone(azure_store: Store, azure_remote: Remote, equal: Check) -> None:
    parent = record(30, files=False)
    with mltrack.fork_run(parent, 9) as fork:
        for step in range(10, 15):
            fork.log_metric("loss", 2.0, step=step)
    assert push(azure_store, azure_remote).complete
    equal()
    kept = read_ledger(azure_store, azure_remote).runs[parent].remote_id
    azure_store.rewind_run(fork.run_id, 5)
    assert push(azure_store, azure_remote).complete
    assert read_ledger(azure_store, azure_remote).runs[parent].remote_id == kept
    equal()
