"""What is not here says so and what to use, whichever way it is reached; the page lists every name."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from typing import Any

import pytest

import mltrack
import mltrack.wandb as wandb
from mltrack.wandb.errors import UnsupportedError, UnsupportedImportError
from mltrack.wandb.install import CHILDREN
from mltrack.wandb.refused import MODULES, NAMES
from tests.support import ROOT


@pytest.mark.parametrize("name", sorted({*NAMES, *MODULES} - {"upsert_artifact", "finish_artifact", "log_graph"}))
def test_a_name_that_is_not_here_says_what_to_use(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        getattr(wandb, name)
    assert name in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("options", [{"sync_tensorboard": True}, {"monitor_gym": True}])
def test_arguments_of_init_that_are_not_here_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        wandb.init(project="p", **options)


@pytest.mark.parametrize("name", ["fastai", "integration.sacred", "sdk.internal", "data_types.other"])
def test_a_module_that_is_not_here_says_what_to_use_under_its_name_here(name: str) -> None:
    with pytest.raises(UnsupportedImportError, match=rf"mltrack\.wandb has no module wandb\.{re.escape(name)}"):
        importlib.import_module(f"mltrack.wandb.{name}")
    assert importlib.import_module("mltrack.wandb.sdk.wandb_run").Run is wandb.Run
    assert wandb.sdk.wandb_run.Run is wandb.Run  # type: ignore[attr-defined]
    assert importlib.import_module("mltrack.wandb.data_types").Table is wandb.Table


def test_libraries_find_a_version_of_wandb_that_this_stands_for() -> None:
    [found] = importlib.metadata.distributions(name="wandb", path=[str(CHILDREN)])
    assert found.version == wandb.__version__


def test_a_run_has_no_silent_methods() -> None:
    run = wandb.init(project="p", mode="disabled")
    with pytest.raises(UnsupportedError, match=r"Run\.restore"):
        run.restore("file")  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError, match=r"Run\.something_new"):
        run.something_new()  # type: ignore[attr-defined]
    run.finish()


def test_helpers_of_wandb_are_not_pretended() -> None:
    assert re.fullmatch(r"[a-z0-9]{8}", wandb.util.generate_id())
    with pytest.raises(UnsupportedError, match=r"util\.to_json"):
        wandb.util.to_json  # noqa: B018  # that is what is tried
    with pytest.raises(UnsupportedError, match=r"plot\.violin"):
        wandb.plot.violin  # noqa: B018  # that is what is tried


def test_hints_name_what_exists() -> None:
    hints = " ".join([*NAMES.values(), *MODULES.values()])
    for name in re.findall(r"mltrack\.([a-z_.]+[a-z])", hints):
        first, _, rest = name.partition(".")
        if first == "integrations":
            assert (ROOT / "src" / "mltrack" / "integrations" / f"{rest.split('.')[0]}.py").is_file()
        else:
            assert first in mltrack.__all__
    for page in re.findall(r"docs/[a-z/]+\.md", hints):
        assert (ROOT / page).is_file()


def test_the_page_lists_every_name() -> None:
    page = (ROOT / "docs" / "wandb.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Za-z0-9_.]+)", page))
    missing = [name for name in (*wandb.__all__, *NAMES, *MODULES) if not {name, f"wandb.{name}"} & named]
    assert missing == []


def test_importing_mltrack_does_not_import_it() -> None:
    program = "import sys, mltrack; mltrack.start_run; sys.exit(any('wandb' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
