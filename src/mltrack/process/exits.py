"""What modules do before this process ends: all hooks are registered here, with the stage that they belong to.

An ordinary process calls the handlers of ``atexit``, the last registered first, other libraries' among them. So a stage
has a moment of registration, too. A child of multiprocessing leaves by ``os._exit`` and calls its finalizers only, by
their priority, which is the stage. A process that is killed, or calls ``os._exit``, calls nothing.

What runs end with, and the status of each, is in ending.py; what is done in a forked child is in forks.py.
"""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PACKAGES", "Stage", "after_fork_of_child", "at_exit", "is_child", "not_at_exit", "on_end_of_child"]

PACKAGES = ("multiprocessing", "multiprocess")  # the latter is a copy of the former that pickles by dill


class Stage(IntEnum):
    """In which order hooks run: the reverse of the order of layers, so that a hook may use what is below it."""

    PLUGIN = 400
    """Runs that MLflow's plugin has open. Registered before MLflow registers what ends its active run: called after
    that, so that it finds only runs that nobody ended."""

    RECORDING = 300
    """Active runs end, other runs are closed. Registered when there is one: called before what libraries registered by
    then, as their handlers may wait for long. Whether it or PLUGIN goes first doesn't matter: their runs are others."""

    JOURNAL = 200
    """In children only: recorders of the parent's runs, which the child does not end."""

    STORAGE = 100
    """Writers of traces. Called last of all, whenever it was registered: queues that are emptied at exit append to
    them."""


_LAST: list[Callable[[], object]] = []


def at_exit(stage: Stage, hook: Callable[[], object]) -> None:
    """Call the hook when the interpreter exits; see Stage for when."""
    if stage is Stage.STORAGE:
        _LAST.append(hook)
    else:
        atexit.register(hook)


def not_at_exit(hook: Callable[[], object]) -> None:
    """Forget a hook of any stage but STORAGE."""
    atexit.unregister(hook)


def on_end_of_child(stage: Stage, hook: Callable[[], object]) -> list[Any]:
    """In a child of multiprocessing: call the hook at its end. Returns what cancels that by its ``cancel``."""
    return [util.Finalize(None, hook, exitpriority=int(stage)) for util in _utils_of_children()]


def after_fork_of_child(held: Any, prepare: Callable[[Any], object]) -> None:
    """In a forked child: call ``prepare(held)`` once multiprocessing has forgotten its parent's finalizers."""
    for package in PACKAGES:
        util = sys.modules.get(f"{package}.util")
        if util is not None:
            util.register_after_fork(held, prepare)


def is_child() -> bool:
    """Whether multiprocessing started this process, so that it does not call ``atexit``."""
    return any(True for _ in _utils_of_children())


def _utils_of_children() -> Iterator[Any]:
    """The modules with finalizers of the packages that this process is a child of."""
    for package in PACKAGES:
        process, util = sys.modules.get(f"{package}.process"), sys.modules.get(f"{package}.util")
        if process is not None and util is not None and process.parent_process() is not None:
            yield util


def _run_last() -> None:
    with ExitStack() as hooks:  # all run though one fails, whose error Python reports; the last registered goes first
        for hook in _LAST:
            hooks.callback(hook)


atexit.register(_run_last)  # before anything of ours, so that it is called after all of it
