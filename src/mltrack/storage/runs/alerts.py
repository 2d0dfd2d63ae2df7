"""Alerts of a run: what guards found in it, each once; and requests that it stop. All of it is events."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.locks import file_lock
from mltrack.environment import ALERT_TAG
from mltrack.errors import UsageError
from mltrack.storage.runs.edit import append_events, existing_state, not_written
from mltrack.storage.runs.state import RunState
from mltrack.storage.runs.stop_file import set_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.disk.layout import Layout
    from mltrack.entities import Alert

__all__ = ["alert_tag", "append_action", "append_alert", "claim_action", "fired", "request_stop"]

LOCK_TIMEOUT_S = 5.0
TEXT_CHARACTERS_MAX = 2_000
_NOT_IN_TAGS = re.compile(r"[^\w\-. /:]", re.ASCII)


def append_alert(
    layout: Layout,
    run_id: str,
    *,
    rule: str,
    condition: str,
    message: str,
    episode: int,
    actions: Sequence[str],
    point: tuple[str, int, float] | None = None,
    tags: Mapping[str, str] | None = None,
    fs: FileSystem = LOCAL,
) -> Alert | None:
    """Record that a rule found something, unless that is recorded already. On return it survives power loss.

    Args:
        layout: The store.
        run_id: The run.
        rule: The rule's name.
        condition: Its text.
        message: What it found.
        episode: When the run was last started or resumed, in ns: the rule fires once in that time.
        actions: What is to be done about it.
        point: Metric, step and value of the point that decided it.
        tags: Tags that the run gets with it.
        fs: The file system to write with.

    Returns:
        The alert; None if this rule has fired in that time already, here or in another process.

    Raises:
        NotFoundError: there is no such run.
        BusyError: another process holds the lock.
        StoreError, OSError: it can't be written.
    """
    folder = layout.run(run_id)
    event: dict[str, Any] = {
        "type": "alert",
        "rule": rule,
        "condition": condition[:TEXT_CHARACTERS_MAX],
        "message": message[:TEXT_CHARACTERS_MAX],
        "episode": episode,
        "actions": list(actions),
    }
    if point is not None:
        metric, step, value = point
        event |= {"metric": metric, "step": step, "value": value if math.isfinite(value) else _name_of(value)}
    given = {alert_tag(rule): event["message"], **(tags or {})}
    events = [{"type": "tag", "key": key, "value": value} for key, value in given.items()]
    fs.make_folder(folder.path / "live")
    with file_lock(folder.path / "live" / "guards.lock", timeout_s=LOCK_TIMEOUT_S):
        state = RunState(folder)
        state.update()
        if fired(state, rule, event["condition"], episode) is not None:
            return None
        found = fired(append_events(layout, run_id, event, fs, *events), rule, event["condition"], episode)
    if found is None:
        raise not_written(layout, run_id)
    return found


def alert_tag(rule: str) -> str:
    """The tag that a rule's alert is, too, with characters that MLflow takes in one."""
    return f"{ALERT_TAG}.{_NOT_IN_TAGS.sub('_', rule)}"


def fired(state: RunState, rule: str, condition: str, episode: int) -> Alert | None:
    """The alert of a rule in the time since ``episode``."""
    known = (condition[:TEXT_CHARACTERS_MAX], episode)
    found = (one for one in state.alerts if one.rule == rule and (one.condition, one.episode) == known)
    return next(found, None)


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def claim_action(
    layout: Layout, alert: Alert, run_id: str, action: str, outcome: str, *, fs: FileSystem = LOCAL
) -> bool:
    """Record that an action of an alert is begun, unless another process has done so since ``alert`` was read.

    Raises:
        NotFoundError, BusyError, StoreError, OSError: as append_alert.
    """
    folder = layout.run(run_id)
    with file_lock(folder.path / "live" / "guards.lock", timeout_s=LOCK_TIMEOUT_S):
        state = RunState(folder)
        state.update()
        now = next((one for one in state.alerts if one.alert_id == alert.alert_id), None)
        if now is None or now.actions.get(action) != alert.actions.get(action):
            return False
        append_action(layout, run_id, alert.alert_id, action, outcome, fs=fs)
    return True


def append_action(
    layout: Layout, run_id: str, alert_id: str, action: str, outcome: str, *, fs: FileSystem = LOCAL
) -> None:
    """Record how an action of an alert went.

    Raises:
        NotFoundError, StoreError: as append_alert.
    """
    event = {"type": "alert_action", "alert": alert_id, "action": action, "outcome": outcome[:TEXT_CHARACTERS_MAX]}
    append_events(layout, run_id, event, fs)


def request_stop(layout: Layout, run_id: str, reason: str, *, fs: FileSystem = LOCAL) -> None:
    """Ask a run's processes to stop: ``mltrack run`` ends the program, ``Run.should_stop`` is true in it.

    Raises:
        NotFoundError: there is no such run.
        UsageError: it is not being recorded here.
        StoreError, OSError: that can't be written.
    """
    state = existing_state(layout, run_id)
    if not state.live or state.elsewhere is not None:  # nothing is written to a run that has ended, or to a copy
        where = "" if state.elsewhere is None else f" in this store, but on {state.elsewhere.host}"
        raise UsageError(f"run {run_id} is not being recorded{where}", hint="only a live run can be stopped")
    append_events(layout, run_id, {"type": "stop", "reason": reason[:TEXT_CHARACTERS_MAX]}, fs)
    set_stop(state.folder, fs=fs)
