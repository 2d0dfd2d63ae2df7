"""Watches live runs: reads what they log from their files, asks the rules, and has alerts recorded and acted on.

It only reads until a rule fires, and never stands in the way of a log call. What it knows it can find out again: a
watcher that is killed leaves nothing but alerts, and another one that takes over reads the points again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import BusyError, MltrackError, NotFoundError, UsageError
from mltrack.guards.actions import Actions, is_process, is_undone
from mltrack.guards.conditions import Query, Silence
from mltrack.guards.evaluation import Finding, Seen, advance, overdue
from mltrack.guards.unseen import logged_metrics, unseen
from mltrack.storage.runs.alerts import append_alert, fired
from mltrack.storage.runs.stop_file import is_stop_requested
from mltrack.storage.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.disk.layout import Layout
    from mltrack.entities import Alert
    from mltrack.guards.rules import Guard

__all__ = ["POLL_S", "RunWatch", "watch_run"]

POLL_S = 0.25
"""How often new points are read, in seconds."""

QUERY_EVERY_S = 0.5
"""How often a SQL rule is asked at most, in seconds."""

QUERY_SHARE = 20
"""A SQL rule waits so many times as long as its last answer took: it takes 5% of a processor at most."""

ACTIONS_WAIT_S = 30.0
"""How long the end of a watcher waits for commands and webhooks."""


@dataclass(slots=True)
class _Rule:
    """A guard, and what its condition has seen of a run."""

    guard: Guard
    seen: Seen = field(default_factory=Seen)
    fired: bool = False
    asked_at: float = -1e9
    rest_s: float = QUERY_EVERY_S


class RunWatch:
    """The guards of one run."""

    def __init__(
        self,
        layout: Layout,
        run_id: str,
        guards: Sequence[Guard],
        *,
        query: Callable[[str, str], str | None] = lambda sql, run_id: None,
        on_alert: Callable[[StoredRun, Alert], None] = lambda run, alert: None,
        on_trouble: Callable[[str], None] = lambda words: None,
        clock: Callable[[], int] = time.time_ns,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a run.

        Args:
            layout: The store.
            run_id: The run.
            guards: Its rules.
            query: Asks a SQL query for a run; gives its first row in words, or None.
            on_alert: Called with each alert that this watcher recorded.
            on_trouble: Called with what could not be done.
            clock: Time in ns since the epoch.
            ticks: Monotonic time in seconds.

        Raises:
            NotFoundError: there is no such run.
        """
        self.run = StoredRun(layout.run(run_id))
        self._layout = layout
        self._query = query
        self._on_alert = on_alert
        self._on_trouble = on_trouble
        self._clock = clock
        self._ticks = ticks
        self._threads: list[threading.Thread] = []
        self._said: set[str] = set()
        self._actions = Actions(layout, lambda: self.run.info, self._in_background)
        experiment = self.run.info.experiment_name
        self._guards = [guard for guard in guards if guard.concerns(experiment)]
        self._begin()

    def _begin(self) -> None:
        """Forget what was seen: the run was started again, or what counts of its points has changed."""
        self._episode = self.run.state.episode
        self._counting = self._token()
        self._positions: dict[str, int] = {}
        self._looked = False
        self._rules = [_Rule(guard, Seen(last_ns=min(self._episode, self._clock()))) for guard in self._guards]

    def _token(self) -> str:
        visibility = self.run.visibility
        return "" if visibility is None else visibility.token

    def look(self) -> bool:
        """Read what is new, and act on what rules find; whether the run is still live, as it was before that.

        Raises:
            NotFoundError: the run was removed, or its store was moved.
            OSError: a file of the run can't be read.
        """
        if not self.run.folder.events.is_dir():
            raise NotFoundError(f"run {self.run.run_id} is gone", hint="was its store moved?")
        self.run.refresh()
        live = self.run.state.live and self.run.state.elsewhere is None
        if self.run.state.episode != self._episode or self._token() != self._counting:
            self._begin()
        self._leave_out_fired()
        self._read_points()
        for rule in self._rules:
            if not rule.fired:
                finding = self._asked(rule, live=live)
                if finding is not None:
                    self._fire(rule, finding)
        return live

    def _leave_out_fired(self) -> None:
        """Don't ask rules that have fired, in whatever process; do what a watcher that was killed has left undone."""
        for rule in self._rules:
            if not rule.fired:
                alert = fired(self.run.state, rule.guard.name, rule.guard.condition.text, self._episode)
                if alert is not None:
                    rule.fired = True
                    self._take_over(rule, alert)

    def _take_over(self, rule: _Rule, alert: Alert) -> None:
        """Do what is left of an alert, unless the process that recorded it is still at it."""
        stopped = "stop" not in alert.actions or not self.run.state.live or is_stop_requested(self.run.folder)
        if stopped and not any(map(is_undone, alert.actions.values())):
            return
        writer = self.run.state.writers.get(alert.alert_id.partition(".")[0])
        if writer is not None and is_process(writer.host, writer.pid):
            rule.fired = False  # look again
            return
        with self._troubles():
            self._actions.perform(rule.guard, alert)

    def _read_points(self) -> None:
        waiting = [rule for rule in self._rules if not rule.fired and not isinstance(rule.guard.condition, Query)]
        if not waiting:
            return
        writers, fresh, self._looked = self.run.state.writers, self._looked, True
        for source in self.run.point_sources():
            known = writers.get(source.writer)
            if known is None or known.opened < self._episode:
                continue  # from before
            for points in source.read(self._positions.get(source.writer, 0), self.run.damage):
                self._positions[source.writer] = int(points.seqs[-1]) + 1
                for rule in waiting:
                    self._take(rule, source.writer, points, fresh=fresh)

    def _take(self, rule: _Rule, writer: str, points: Any, *, fresh: bool) -> None:
        condition = rule.guard.condition
        if rule.fired or isinstance(condition, Query):
            return
        before = rule.seen
        rule.seen, finding = advance(condition, before, writer, points)
        if isinstance(condition, Silence) and rule.seen.count != before.count:
            now = self._clock()
            # points may have been given any times: what has just come in was logged just now
            last = now if fresh else min(rule.seen.last_ns, now)
            rule.seen = replace(rule.seen, last_ns=max(before.last_ns, last))
        if finding is not None:
            self._fire(rule, finding)

    def _asked(self, rule: _Rule, *, live: bool) -> Finding | None:
        """What rules find that are not asked point by point."""
        condition = rule.guard.condition
        if isinstance(condition, Silence):
            return overdue(condition, rule.seen, self._clock()) if live else None
        if not isinstance(condition, Query) or (live and self._ticks() - rule.asked_at < rule.rest_s):
            return None
        began = self._ticks()
        row = None
        try:
            with self._troubles():
                row = self._query(condition.text, self.run.run_id)
        except UsageError as error:
            return Finding(f"the rule can't be asked: {error}", failed=True)
        rule.asked_at = self._ticks()
        rule.rest_s = max(QUERY_EVERY_S, QUERY_SHARE * (rule.asked_at - began))
        return None if row is None else Finding(f"{row} ({condition.text})")

    def _fire(self, rule: _Rule, finding: Finding) -> None:
        """Record the alert, once among all watchers, and act on it."""
        guard = rule.guard
        with self._troubles():
            alert = append_alert(
                self._layout,
                self.run.run_id,
                rule=guard.name,
                condition=guard.condition.text,
                message=finding.message,
                episode=self._episode,
                actions=[] if finding.failed else guard.actions,
                point=finding.point,
                tags=None if finding.failed else guard.tags,
            )
            if alert is not None:  # else another watcher was first: the next look sees whether it is done
                rule.fired = True
                if not finding.failed:
                    self._actions.perform(guard, alert)
                self._on_alert(self.run, alert)

    @contextlib.contextmanager
    def _troubles(self) -> Any:
        try:
            yield
        except BusyError:
            pass  # next time
        except UsageError:
            raise
        except (MltrackError, OSError) as error:
            words = f"run {self.run.run_id}: {error}"
            if words not in self._said:
                self._said.add(words)
                self._on_trouble(words)

    def _in_background(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            with contextlib.suppress(UsageError), self._troubles():
                work()

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=guarded, name="mltrack-guard-action", daemon=True)
        self._threads.append(thread)
        thread.start()

    def say_unseen(self) -> None:
        """Say, at the end of the run, which rules are on metrics that it never logged."""
        info = self.run.info
        for words in unseen(self._guards, info.experiment_name, logged_metrics(self.run.state)):
            self._on_trouble(f"run {info.run_name}: {words}")

    @property
    def busy(self) -> bool:
        """Whether a command or a webhook is not done."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self, wait_s: float = ACTIONS_WAIT_S) -> None:
        """Wait for commands and webhooks."""
        until = self._ticks() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - self._ticks()))


def watch_run(watch: RunWatch, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Watch a run until no process has it open."""
    while watch.look():
        sleep(POLL_S)
    watch.close()
