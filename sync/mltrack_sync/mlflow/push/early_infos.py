"""Infos of new traces sent before their spans: for a server that is half the work of an info that comes after them.

A server that gets the info of a trace it has merges each tag and each piece of metadata by itself. But spans that come
after the info may change what it said: a server computes a duration from them, which rounds otherwise, and so is 1 ms
longer for about every second trace. So the traces are read back, in one request for all, and what spans have changed is
set back: the duration by the call that ends a trace, anything else by sending the info again. In the end the server has
what it would have if the infos had come after the spans.

This is done for several traces at a time, that the server does not have, and only where it is a version of which that
is known. All others get their spans first.
"""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

from mltrack.storage.traces.trace import COST_KEYS, COUNTED_TOKENS
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.mlflow.push.batching import ITS_OWN_FAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mltrack.storage.traces.traces import Trace
    from mltrack_sync.mlflow.api.traces import RemoteTrace, TracesClient

__all__ = ["TRACES_MIN", "EarlyInfos", "ServerVersion", "may_come_first"]

TRACES_MIN = 8
"""With fewer traces the requests that ask for what the server has are not worth it."""

VERSION_MIN = (3, 17)
"""Servers before it add the tokens of spans to those of an info that came first."""

DURATION = "execution_duration"
_NOT_GIVEN = (RemoteRefusedError, RemoteAuthError, NotMlflowError)
"""How a server fails that has no such call, or does not let us make it."""


class ServerVersion:
    """Which version of MLflow the server is, asked for once. Thread-safe."""

    def __init__(self, client: TracesClient) -> None:
        """``client`` asks the server."""
        self._client = client
        self._lock = threading.Lock()
        self._takes_infos_first: bool | None = None

    def takes_infos_first(self) -> bool:
        """Whether infos may come before spans.

        Raises:
            RemoteUnavailableError: it can't be asked now.
        """
        with self._lock:
            if self._takes_infos_first is None:
                try:
                    found = re.match(r"(\d+)\.(\d+)", self._client.server_version())
                except _NOT_GIVEN:
                    found = None
                self._takes_infos_first = found is not None and tuple(map(int, found.groups())) >= VERSION_MIN
            return self._takes_infos_first


