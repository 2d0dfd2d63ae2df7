"""wandb's Python interface onto mltrack: ``import mltrack.wandb as wandb``, and the script records into the store.

What wandb has and this has not raises an UnsupportedError that says what to use; docs/wandb.md lists every name.
"""

from __future__ import annotations

import sys
from importlib import import_module as _import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mltrack.text.printing import say as _say
from mltrack.wandb import current as _current
from mltrack.wandb import errors, plot
from mltrack.wandb.artifact_type import Artifact
from mltrack.wandb.errors import AuthenticationError, CommError, Error, UnsupportedError, UsageError
from mltrack.wandb.image_overlays import Classes
from mltrack.wandb.media_types import Audio, Histogram, Html, Image, Molecule, Object3D, Plotly, Video
from mltrack.wandb.modules import Finder as _Finder
from mltrack.wandb.notices import inform as _inform
from mltrack.wandb.plot import plot_table
from mltrack.wandb.refused import refuse as _refuse
from mltrack.wandb.run_config import Config
from mltrack.wandb.settings import Settings
from mltrack.wandb.starting import finish, generate_id, init
from mltrack.wandb.table_type import Table
from mltrack.wandb.wandb_run import AlertLevel, Run

__all__ = [
    "AlertLevel",
    "Artifact",
    "Audio",
    "AuthenticationError",
    "Classes",
    "CommError",
    "Config",
    "Error",
    "Histogram",
    "Html",
    "Image",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Table",
    "UnsupportedError",
    "UsageError",
    "Video",
    "errors",
    "finish",
    "init",
    "join",
    "login",
    "plot",
    "plot_table",
    "require",
    "setup",
    "teardown",
    "termerror",
    "termlog",
    "termwarn",
    "util",
]

__version__ = "0.31.0"
"""The version of wandb that it follows."""

join = finish


def login(*_: Any, **__: Any) -> bool:
    """Nothing to do: runs are kept in a store on this machine."""
    _inform("login is not needed: runs are recorded into the store on this machine")
    return True


def require(requirement: Any = None, experiment: Any = None) -> None:
    """Nothing to do: it switches wandb's own code."""


def setup(settings: Any = None) -> None:
    """Nothing to do: there is no process to start."""


def teardown(exit_code: int | None = None) -> None:
    """End the current run."""
    finish(exit_code)


def termlog(string: str = "", newline: bool = True, repeat: bool = True) -> None:
    """Say something on stderr."""
    _say(f"wandb: {string}", err=True)


def termwarn(string: str = "", newline: bool = True, repeat: bool = True) -> None:
    """The same, as a warning."""
    _say(f"wandb: WARNING {string}", err=True)


def termerror(string: str = "", newline: bool = True, repeat: bool = True) -> None:
    """The same, as an error."""
    _say(f"wandb: ERROR {string}", err=True)


class _Util(SimpleNamespace):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _refuse(f"util.{name}")


util = _Util(generate_id=generate_id)
"""Of wandb.util only ``generate_id``."""

_OF_RUN = (
    "alert",
    "define_metric",
    "link_artifact",
    "link_model",
    "log",
    "log_artifact",
    "log_code",
    "log_model",
    "mark_preempting",
    "save",
    "unwatch",
    "use_artifact",
    "use_model",
    "watch",
)
"""Functions that are methods of the current run."""


class _BeforeInit:
    """What ``wandb.config`` and ``wandb.summary`` are without a run."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _current.need(f"{self._name}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        _current.need(f"{self._name}.{name}")

    def __getitem__(self, key: str) -> Any:
        _current.need(f"{self._name}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        _current.need(f"{self._name}[{key!r}]")


def _method(name: str) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        return getattr(_current.need(f"wandb.{name}()"), name)(*args, **options)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"``Run.{name}`` of the current run."
    return call


_methods = {name: _method(name) for name in _OF_RUN}


if TYPE_CHECKING:  # what a checker knows of; a name that is not here is a mistake
    from mltrack.wandb.run_summary import Summary as _Summary

    run: Run | None
    config: Config
    summary: _Summary
    _run = init()  # never called: says of which class its methods are
    alert = _run.alert
    define_metric = _run.define_metric
    link_artifact = _run.link_artifact
    link_model = _run.link_model
    log = _run.log
    log_artifact = _run.log_artifact
    log_code = _run.log_code
    log_model = _run.log_model
    mark_preempting = _run.mark_preempting
    save = _run.save
    unwatch = _run.unwatch
    use_artifact = _run.use_artifact
    use_model = _run.use_model
    watch = _run.watch
else:

    def __getattr__(name: str) -> Any:
        run = _current.current()
        if name == "run":
            return run
        if name in ("config", "summary"):
            return _BeforeInit(f"wandb.{name}") if run is None else getattr(run, name)
        if name in _methods:
            return _methods[name]
        if name == "data_types":
            return sys.modules[__name__]
        if name == "sklearn":  # as in wandb, without an import of it
            return _import_module("mltrack.wandb.integration.sklearn")
        if name == "sdk":  # as in annotations: wandb.sdk.wandb_run.Run
            for inner in ("wandb_run", "data_types"):
                _import_module(f"{__name__}.sdk.{inner}")
            return sys.modules[f"{__name__}.sdk"]
        if name.startswith("_"):
            raise AttributeError(name)
        raise _refuse(name)


def _forget_replaced() -> None:
    """A program that assigned ``wandb.config`` finds the run's again after ``init``, as with wandb."""
    for name in ("run", "config", "summary"):
        globals().pop(name, None)


_current.listeners.append(_forget_replaced)
sys.meta_path.append(_Finder(__name__))
