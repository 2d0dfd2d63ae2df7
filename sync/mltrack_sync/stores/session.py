"""A connection to a store elsewhere that is made when it is first needed, and made again when it was cut."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from mltrack.errors import MltrackError
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.under_way import UNDER_WAY
from mltrack_sync.stores.channel import Channel
from mltrack_sync.stores.frames import ConnectionLostError, skip_noise
from mltrack_sync.stores.hello import DISCARD_PROTOCOL, MANY_RUNS_PROTOCOL, Opening, request_store
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from mltrack_sync.stores.transfer import StoreInfo

__all__ = ["ATTEMPTS", "Session", "Wire"]

T = TypeVar("T")

ATTEMPTS = 5
WAIT_S_MAX = 20.0


class Wire(Protocol):
    """What the bytes go through: a program that was started, with its standard input and output."""

    @property
    def reader(self) -> BinaryIO:
        """What comes from the other side."""

    @property
    def write_fd(self) -> int:
        """Where bytes for the other side go."""

    @property
    def hello_timeout_s(self) -> float | None:
        """How long to wait for its hello; None for ever, where somebody may be typing a password."""

    def greeted(self) -> None:
        """The hello has come."""

    def explain(self, noise: str) -> MltrackError:
        """Why no hello came; ``noise`` is what was printed instead of one."""

    def close_write(self) -> None:
        """End what goes to the other side, so that it can end in good order."""

    def close(self) -> None:
        """End it. Called from any thread, any number of times; a write that is under way fails."""


class Session:
    """A store elsewhere. Any number of threads may use it; they share one connection.

    Args:
        dial: Starts what the bytes go through.
        opening: What is wanted of the other side.
        where: What the other side is called in messages.
        attempts: How often something is tried when the connection is cut.
        sleep: Waits between two of these.
    """

    def __init__(
        self,
        dial: Callable[[], Wire],
        opening: Opening,
        where: str,
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.where = where
        self._dial = dial
        self._opening = opening
        self._attempts = attempts
        self._sleep = sleep
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._info: StoreInfo | None = None
        self._protocol = 0
        self._closed = False

    def info(self) -> StoreInfo:
        """Which store it is, as it said when it was opened.

        Raises:
            RemoteError: it can't be reached.
            MltrackError: it can't be opened.
        """
        self.call(lambda channel: None)
        assert self._info is not None
        return self._info

    def moves_many(self) -> bool:
        """Whether the other side knows messages with many small runs each.

        Raises:
            MltrackError: as ``info``.
        """
        self.info()
        return self._protocol >= MANY_RUNS_PROTOCOL

    def require_discard(self) -> None:
        """Check that the other side can remove files.

        Raises:
            RemoteUnavailableError: its mltrack is too old.
            MltrackError: as ``info``.
        """
        self.info()
        if self._protocol < DISCARD_PROTOCOL:
            raise RemoteUnavailableError(
                f"the mltrack of {self.where} is too old to replace files",
                hint="upgrade it there: pip install -U mltrack-local; or remove them by hand, then verify and sync",
                in_doubt=False,
                not_sent=True,
            )

    def call(self, work: Callable[[Channel], T]) -> T:
        """Do something that may be done twice; where the connection is cut, it is made again and tried again.

        Raises:
            RemoteError: the other side can't be reached, or the connection was cut each time.
            MltrackError: what ``work`` raises.
        """
        import tenacity

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=WAIT_S_MAX),
            retry=tenacity.retry_if_exception(self._passes),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(lambda: work(self.channel()))
        except ConnectionLostError as error:
            raise RemoteUnavailableError(f"{self.where}: {error}", hint=error.hint, in_doubt=False) from error

    def _passes(self, error: BaseException) -> bool:
        """Whether another attempt may go through."""
        return isinstance(error, ConnectionLostError) and not self._closed

    def channel(self) -> Channel:
        """The connection, opened if it is not yet.

        Raises:
            RemoteError: the other side can't be reached.
            MltrackError: it can't open the store.
        """
        with self._lock:
            if self._closed:
                raise RemoteUnavailableError("the connection was closed", in_doubt=False)
            if self._channel is None or self._channel.fault is not None:
                self._hang_up()
                self._connect()
            assert self._channel is not None
            return self._channel

    def _connect(self) -> None:
        wire = self._dial()
        try:
            is_asked = wire.hello_timeout_s is None  # somebody may be typing a password
            with _deadline(wire), UNDER_WAY.waiting("" if is_asked else f"{self.where} to answer"):
                greeted, noise = skip_noise(wire.reader)
                if not greeted:
                    raise wire.explain(noise)
                wire.greeted()
                info, protocol = request_store(wire.reader, wire.write_fd, self._opening, self.where)
            if self._info is not None and info.store_id != self._info.store_id:
                raise TransferError(f"{self.where}: another store is there now", hint="run it again")
        except (MltrackError, OSError) as error:
            wire.close_write()
            wire.close()
            wire.reader.close()
            if isinstance(error, OSError):
                raise ConnectionLostError("the connection ended") from error
            if isinstance(error, RemoteUnavailableError) and self._info is not None:  # it was reached before
                raise ConnectionLostError(str(error), hint=error.hint) from error
            raise
        self._info, self._protocol = info, protocol
        self._channel = Channel(
            wire.reader, wire.write_fd, close_write=wire.close_write, on_end=wire.close, where=self.where
        )
        self._channel.start()

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        with self._lock:
            self._hang_up()


class _deadline:
    """Ends a connection whose hello does not come in time."""

    def __init__(self, wire: Wire) -> None:
        seconds = wire.hello_timeout_s
        self._timer = None if seconds is None else threading.Timer(seconds, wire.close)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *args: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