class EarlyInfos:
    """The infos of those traces of a batch that get them before their spans. Thread-safe."""

    def __init__(
        self,
        traces: Sequence[Trace],
        client: TracesClient,
        version: ServerVersion,
        sendable: Callable[[], Collection[str]],
        put: Callable[[Trace], RemoteTrace],
    ) -> None:
        """Nothing is sent yet.

        Args:
            traces: The batch, of one experiment.
            client: The server's traces.
            version: The server's version.
            sendable: Gives the ids of the traces whose spans can be sent.
            put: Sends the info of a trace; returns the trace as the server has it then.
        """
        self._traces = traces
        self._client = client
        self._version = version
        self._sendable = sendable
        self._put = put
        self._lock = threading.Lock()
        self._infos: Mapping[str, _Info] | None = None
        self._reading = threading.Lock()
        self._found: Mapping[str, RemoteTrace] | None = None

    def includes(self, trace: Trace) -> bool:
        """Whether the trace is one of them.

        Raises:
            RemoteError: the server can't be asked now. The next call tries again.
        """
        return trace.trace_id in self._chosen()

    def send(self, trace: Trace) -> None:
        """Send the info of one of them, if that was not done before."""
        self._chosen()[trace.trace_id].send()

    def send_all(self) -> None:
        """Send the infos that were not sent yet, and wait for those that others send."""
        for info in self._chosen().values():
            info.send()

    def settled(self, trace: Trace) -> RemoteTrace | None:
        """The trace as the server has it after its spans, with the info that was sent; None if that must be sent again.

        Raises:
            RemoteError: the server can't be asked now. The next call tries again.
        """
        sent = self._sent().get(trace.trace_id)
        found = self._read_back().get(trace.trace_id) if sent is not None else None
        if sent is None or found is None:
            return None
        changed = _changed(sent.info, found.info)
        if changed and not (changed == {DURATION} and self._is_set_back(trace)):
            return None
        return found

    def withdraw(self, trace: Trace) -> None:
        """Delete the trace, whose spans the server does not take: before its info was sent, it was not there."""
        sent = self._sent().get(trace.trace_id)
        if sent is not None:
            with contextlib.suppress(*_NOT_GIVEN):
                self._client.delete(sent.experiment_id, trace.trace_id)

    def _chosen(self) -> Mapping[str, _Info]:
        with self._lock:
            if self._infos is None:
                ids = self._new()
                self._infos = {each.trace_id: _Info(each, self._put) for each in self._traces if each.trace_id in ids}
            return self._infos

    def _new(self) -> frozenset[str]:
        """The traces that may have their info first and are not there yet."""
        if len(self._traces) < TRACES_MIN or not self._version.takes_infos_first():
            return frozenset()
        sendable = self._sendable()
        ids = [each.trace_id for each in self._traces if each.trace_id in sendable and may_come_first(each)]
        if len(ids) < TRACES_MIN:
            return frozenset()
        try:
            return frozenset(ids) - self._client.infos(ids).keys()
        except _NOT_GIVEN:  # it has no such call
            return frozenset()

    def _sent(self) -> dict[str, RemoteTrace]:
        return {trace_id: info.sent for trace_id, info in (self._infos or {}).items() if info.sent is not None}

    def _read_back(self) -> Mapping[str, RemoteTrace]:
        with self._reading:
            if self._found is None:
                try:
                    self._found = self._client.infos(list(self._sent()))
                except _NOT_GIVEN:
                    self._found = {}
            return self._found

    def _is_set_back(self, trace: Trace) -> bool:
        assert trace.duration is not None  # else its info does not come first
        try:
            end_ms = trace.request_time + trace.duration
            return self._client.end(trace.trace_id, end_ms, trace.state) == trace.duration
        except _NOT_GIVEN:
            return False


class _Info:
    """The info of a trace, sent once; ``sent`` is the server's answer, None if it does not take it."""

    def __init__(self, trace: Trace, put: Callable[[Trace], RemoteTrace]) -> None:
        self._trace = trace
        self._put = put
        self._lock = threading.Lock()
        self._is_tried = False
        self.sent: RemoteTrace | None = None

    def send(self) -> None:
        with self._lock:
            if self._is_tried:
                return
            try:
                self.sent = self._put(self._trace)
            except RemoteRefusedError:  # refused again, and reported, when it is sent after the spans
                pass
            except RemoteUnavailableError as error:
                if error.status not in ITS_OWN_FAULT:
                    raise
            self._is_tried = True


def may_come_first(trace: Trace) -> bool:
    """Whether spans that come after its info would leave of it what they would if they came before, or a duration.

    A server takes the state from spans where the info leaves it open, and of tokens and costs all or none from the
    info.
    """
    is_sent = trace.spans and (trace.final or trace.assessments)
    if not (is_sent and trace.state in ("OK", "ERROR") and trace.duration is not None):
        return False
    heads = trace.spans.values()
    for counted, basic, of_spans in (
        (trace.tokens, COUNTED_TOKENS, [head.usage for head in heads]),
        (trace.cost, COST_KEYS, [head.cost for head in heads]),
    ):
        wanted = {*basic, *(key for each in of_spans for key in each or ())}
        if counted and not wanted <= counted.keys():
            return False
    return True


def _changed(sent: Mapping[str, Any], found: Mapping[str, Any]) -> set[str]:
    """The fields of an info that are not what was sent; tags, and what spans added, are left to those who ask."""
    metadata = found.get("trace_metadata") or {}
    changed = {key for key in sent if key not in ("tags", "trace_metadata") and found.get(key) != sent[key]}
    if any(metadata.get(key) != value for key, value in (sent.get("trace_metadata") or {}).items()):
        changed.add("trace_metadata")
    return changed
