"""What `mltrack top` remembers: theme and widths, and for each store what was chosen to look at, pins and colours."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, read_small
from mltrack.disk.user_folder import settings_folder
from mltrack.top.view import AXES, METRIC, STEP, Axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Settings", "StoreSettings", "has_dark_background", "load_settings", "save_settings", "settings_path"]

STORES_MAX = 50
PINS_MAX = 50
COLORS_MAX = 1_000


@dataclass(slots=True)
class StoreSettings:
    """What is remembered of one store. ``pins`` are run ids, ``colours`` numbers in the palette by run id."""

    filter: str = ""
    metrics: str = ""
    group_by: str = "experiment"
    pins: list[str] = field(default_factory=list)
    colours: dict[str, int] = field(default_factory=dict)
    axis: str = STEP
    x_metric: str = ""
    log_y: bool = False
    smoothing: float = 0.0
    pane: str = "charts"

    @property
    def x(self) -> Axis:
        """The x axis."""
        return Axis(self.axis, self.x_metric if self.axis == METRIC else "")


@dataclass(slots=True)
class Settings:
    """What is remembered of all stores, and of the one that is shown."""

    dark: bool | None = None
    columns: int = 0
    tree_width: int = 0
    store: StoreSettings = field(default_factory=StoreSettings)


def settings_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """``top.json`` in the folder of the user's settings; None for a user without a home folder."""
    folder = settings_folder(environ)
    return None if folder is None else folder / "top.json"


def has_dark_background(environ: Mapping[str, str] = os.environ) -> bool:
    """What terminals say of their background in COLORFGBG, where they do; most are dark."""
    return environ.get("COLORFGBG", "").rpartition(";")[2] not in ("7", "15")


def load_settings(path: Path | None, store_id: str) -> Settings:
    """The settings for a store; what is missing, or makes no sense, is as at first."""
    kept = _read(path)
    settings = Settings()
    _take(settings, kept, skip=("store",))
    stores = kept.get("stores")
    if isinstance(stores, dict) and isinstance(stores.get(store_id), dict):
        _take(settings.store, stores[store_id])
    mine = settings.store
    if mine.axis not in (*AXES, METRIC) or (mine.axis == METRIC and not mine.x_metric):
        mine.axis = STEP
    mine.smoothing = min(max(mine.smoothing, 0.0), 0.99)
    mine.pins = [str(pin) for pin in mine.pins][:PINS_MAX]
    mine.colours = {key: value for key, value in mine.colours.items() if type(value) is int}
    return settings


def save_settings(path: Path | None, store_id: str, settings: Settings) -> None:
    """Write them; where the disk does not take that, they are not remembered."""
    if path is None:
        return
    kept = _read(path)
    stores = kept.get("stores")
    others = {key: value for key, value in stores.items() if key != store_id} if isinstance(stores, dict) else {}
    recent = dict(list(others.items())[-(STORES_MAX - 1) :])
    mine = asdict(settings.store)
    mine["pins"] = settings.store.pins[-PINS_MAX:]
    mine["colours"] = dict(list(settings.store.colours.items())[-COLORS_MAX:])
    whole = {**asdict(settings), "stores": {**recent, store_id: mine}}
    del whole["store"]
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        LOCAL.publish_bytes(path, json.dumps(whole, indent=1).encode())


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        kept = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _take(settings: Settings | StoreSettings, kept: Mapping[str, Any], skip: tuple[str, ...] = ()) -> None:
    """Take values that are of the kind that is expected."""
    for each in fields(settings):
        value = kept.get(each.name)
        now = getattr(settings, each.name)
        if each.name in skip or value is None:
            continue
        fits = type(value) is type(now) or (isinstance(now, float) and isinstance(value, int))
        if fits or (each.name == "dark" and isinstance(value, bool)):
            setattr(settings, each.name, float(value) if isinstance(now, float) else value)
