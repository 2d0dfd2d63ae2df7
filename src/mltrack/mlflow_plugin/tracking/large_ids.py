"""Scorers of experiments whose ids MLflow's messages have no room for: they hold 32 bits of a scorer's, ours more."""

from __future__ import annotations

from typing import Any

from mlflow.entities import GatewayGuardrail, GatewayGuardrailConfig, ScorerVersion
from mlflow.protos.service_pb2 import Scorer

__all__ = ["with_large_ids"]

INT32_MAX = 2**31 - 1


class _Scorer(ScorerVersion):
    """A version of a scorer whose message leaves out an experiment id that does not fit."""

    def to_proto(self) -> Scorer:
        """The message that a server answers with; clients know the experiment that they asked for."""
        if int(self.experiment_id) <= INT32_MAX:
            return super().to_proto()
        proto: Scorer = _Scorer(**{**_fields(self), "experiment_id": "0"}).to_proto()
        proto.ClearField("experiment_id")
        return proto


def _fields(scorer: ScorerVersion) -> dict[str, Any]:
    return {
        "experiment_id": scorer.experiment_id,
        "scorer_name": scorer.scorer_name,
        "scorer_version": scorer.scorer_version,
        "serialized_scorer": scorer._serialized_scorer,
        "creation_time": scorer.creation_time,
        "scorer_id": scorer.scorer_id,
    }


def with_large_ids(answer: Any) -> Any:
    """What MLflow's SQL store answered, with scorers that can be sent whatever the ids of their experiments."""
    if isinstance(answer, ScorerVersion):
        return _Scorer(**_fields(answer))
    if isinstance(answer, GatewayGuardrail):
        answer.scorer = with_large_ids(answer.scorer)
    elif isinstance(answer, GatewayGuardrailConfig):
        answer.guardrail = with_large_ids(answer.guardrail)
    elif isinstance(answer, list):
        answer[:] = [with_large_ids(each) for each in answer]
    return answer
