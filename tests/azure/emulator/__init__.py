"""A loopback Azure Machine Learning workspace for tests, in front of a real MLflow server."""

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
