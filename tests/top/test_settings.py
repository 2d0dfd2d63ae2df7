"""What is remembered, and what becomes of a settings file that makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.top.settings import (
    Settings,
    StoreSettings,
    has_dark_background,
    load_settings,
    save_settings,
    settings_path,
)


def test_what_was_chosen_is_kept_for_the_next_time_and_belongs_to_its_store_but_for_the_looks(tmp_path: Path) -> None:
    path = tmp_path / "new" / "top.json"
    looks = StoreSettings(axis="metric", x_metric="epoch", log_y=True, smoothing=0.9, pane="log")
    chosen = Settings(dark=False, columns=2, store=looks)
    chosen.store.filter, chosen.store.pins, chosen.store.colours = "seed", ["a" * 32], {"a" * 32: 3}
    save_settings(path, "one", chosen)
    save_settings(path, "two", load_settings(path, "two"))
    assert load_settings(path, "one") == chosen
    other = load_settings(path, "two")
    assert (other.dark, other.columns, other.store) == (False, 2, StoreSettings())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        '{"axis": 3, "smoothing": "much", "dark": 1, "stores": []}',
        '{"stores": {"one": {"axis": "metric"}}}',
        "[" * 100_000,
    ],
)
def test_a_file_that_makes_no_sense_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "top.json"
    path.write_text(text)
    assert load_settings(path, "one") == Settings()


def test_values_out_of_range_are_put_right(tmp_path: Path) -> None:
    path = tmp_path / "top.json"
    path.write_text(json.dumps({"stores": {"one": {"smoothing": 7, "pins": [1] * 99, "colours": {"a": "b", "c": 2}}}}))
    found = load_settings(path, "one")
    assert (found.store.smoothing, len(found.store.pins), found.store.colours) == (0.99, 50, {"c": 2})


def test_a_folder_that_can_not_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save_settings(tmp_path / "file" / "top.json", "one", Settings())
    save_settings(None, "one", Settings())


def test_the_file_is_in_the_folder_for_settings(tmp_path: Path) -> None:
    assert settings_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "mltrack" / "top.json"


def test_a_terminal_may_say_that_its_background_is_light() -> None:
    assert [has_dark_background({"COLORFGBG": text}) for text in ("0;15", "15;0", "0;default;15", "")] == [
        False,
        True,
        False,
        True,
    ]
