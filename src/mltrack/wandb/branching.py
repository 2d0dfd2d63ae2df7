"""``init(resume_from=)`` and ``init(fork_from=)``: which run, and the step that is its last one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.wandb.errors import UsageError

if TYPE_CHECKING:
    from mltrack.wandb.settings import Settings

__all__ = ["Moment", "fork_point", "rewind_point"]

_MOMENT = re.compile(r"(?P<run_id>[^?]+)\?(?P<name>[^=]+)=(?P<step>\d+)(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a run: wandb's id of it, and the last step that counts."""

    run_id: str
    step: int

    @classmethod
    def parse(cls, text: str, argument: str) -> Moment:
        """``RUN_ID?_step=N``.

        Raises:
            UsageError: it is something else.
        """
        found = _MOMENT.fullmatch(text)
        if found is None or found["name"] != "_step":
            raise UsageError(f"{argument}={text!r:.100} names no step of a run", hint=f"{argument}='RUN_ID?_step=100'")
        return cls(found["run_id"], int(found["step"]))


def rewind_point(settings: Settings) -> Moment | None:
    """Where the run is to be rewound to.

    Raises:
        UsageError: arguments do not fit together.
    """
    if not settings.resume_from:
        return None
    moment = Moment.parse(str(settings.resume_from), "resume_from")
    if settings.fork_from:
        raise UsageError("resume_from and fork_from exclude each other", hint="give one of them")
    if settings.resume:
        raise UsageError("resume_from and resume exclude each other", hint="leave resume out")
    if settings.run_id not in (None, moment.run_id):
        raise UsageError(f"id={settings.run_id!r} is not the run of resume_from", hint="leave id out")
    return moment


def fork_point(settings: Settings) -> Moment | None:
    """Where the new run branches off.

    Raises:
        UsageError: arguments do not fit together.
    """
    if not settings.fork_from:
        return None
    moment = Moment.parse(str(settings.fork_from), "fork_from")
    if settings.resume:
        raise UsageError("fork_from and resume exclude each other", hint="leave resume out")
    if settings.run_id == moment.run_id:
        raise UsageError(f"id={settings.run_id!r} is the run of fork_from itself", hint="give the new run another id")
    return moment
