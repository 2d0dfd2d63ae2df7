"""Shell completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mltrack.store import Store
from tests.support.command_line import Cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell: str, cli: Cli) -> None:
    said = cli("completion", shell)
    assert said.code == 0
    assert "_MLTRACK_COMPLETE" in said.out


def completed(store: Store, line: str) -> set[str]:
    words = line.split(" ")
    environment = {
        **os.environ,
        "MLTRACK_STORE": str(store.path),
        "_MLTRACK_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from mltrack.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    return {answer.partition(",")[2] for answer in done.stdout.splitlines() if answer}


@pytest.mark.slow
def test_commands_run_names_and_run_ids_are_completed(small_store: Store) -> None:
    run_id = small_store.run("spirals-2").run_id
    assert completed(small_store, "mltrack com") == {"compare", "completion"}
    assert completed(small_store, "mltrack show spi") == {"spirals-1", "spirals-2", "spirals-3"}
    assert completed(small_store, "mltrack restore spi") == set()
    small_store.delete_run(run_id)
    assert completed(small_store, "mltrack restore spi") == {"spirals-2"}
    assert run_id in completed(small_store, f"mltrack show {run_id[:6]}")


def test_without_a_store_nothing_is_completed_and_nothing_is_reported(small_store: Store) -> None:
    (small_store.path / "store.json").unlink()
    assert completed(small_store, "mltrack show spi") == set()


@pytest.mark.slow
def test_names_of_remotes_are_completed(small_store: Store) -> None:
    remotes = small_store.path / "remotes.toml"
    before = remotes.read_bytes() if remotes.exists() else None
    try:
        remotes.write_text('[remotes.lab]\nurl = "http://127.0.0.1:1"\n[remotes.other]\nurl = "http://127.0.0.1:2"\n')
        assert completed(small_store, "mltrack pull la") == {"lab"}
        assert completed(small_store, "mltrack verify ") == {"lab", "other"}
    finally:
        remotes.unlink() if before is None else remotes.write_bytes(before)
