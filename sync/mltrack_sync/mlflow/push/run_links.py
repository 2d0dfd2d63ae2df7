"""Pushing what one run is linked to: the datasets and logged models it used, and the logged models it made."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS, UnsupportedFeatureError
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import DATASET, MODEL_INPUT, MODEL_OUTPUT, dataset_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.entities import DatasetInput, ModelOutput
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.plan.pending_run import PendingLinks
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["InputsPush"]

DATASET_BYTES_MIN = 200
"""How many bytes a dataset takes in a request in addition to its texts."""


class InputsPush:
    """Links one run that the remote has to what it used and made. Missing models are created on the remote."""

    def __init__(
        self, session: Session, identities: Identities, run: StoredRun, refuse: Callable[[Refusal], None]
    ) -> None:
        """``refuse`` notes what the remote does not take."""
        self._session = session
        self._client = LoggedModelsClient(session.client.transport)
        self._identities = identities
        self._run = run
        self._entry = session.ledger.run(run.run_id)
        self._refuse = refuse
        self._linked = list(self._entry.linked)
        self._unsupported: set[str] = set()

    def push(self, pending: PendingLinks) -> None:
        """Push all that is ``pending``. What waits for a feature that the remote lacks is noted in the ledger.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        self._datasets(pending.datasets)
        self._inputs(pending.model_inputs)
        self._outputs(pending.model_outputs)
        now = (self._linked, sorted(self._unsupported))
        if now != (self._entry.linked, self._entry.lacking):
            self._session.ledger.linked(self._run.run_id, *now)

    def _datasets(self, datasets: Sequence[DatasetInput]) -> None:
        batch: list[DatasetInput] = []
        size = 0
        most = self._session.limits().request_bytes_max
        for used in datasets:
            mine = _dataset_bytes(used)
            if batch and size + mine > most:
                self._send_datasets(batch)
                batch, size = [], 0
            batch.append(used)
            size += mine
        if batch:
            self._send_datasets(batch)

    def _send_datasets(self, batch: list[DatasetInput]) -> None:
        self._session.check()
        try:
            with (
                self._session.features.needing(DATASETS),
                self._identities.datasets_of(self._entry.experiment_id),
            ):
                self._client.log_datasets(self._entry.remote_id, batch)
        except UnsupportedFeatureError as error:
            self._unsupported.add(error.feature)
        except RemoteRefusedError as error:
            if len(batch) > 1:
                for used in batch:
                    self._send_datasets([used])
            else:
                self._refuse(Refusal(DATASET, dataset_key(batch[0]).removeprefix(f"{DATASET} "), error.words))
        else:
            self._linked += [dataset_key(used) for used in batch]
            self._session.count(datasets=len(batch))

    def _remote_model(self, kind: str, model_id: str) -> str:
        """The model's remote id; "" where the run can't be linked to it."""
        try:
            entry = self._identities.logged.model(model_id)
        except UnsupportedFeatureError as error:
            self._unsupported.add(error.feature)
            return ""
        except RemoteRefusedError as error:
            self._refuse(Refusal(kind, model_id, error.words))
            return ""
        if entry is None:  # it is deleted here
            self._linked.append(f"{kind} {model_id}")
        return entry.remote_id if entry is not None else ""

    def _inputs(self, model_ids: Sequence[str]) -> None:
        for model_id in model_ids:
            remote_model = self._remote_model(MODEL_INPUT, model_id)
            if remote_model:
                self._session.check()
                call = partial(self._client.log_model_inputs, self._entry.remote_id, [remote_model])
                self._link(MODEL_INPUT, model_id, call)

    def _outputs(self, outputs: Sequence[ModelOutput]) -> None:
        for output in outputs:
            remote_model = self._remote_model(MODEL_OUTPUT, output.model_id)
            if remote_model:
                self._session.check()
                sent = replace(output, model_id=remote_model)
                self._link(MODEL_OUTPUT, output.model_id, partial(self._send_output, sent))

    def _send_output(self, output: ModelOutput) -> None:
        """Link one model. One that is linked already would be refused: so the run is read first."""
        remote_run = self._entry.remote_id

        def once(again: bool) -> None:
            if output.model_id not in self._client.model_outputs(remote_run):
                self._client.log_model_outputs(remote_run, [output])

        self._session.policy.settle(once)

    def _link(self, kind: str, model_id: str, call: Callable[[], None]) -> None:
        try:
            with self._session.features.needing(LOGGED_MODELS):
                call()
        except UnsupportedFeatureError as error:
            self._unsupported.add(error.feature)
        except RemoteRefusedError as error:
            self._refuse(Refusal(kind, model_id, error.words))
        else:
            self._linked.append(f"{kind} {model_id}")


def _dataset_bytes(used: DatasetInput) -> int:
    dataset = used.dataset
    texts = [dataset.name, dataset.digest, dataset.source_type, dataset.source, dataset.schema, dataset.profile]
    texts += [text for pair in used.tags.items() for text in pair]
    return DATASET_BYTES_MIN + sum(len(text.encode("utf-8", "replace")) for text in texts if text)
