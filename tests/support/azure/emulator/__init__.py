"""A loopback Azure Machine Learning workspace for tests, in front of a real MLflow server.

A test takes the fixtures of ``tests.support.fixtures.azure``::

    def test_a_push_outlives_its_token(azure, azure_contents):
        azure.tokens.life_s = 2
        azure.faults.on("mlflow/runs/log-batch", LoseAnswer(), skip=3)
        azure.faults.on("artifacts/*", throttled(retry_after=1), times=None, probability=0.1, seed=7)
        ...  # push to azure.tracking_uri, with azure.environ() as the environment
        assert azure.points_twice() == []
        assert azure_contents.runs("spirals").keys() == {run_id}

Kinds of requests are listed in ``routes.find_route``.
"""

from __future__ import annotations

from .certificate import Certificate, make_certificate
from .contents import Contents
from .faults import Answer, Cut, Do, Faults, LoseAnswer, Slow, conflict, throttled, unauthorized, unavailable
from .limits import AzureLimits
from .traffic import Seen, Traffic
from .workspace import AzureEmulator

__all__ = [
    "Answer",
    "AzureEmulator",
    "AzureLimits",
    "Certificate",
    "Contents",
    "Cut",
    "Do",
    "Faults",
    "LoseAnswer",
    "Seen",
    "Slow",
    "Traffic",
    "conflict",
    "make_certificate",
    "throttled",
    "unauthorized",
    "unavailable",
]
