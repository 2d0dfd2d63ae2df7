"""What a call must raise: MLflow's exception with that code, whichever store it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mlflow.exceptions import MlflowException

__all__ = ["raises"]


@contextmanager
def raises(code: str, match: str | None = None) -> Iterator[None]:
    with pytest.raises(MlflowException, match=match) as caught:
        yield
    assert caught.value.error_code == code
