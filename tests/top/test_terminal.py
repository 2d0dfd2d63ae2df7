"""The program in a real terminal, at 80 and at 200 columns: what its user sees."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack.top.settings import load_settings
from tests.support.pixel_terminal import pixel_terminal
from tests.support.tmux import Terminal, terminal
from tests.support.written_runs import write_run

pytestmark = pytest.mark.slow

NOW_MS = 1_700_000_000_000

BLOCK = "▀".encode()

SNAPSHOTS = Path(__file__).parent / "snapshots"
"""Screens as text; delete one and run the test to write it again, then look at it."""


@pytest.fixture
def watched(empty_store: Store) -> Store:
    """A sweep of six runs with four metrics, and a run of another experiment."""
    for number in range(6):
        curve = [(step, 2.0 ** (-step / (10 + 5 * number))) for step in range(100)]
        metrics = {
            "loss": curve,
            "accuracy": [(step, 1 - value / 2) for step, value in curve],
            "lr": [(0, 0.1), (50, 0.01)],
            "system/cpu": [(step, 50.0 + step % 7) for step in range(30)],
        }
        params = {"lr": str(number % 2), "layers": str(number)}
        start = NOW_MS + number * 1_000
        write_run(
            empty_store, name=f"seed-{number}", params=params, metrics=metrics, start_ms=start, end_ms=start + 65_000
        )
    write_run(
        empty_store, name="other", experiment=("1", "digits"), metrics={"loss": [(0, 1.0)]}, start_ms=NOW_MS - 9_000
    )
    return empty_store


@contextmanager
def top(store: Store, tmp_path: Path, width: int, height: int, **variables: str) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path), "top"]
    given = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "TERM": "screen-256color", **variables}
    with terminal(command, width, height, given) as window:
        yield window


def stable(screen: str) -> str:
    """Without what differs each time: the store's path, ages."""
    text = re.sub(r"  /.*", "  STORE", screen, count=1)
    text = re.sub(r"\d{4} d ✓", "AGED d ✓", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_the_first_screen_is_as_it_was(watched: Store, tmp_path: Path, width: int, height: int) -> None:
    with top(watched, tmp_path, width, height) as window:
        kept = SNAPSHOTS / f"first-{width}x{height}.txt"
        if not kept.exists():
            shown = window.wait_for(lambda screen: "accuracy ●" in screen and "7 runs" in screen, still_s=3.0)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(stable(shown), encoding="utf-8")
        window.wait_for(lambda screen: stable(screen) == kept.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_keys_do_what_they_say(watched: Store, tmp_path: Path, width: int, height: int) -> None:
    with top(watched, tmp_path, width, height) as window:
        window.wait_for(lambda screen: "accuracy ●" in screen)
        window.press("g")
        window.wait_for(lambda screen: "group:" in screen)
        window.press(*"params.lr", "Enter")
        window.wait_for(lambda screen: "▾ 0 " in screen and "▾ 1 " in screen)
        window.press("/")
        window.wait_for(lambda screen: "filter:" in screen)
        window.press(*"/seed-[135]/", "Enter")
        window.wait_for(lambda screen: "seed-4" not in screen and "seed-5" in screen)
        window.press("Down", "Space")
        window.wait_for(lambda screen: "◆ seed-5" in screen)
        window.press("Tab", "Enter", "Left", "Left")
        window.wait_for(lambda screen: re.search(r"● seed-5 +0\.9\d+", screen) is not None)
        window.press("2")
        window.wait_for(lambda screen: "system/cpu" in screen)
        window.press("3")
        window.wait_for(lambda screen: re.search(r"layers +5", screen) is not None)
        window.press("q")
        window.wait_for(lambda screen: "exit code 0" in screen)
    with top(watched, tmp_path, width, height) as window:  # all of that is remembered
        shown = window.wait_for(lambda screen: "◆ seed-5" in screen and "layers" in screen)
        assert "seed-4" not in shown


def test_the_mouse_chooses_runs_and_panes(watched: Store, tmp_path: Path) -> None:
    with top(watched, tmp_path, 80, 24) as window:
        shown = window.wait_for(lambda screen: "accuracy ●" in screen and "7 runs" in screen)
        lines = shown.splitlines()
        row = next(at for at, line in enumerate(lines) if "seed-2" in line)
        window.click(8, row)
        window.wait_for(lambda screen: "● seed-2" in screen and "● seed-5" not in screen)
        window.click(lines[1].index("3 Run") + 1, 1)
        window.wait_for(lambda screen: re.search(r"layers +2", screen) is not None)


def test_a_terminal_that_goes_away_ends_the_program_and_what_was_chosen_is_kept(watched: Store, tmp_path: Path) -> None:
    with top(watched, tmp_path, 80, 24) as window:
        window.wait_for(lambda screen: "accuracy ●" in screen)
        window.press("l")
        window.wait_for(lambda screen: "log y" in screen)
        parent = int(window.tmux("list-panes", "-F", "#{pane_pid}"))
        (program,) = psutil.Process(parent).children()
    program.wait(20)
    assert load_settings(tmp_path / "config" / "mltrack" / "top.json", watched.store_id).store.log_y


def test_a_live_run_grows_and_its_log_is_shown(tmp_path: Path) -> None:
    code = "import mltrack, time\n" + (
        "for step in range(3000):\n"
        "    mltrack.log_metric('loss', 1 / (step + 1), step)\n"
        "    print(f'at step {step}', flush=True)\n"
        "    time.sleep(0.02)\n"
    )
    store = Store.create(tmp_path / ".mltrack")
    (tmp_path / "train.py").write_text(code)
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path), "run", "--", sys.executable, "train.py"]
    training = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with top(store, tmp_path, 80, 24) as window:
            window.wait_for(lambda screen: "1 live" in screen and "loss ●" in screen)
            window.press("4")
            first = window.wait_for(lambda screen: "at step " in screen)
            last = max(map(int, re.findall(r"at step (\d+)", first)))
            window.wait_for(lambda screen: any(int(step) > last for step in re.findall(r"at step (\d+)", screen)))
    finally:
        training.terminate()
        training.wait(60)


