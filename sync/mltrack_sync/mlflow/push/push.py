"""What is pending for one MLflow server is sent; where nothing is, no connection is made."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack.text.counting import plural
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND
from mltrack_sync.mlflow.api.capabilities import TRACES as TRACE_FEATURE
from mltrack_sync.mlflow.plan.history import HistorySetting
from mltrack_sync.mlflow.plan.kinds import EXPERIMENT, LOGGED_MODEL, TRACE
from mltrack_sync.mlflow.plan.pending import Again, Scope, find_pending, rejected_of, unsupported_lines
from mltrack_sync.mlflow.push.repair import (
    differing_traces,
    forget_models,
    forget_tables,
    note_repaired,
    note_resent,
    put_in_doubt,
)
from mltrack_sync.report import PushReport, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.remotes.kind import PushWork

__all__ = ["push_pending"]

CURED_MAX = 200
"""How many refused things are checked again in one cycle; if there are more, the next cycle takes others."""

IN_EXPERIMENT_KINDS = (LOGGED_MODEL, TRACE)
"""Things that are refused where their experiment is: looked at again as the runs in it are, at no further cost."""


def push_pending(work: PushWork, limits: Limits, open_workspace: Callable[[], Workspace]) -> PushReport:
    """Send what is pending.

    Args:
        work: The cycle.
        limits: What the server takes.
        open_workspace: Gives the server; asked only where something is to be sent.

    Raises:
        RemoteError: see mltrack_sync.errors.
    """
    options, ledger, remote = work.options, work.ledger, work.remote
    state, unsupported = ledger.state, limits.unsupported
    history = HistorySetting(options.history, remote.history)
    scope = Scope(work.store, options.selection, work.heads, options.retry_rejected, history=history)
    if options.retry_cured and not options.retry_rejected:
        scope = replace(scope, again=perhaps_cured(state, work.heads, limits))
    report = PushReport(remote.name, remote.url, problems=tuple(state.damage_words()))
    repaired = put_in_doubt(ledger, work.heads) if options.repair else ()
    models: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    if options.repair:
        scope, models = replace(scope, resent=differing_traces(ledger)), forget_models(ledger)
        tables = forget_tables(ledger) if options.selection.everything else ()
    pending = find_pending(scope, state)
    if pending.traces.deleted and TRACE_FEATURE not in unsupported:
        report = replace(report, notes=(_deleted_words(pending.traces.deleted, remote.name),))
    if pending.without(unsupported):
        from mltrack_sync.mlflow.push.sending import send

        report = send(work, scope, open_workspace(), report, (*repaired, *tables))
    else:
        report = replace(report, unsupported=unsupported_lines(pending, state, unsupported))
        if pending.traces.whole and not pending.traces.traces:  # writers came to an end, or said nothing of a trace
            ledger.traces_sent(pending.traces.positions, pending.traces.sizes)
    if repaired:
        note_repaired(ledger, repaired, work.store.heads())
    if options.repair and not report.problems:
        note_resent(ledger, scope.resent if report.traces else (), (*models, *tables))
    return replace(report, rejected=rejected_of(state.rejected.values(), scope.heads))


def _deleted_words(count: int, name: str) -> str:
    were, them = ("was", "it") if count == 1 else ("were", "them")
    return f"{plural(count, 'trace')} {were} deleted here; where {name} has {them}, delete {them} there by hand"


def perhaps_cured(state: LedgerView, chosen: Container[str], limits: Limits) -> Again:
    """Things rejected as a whole, whose reason may be gone: each costs a request or two, so not all where many are."""
    whole = [
        (item.run_id, item.kind, item.key)
        for item in state.rejected.values()
        if (item.kind == "run" and item.run_id in chosen) or _is_curable(item, limits)
    ]
    return frozenset(whole if len(whole) <= CURED_MAX else random.sample(whole, CURED_MAX))


def _is_curable(item: Rejected, limits: Limits) -> bool:
    if item.kind == EXPERIMENT_TAG_KIND:
        return limits.refuse_experiment_tag(item.key.partition("/")[2], "") is None
    return item.kind == EXPERIMENT or (item.kind in IN_EXPERIMENT_KINDS and item.reason.startswith("experiment "))
