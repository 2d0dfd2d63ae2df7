"""What MLflow's pages ask for in GraphQL, whose numbers have no infinity: one spoils the page of its run."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

__all__ = ["representable"]

GREATEST = sys.float_info.max


def representable(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values of metrics as they are; in an answer to GraphQL, infinities as MLflow's SQL store has them everywhere."""
    return np.clip(values, -GREATEST, GREATEST) if _asked() else values


def _asked() -> bool:
    """Whether MLflow's server is about to answer a request in GraphQL in this thread."""
    flask = sys.modules.get("flask")  # the server imports it
    return flask is not None and flask.has_request_context() and flask.request.path.endswith("/graphql")