def test_no_color_has_no_colours_and_names_can_not_steer_the_terminal(empty_store: Store, tmp_path: Path) -> None:
    write_run(empty_store, name="evil\x1b[31m\x1b]0;title\x07", metrics={"loss\x1b[2J": [(0, 1.0), (1, 2.0)]})
    with top(empty_store, tmp_path, 80, 24, NO_COLOR="1") as window:
        window.wait_for(lambda screen: r"evil\x1b[31m" in screen and r"loss\x1b[2J" in screen)
        colours = re.findall(r"\x1b\[[0-9;]*?[34]8;2;(\d+);(\d+);(\d+)", window.screen(styled=True))
        assert all(red == green == blue for red, green, blue in colours)


@pytest.mark.parametrize(("sixels", "begins"), [(True, b"\x1bP0;0;0q"), (False, b",f=100")])
def test_a_terminal_that_can_show_images_gets_their_pixels(tmp_path: Path, sixels: bool, begins: bytes) -> None:
    """Sixels begin so; to Kitty a PNG is sent, format 100."""
    import numpy as np

    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run() as run:
        run.log_image(np.full((32, 32, 3), 200, np.uint8), "red.png")
    Store.open(tmp_path / ".mltrack").refresh()
    command = [sys.executable, "-m", "mltrack", "--store", str(tmp_path / ".mltrack"), "top"]
    got = b""
    for _ in range(5):  # textual-image gives the terminal 0.1 s to say what it can; one that is late gets blocks
        with pixel_terminal(command, {"XDG_CONFIG_HOME": str(tmp_path)}, sixels=sixels) as window:
            window.wait_for(b"Images")
            window.press(b"6")
            window.wait_for(b"red.png")
            got = window.wait_for(begins, BLOCK)
        if got == begins:
            break
    assert got == begins
