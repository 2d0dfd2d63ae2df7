"""A store elsewhere behaves as one here: everything asked for comes, in both directions, through cuts and damage."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mltrack.errors import MltrackError, NotFoundError, StoreError
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.under_way import UNDER_WAY
from mltrack_sync.selection import Selection
from mltrack_sync.stores.frames import ConnectionLostError
from mltrack_sync.stores.remote_store import RemoteSource, RemoteTarget
from mltrack_sync.stores.transfer import Need, Source, Target, TransferError, UnitSnapshot, UnitToken
from tests.support.memory_stores import MemoryStore, far

BIG = 9_000_000


def full_store() -> MemoryStore:
    units = {f"runs/{n:032x}": {"a/points.mlp": os.urandom(n * 10), "events.log": b"x\n" * n} for n in range(300)}
    return MemoryStore("b" * 32, {"workspace": {"e": b""}, "runs/big": {"f": os.urandom(BIG), "g": b"g"}, **units})


def copy_one(source: Source, target: Target, snapshot: UnitSnapshot) -> None:
    needs = target.needs(snapshot)
    if needs:
        applied = target.apply(snapshot, source.pieces(snapshot, needs))
        assert applied.token == snapshot.token
        assert (applied.events, applied.points, applied.notes) == ({"w": 3}, {"w": 4}, ("noted",))


def test_the_far_store_is_identified() -> None:
    store = MemoryStore("b" * 32)
    with far(store) as session:
        assert RemoteSource(session).info() == store.info()


class SlowStore(MemoryStore):
    """Does not answer which units it has until ``go`` is set."""

    def __init__(self) -> None:
        super().__init__("b" * 32)
        self.go = threading.Event()

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        assert self.go.wait(30)
        return super().units(selection)


def test_while_the_far_side_is_silent_it_is_known_what_is_waited_for() -> None:
    store, words = SlowStore(), set[str]()

    def look() -> None:
        while not words:
            store.go.wait(0.001)
            oldest = UNDER_WAY.oldest()
            if oldest is not None and "answer" not in oldest.what:  # that is the hello
                words.add(oldest.what)
        store.go.set()

    watcher = threading.Thread(target=look, daemon=True)
    with far(store) as session:
        watcher.start()
        assert list(RemoteSource(session).units(Selection())) == []
        watcher.join()
    assert words == {"elsewhere to look through its store"}
    assert UNDER_WAY.oldest() is None


@pytest.mark.slow
def test_everything_can_be_pulled_from_a_remote_store() -> None:
    there, here = full_store(), MemoryStore("a" * 32)
    with far(there) as session:
        source = RemoteSource(session)
        units = list(source.units(Selection()))
        assert units == there.units(Selection())
        for found in source.snapshots([one.unit for one in units]):
            assert isinstance(found, UnitSnapshot)
            assert found == there.snapshot(found.unit)
            copy_one(source, here, found)
    assert here.contents == there.contents


@pytest.mark.slow
def test_everything_can_be_pushed_to_a_remote_store_by_many_threads() -> None:
    here, there = full_store(), MemoryStore("a" * 32)
    with far(there, write=True) as session:
        target = RemoteTarget(session)
        snapshots = [here.snapshot(unit) for unit in here.contents]
        lacking = [target.needs(snapshot) for snapshot in snapshots]
        assert lacking == [there.needs(snapshot) for snapshot in snapshots]
        with ThreadPoolExecutor(40) as pool:
            list(pool.map(lambda snapshot: copy_one(here, target, snapshot), snapshots))
        assert target.tokens(here.store_id) == {unit: here.token(unit) for unit in here.contents}
        assert [target.needs(snapshot) for snapshot in snapshots] == [[] for _ in snapshots]
    assert there.contents == here.contents


def test_a_unit_that_is_gone_is_reported_and_the_others_arrive() -> None:
    there = full_store()
    with far(there) as session:
        source = RemoteSource(session)
        found = list(source.snapshots(["workspace", "runs/gone", "runs/big"]))
        assert [isinstance(one, UnitSnapshot) for one in found] == [True, False, True]
        with pytest.raises(NotFoundError, match="elsewhere: no unit 'runs/gone'") as caught:
            source.snapshot("runs/gone")
        assert caught.value.hint == "it was deleted"
        with pytest.raises(NotFoundError, match="no run 'none'"):
            list(source.units(Selection(("none",))))


def test_larger_artifacts_are_skipped_on_request() -> None:
    there = full_store()
    with far(there) as session:
        snapshot = RemoteSource(session).snapshot("runs/big", artifact_bytes_max=1000)
    assert [state.path for state in snapshot.files] == ["g"]


@pytest.mark.slow
def test_a_cancelled_transfer_stops_and_its_connection_is_reused() -> None:
    there = full_store()
    with far(there) as session:
        source = RemoteSource(session)
        snapshot = source.snapshot("runs/big")
        for _ in range(40):  # more than streams may be open
            pieces = source.pieces(snapshot, [Need("f", 0), Need("g", 0)])
            assert next(iter(pieces)).path == "f"
            pieces.close()  # type: ignore[attr-defined]
        assert sum(len(piece.data) for piece in source.pieces(snapshot, [Need("f", 0)])) == BIG


@pytest.mark.slow
def test_an_error_while_writing_a_unit_on_the_far_side_is_raised_locally() -> None:
    here, there = full_store(), MemoryStore("a" * 32)
    there.fail = OSError(28, "No space left on device", "/data/x")
    with far(there, write=True) as session:
        target = RemoteTarget(session)
        for _ in range(6):
            with pytest.raises(RemoteUnavailableError, match="elsewhere: no space is left at /data/x") as caught:
                copy_one(here, target, here.snapshot("runs/big"))
            assert "make room" in caught.value.hint
        there.fail = None
        copy_one(here, target, here.snapshot("runs/big"))
    assert there.contents["runs/big"] == here.contents["runs/big"]


def test_an_error_while_reading_a_unit_locally_leaves_the_far_side_without_its_rest() -> None:
    here, there = full_store(), MemoryStore("a" * 32)
    here.fail = TransferError("the file changed")
    with far(there, write=True) as session:
        target = RemoteTarget(session)
        with pytest.raises(TransferError, match=r"^the file changed"):
            copy_one(here, target, here.snapshot("runs/big"))
        assert target.tokens(here.store_id) == {}


def test_a_store_opened_for_reading_accepts_no_writes() -> None:
    here, there = full_store(), MemoryStore("a" * 32)
    with far(there) as session, pytest.raises(StoreError, match="reading only"):
        copy_one(here, RemoteTarget(session), here.snapshot("runs/big"))
    assert there.contents == {}


def test_what_a_login_prints_before_the_hello_is_skipped() -> None:
    there = full_store()
    with far(there, noise=b"Welcome!\nYou have mail\n\x00mltrack sto" + b"-" * 60_000) as session:
        assert RemoteSource(session).info() == there.info()


def test_too_much_login_output_is_an_error_that_shows_its_beginning() -> None:
    noise = b"SSH-2.0-chatter" + b"-" * 66_000
    with (
        far(MemoryStore("s"), noise=noise) as session,
        pytest.raises(RemoteUnavailableError, match=r"something else answered.*SSH-2.0-chatter"),
    ):
        RemoteSource(session).info()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_connection_cut_or_damaged_anywhere_is_reopened_and_everything_arrives(seed: int) -> None:
    there, here = full_store(), MemoryStore("a" * 32)
    chance = random.Random(seed)
    reads = [0]

    def damage(data: bytes) -> bytes | None:
        reads[0] += 1
        if chance.random() > 0.003 or len(data) == 1:
            return data
        if chance.random() < 0.5 or not data:
            return None
        at = chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]

    with far(there, damage=damage) as session:
        source = RemoteSource(session)
        for found in source.snapshots([one.unit for one in there.units(Selection())]):
            assert isinstance(found, UnitSnapshot)
            copy_one(source, here, found)
    assert here.contents == there.contents
    assert reads[0] > 1000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_unit_continues_where_it_stopped(seed: int) -> None:
    here, there = full_store(), MemoryStore("a" * 32)
    chance = random.Random(seed)

    def damage(data: bytes) -> bytes | None:
        return data if chance.random() > 0.01 or len(data) == 1 else None

    with far(there, write=True, damage=damage) as session:
        target = RemoteTarget(session)
        for unit in here.contents:
            for _ in range(20):
                try:
                    copy_one(here, target, here.snapshot(unit))
                except ConnectionLostError:
                    continue
                except MltrackError as error:
                    raise AssertionError(unit) from error
                break
    assert there.contents == here.contents


def test_a_session_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with far(full_store()) as session:
        list(RemoteSource(session).snapshots(["workspace", "runs/big"]))
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before
