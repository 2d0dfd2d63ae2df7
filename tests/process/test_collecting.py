"""The garbage collector is paused, and only where it was on."""

from __future__ import annotations

import gc

import pytest

from mltrack.process.collecting import without_collecting


def test_the_collector_is_off_within_and_on_afterwards() -> None:
    with pytest.raises(ValueError, match="mistake"), without_collecting():
        assert not gc.isenabled()
        raise ValueError("mistake")
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with without_collecting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
