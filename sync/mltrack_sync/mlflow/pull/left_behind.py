"""What a server has that a pull did not bring, counted, so that nobody takes it for moved."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.environment import PROMPT_TAG
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError
from mltrack_sync.http.shapes import rows
from mltrack_sync.mlflow.api.capabilities import TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mltrack_sync.mlflow.pull.selection import RemoteSelection
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["count_left_behind", "left_lines"]

MANY = 1000
"""So many are counted at most, of each kind."""

EXPERIMENTS_ASKED_MAX = 20
"""Of so many experiments are counted what servers list of one at a time."""


def count_left_behind(session: PullSession, selection: RemoteSelection) -> None:
    """Count what the selection leaves out, and what the server has of kinds that no pull brings.

    Raises:
        RemoteError: see mltrack_sync.errors.
    """
    survey = _Survey(session)
    wanted = session.options.selection
    ids = list(selection.experiments)
    if wanted.runs or wanted.filter:
        words = "not pulled with --run or --filter"
        survey.search("registered models", words, "registered-models/search", "registered_models")
        survey.prompts(words)
        if TRACES not in session.features.unsupported:
            survey.traces(ids, words)
    elif wanted.experiments:
        survey.prompts("pulled only when everything is")
    survey.unsupported(["", *ids] if wanted.everything else ids)


def left_lines(session: PullSession) -> tuple[str, ...]:
    """What was left behind, a line for each kind."""
    found = sorted(session.left_behind.items())
    return tuple(f"{what}: {'at least ' if n >= MANY else ''}{n:,}" for what, n in found if n)


class _Survey:
    """Asks how many there are; a server that does not know a kind has none of it."""

    def __init__(self, session: PullSession) -> None:
        self._session = session
        self._transport = session.client.transport

    def search(self, what: str, why: str, call: str, name: str, asked: Mapping[str, Any] | None = None) -> None:
        """Count the rows that a GET answers."""
        fields = {"max_results": str(MANY), **(asked or {})}
        self._count(f"{what} ({why})", lambda: self._transport.get(call, fields), name)

    def prompts(self, why: str) -> None:
        """Count prompts."""
        asked = {"filter": f"tags.`{PROMPT_TAG}` = 'true'"}
        self.search("prompts", why, "registered-models/search", "registered_models", asked)

    def traces(self, experiment_ids: Iterable[str], why: str) -> None:
        """Count the traces of experiments."""
        for experiment_id in experiment_ids:
            first = partial(next, self._session.read.search_traces(experiment_id), [])
            self._count(f"traces ({why})", first, "")

    def unsupported(self, experiment_ids: Sequence[str]) -> None:
        """Count what no pull brings: only servers that have traces have any of it.

        Args:
            experiment_ids: Of the selected experiments; the first is "" if these are all.
        """
        if TRACES in self._session.features.unsupported:
            return
        why = "mltrack does not keep them"
        self.search("webhooks", why, "webhooks", "webhooks")
        read = self._session.read
        self._count(f"gateway endpoints ({why})", read.gateway_endpoints, "endpoints")
        why = "pulls do not bring them"
        places = experiment_ids[:1] if experiment_ids[:1] == [""] else experiment_ids[:EXPERIMENTS_ASKED_MAX]
        for place in places:
            if not self._count(f"issues ({why})", partial(read.issues, place, MANY), "issues"):
                break
        for place in [each for each in experiment_ids if each][:EXPERIMENTS_ASKED_MAX]:
            if not self._count(f"review queues ({why})", partial(read.review_queues, place, MANY), "review_queues"):
                break

    def _count(self, what: str, ask: Callable[[], Any], name: str) -> bool:
        """Whether the server answered."""
        self._session.check()
        try:
            answer = ask()
            found = len(rows(answer, name) if name else answer)
        except (RemoteRefusedError, NotMlflowError, RemoteAuthError, ValueError, TypeError, AttributeError):
            return False
        self._session.left(what, found)
        return True
