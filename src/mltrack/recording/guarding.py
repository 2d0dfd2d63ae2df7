"""Guards on a run, given in code, and whether the run is asked to stop."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mltrack.entities import Alert
    from mltrack.guards.rules import Guard
    from mltrack.journal.recorder import Recorder
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["RunGuards", "UnseenRules", "given_guards"]

LOOK_EVERY_S = 0.1
"""How often ``should_stop`` looks for the file that asks a run to stop."""


def given_guards(guards: Guard | str | Sequence[Guard | str] | bool | None) -> list[Guard]:
    """The guards that ``start_run`` was given; True for those of the nearest mltrack.toml.

    Raises:
        UsageError: a rule is not understood; there is no mltrack.toml.
    """
    if guards is None or guards is False:
        return []
    if guards is True:
        from mltrack.errors import UsageError
        from mltrack.guards.project_file import project_guards

        found = project_guards()
        if found is None:
            raise UsageError("there is no mltrack.toml here or above", hint="write one, or give rules: guards=[...]")
        for words in found.left_out:
            say("guards: not used: %s", words)
        return found.guards
    from mltrack.guards.rules import as_guards

    return as_guards(guards)


class UnseenRules:
    """Says at the end of a run which of its rules are on metrics that it never logged. An attachment of a run."""

    def __init__(self, recorder: Recorder, guards: Sequence[Guard]) -> None:
        self._recorder = recorder
        self._guards = guards
        self._owner = os.getpid()

    def stop(self) -> None:
        """The run ends; other processes that log to it have done so, or their metrics are not known here."""
        if os.getpid() != self._owner:
            return
        try:
            from mltrack.guards.unseen import logged_metrics, unseen
            from mltrack.storage.runs.state import RunState

            state = RunState(self._recorder.folder)
            state.update()
            info = state.info()
            for words in unseen(self._guards, info.experiment_name, logged_metrics(state)):
                say("run %s: %s", info.run_name, words)
        except TROUBLE as error:
            say("run %s: its guards' metrics are not known: %s", self._recorder.folder.run_id, words_of(error))


class RunGuards:
    """The part of ``Run`` that is about guards."""

    _recorder: Recorder
    run_id: str
    _stop_seen = False
    _look_again = 0.0

    if TYPE_CHECKING:  # what Run has

        def attach(self, attachment: Any) -> None: ...  # noqa: D102

        def stored(self) -> StoredRun: ...  # noqa: D102

    def add_guard(self, *guards: Guard | str, **settings: Any) -> None:
        """Watch this run by rules from now on, in another process, which this one does not wait for.

        A rule looks at all that was logged since the run was started or resumed. It fires once; what it finds is an
        alert of the run: ``run.alerts()``.

        Args:
            guards: rules: ``"loss is NaN"``, ``"loss > 10 for 100 steps"``, ``"no point for 10 min"``, a SQL query, or
                ``mltrack.Guard``.
            settings: of a single rule: ``stop=True``, ``tag=``, ``command=``, ``webhook=``, ``name=``, as for
                ``mltrack.Guard``.

        Raises:
            UsageError: a rule is not understood, or a setting is invalid.
        """
        from mltrack.guards.rules import as_guards, with_settings

        self._watch(as_guards([with_settings(one, settings) for one in guards]))

    def _watch(self, guards: Sequence[Guard]) -> None:
        if not guards:
            return
        try:
            from mltrack.guards.process import GuardProcess

            watching = GuardProcess(lambda: self._recorder.layout.root, self.run_id, guards)
        except TROUBLE as error:  # the training goes on without
            say("run %s: its guards can't be watched: %s", self.run_id, words_of(error))
            return
        self.attach(watching)
        self.attach(UnseenRules(self._recorder, guards))

    @property
    def should_stop(self) -> bool:
        """Whether a guard, or ``mltrack stop``, asks this run to stop. It costs less than a microsecond."""
        if self._stop_seen:
            return True
        now = monotonic()
        if now < self._look_again:
            return False
        self._look_again = now + LOOK_EVERY_S
        from mltrack.storage.runs.stop_file import is_stop_requested

        self._stop_seen = is_stop_requested(self._recorder.folder)
        return self._stop_seen

    def alerts(self) -> list[Alert]:
        """What guards have found in the run so far."""
        return self.stored().alerts()
