"""A guard: a rule on what a run logs, and what is done when it finds something. Given in code, or in mltrack.toml."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from mltrack.errors import UsageError
from mltrack.guards.conditions import Condition, parse_condition
from mltrack.text.redaction import remember
from mltrack.text.shown import shown
from mltrack.values.arguments import list_argument, text_argument

__all__ = ["Guard", "as_guards", "from_record", "missing_variable", "to_record", "with_settings"]

ACTIONS = ("stop", "tag", "command", "webhook")
NAME_CHARACTERS_MAX = 100
_SETTINGS = ("name", "stop", "tag", "command", "webhook", "experiments")

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule on what a run logs. It fires once each time that the run is started or resumed.

    Attributes:
        when: The condition: ``loss is NaN``, ``loss > 10 for 100 steps``, ``any metric is not finite``,
            ``no point for 10 min``, ``no point of loss for 1 h``, or a SQL query that finds something if it gives a
            row, with ``$run_id`` for the run's id.
        name: Its name; the condition when not given. It is also the tag ``mltrack.alert.NAME`` that the run gets.
        stop: Ask the run to stop: ``mltrack run`` ends the program, ``run.should_stop`` is true.
        tag: A tag for the run, as ``KEY=VALUE`` or ``KEY``.
        command: A program to run, with its arguments. It gets the alert as JSON on its standard input, and rule,
            message, run id and run name in environment variables: ``MLTRACK_ALERT_MESSAGE`` ...
        webhook: An http or https URL that the alert is posted to, as JSON; ``$NAME`` in it is an environment variable.
        experiments: Only runs of these experiments, where any are named.
    """

    when: str
    name: str = ""
    stop: bool = False
    tag: str = ""
    command: Sequence[str] | str = ()
    webhook: str = field(default="", repr=False)
    experiments: Sequence[str] = ()
    condition: Condition = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UsageError: the condition is not understood, or another value is invalid.
        """
        if not isinstance(self.when, str):
            raise UsageError(f"a rule is a text, not {shown(self.when)}", hint="write for example: loss is NaN")
        for what in ("name", "tag", "webhook"):
            text_argument(what, getattr(self, what))
        if not isinstance(self.stop, bool):
            raise UsageError(f"stop is {shown(self.stop)}, not True or False", hint="write stop=True")
        put = object.__setattr__
        put(self, "condition", parse_condition(self.when))
        put(self, "name", (self.name or self.condition.text)[:NAME_CHARACTERS_MAX])
        put(self, "command", _words(self.command, self.name))
        put(self, "experiments", _names(self.experiments))
        put(self, "webhook", _checked_url(self.webhook, self.name))
        key, _, _ = self.tag.partition("=")
        if self.tag and not key:
            raise UsageError(f"guard {self.name!r}: tag {self.tag!r} has no key", hint="write tag='diverged=true'")

    @property
    def actions(self) -> list[str]:
        """What is done when it fires, apart from recording it."""
        return [name for name in ACTIONS if getattr(self, name)]

    @property
    def tags(self) -> dict[str, str]:
        """The tag that it sets, as key and value."""
        key, _, value = self.tag.partition("=")
        return {key: value or "true"} if key else {}

    def concerns(self, experiment: str) -> bool:
        """Whether it is for runs of that experiment."""
        return not self.experiments or experiment in self.experiments


def _names(experiments: Sequence[str] | str) -> tuple[str, ...]:
    given = [experiments] if isinstance(experiments, str) else list_argument("experiments", experiments)
    return tuple(text_argument("experiments", name) for name in given)


def _words(command: Sequence[str] | str, name: str) -> tuple[str, ...]:
    """A command and its arguments, split as a shell splits them where they are one text."""
    try:
        return tuple(shlex.split(command) if isinstance(command, str) else map(str, list_argument("command", command)))
    except ValueError as error:
        raise UsageError(
            f"guard {name!r}: command {command!r} can't be split: {error}", hint="close its quotes, or give a list"
        ) from None


def missing_variable(url: str) -> str:
    """A variable of the environment that a webhook names and that is not set; empty if all are."""
    return next((found[1] for found in _VARIABLE.finditer(url) if found[1] not in os.environ), "")


def _checked_url(url: str, name: str) -> str:
    """The URL of a webhook, with its environment variables, which is a secret from now on."""
    if not url:
        return ""
    missing = missing_variable(url)
    if missing:
        raise UsageError(f"guard {name!r}: its webhook needs the variable {missing}", hint=f"set {missing}")
    whole = _VARIABLE.sub(lambda found: os.environ[found[1]], url)
    remember(whole)
    try:
        parts = urlsplit(whole)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"guard {name!r}: its webhook is not an http or https URL", hint="write https://HOST/PATH")
    secret = f"{parts.path}?{parts.query}" if parts.query else parts.path
    remember(secret.strip("/"))
    return whole


def as_guards(guards: Guard | str | Sequence[Guard | str]) -> list[Guard]:
    """Guards from guards and conditions.

    Raises:
        UsageError: a condition is not understood, or two guards have one name.
    """
    if not isinstance(guards, (Guard, str, list, tuple)):
        kind = type(guards).__name__
        raise UsageError(f"guards is a list of rules, not {kind}", hint='for example: guards=["loss is NaN"]')
    given = [guards] if isinstance(guards, (Guard, str)) else guards
    found = [one if isinstance(one, Guard) else Guard(one) for one in given]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two guards are called {name!r}", hint="give each a name of its own")
    return found


def with_settings(guard: Guard | str, settings: Mapping[str, Any]) -> Guard:
    """A guard, with more settings.

    Raises:
        UsageError: there is no such setting, or it is invalid.
    """
    for name in settings:
        if name not in _SETTINGS:
            raise UsageError(f"a guard has no setting {name!r}", hint=f"one of {', '.join(_SETTINGS)}")
    if isinstance(guard, Guard):
        return replace(guard, **settings) if settings else guard
    return Guard(guard, **settings)


def to_record(guard: Guard) -> dict[str, Any]:
    """A guard as JSON, for a process that watches."""
    return {
        "when": guard.when,
        "name": guard.name,
        "stop": guard.stop,
        "tag": guard.tag,
        "command": list(guard.command),
        "webhook": guard.webhook,
        "experiments": list(guard.experiments),
    }


def from_record(record: Mapping[str, Any]) -> Guard:
    """The guard again."""
    return Guard(**record)
