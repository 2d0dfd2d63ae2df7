"""Sources for the suite that every importer passes: how one is made, extended, changed in one point, and torn."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tests.support import (
    aim_sources,
    clearml_sources,
    comet_sources,
    dvclive_sources,
    event_sources,
    neptune_sources,
    swanlab_sources,
    trackio_sources,
    wandb_sources,
)
from tests.support.sources import unpack

__all__ = ["CASES", "ImportCase"]


@dataclass(frozen=True, slots=True)
class ImportCase:
    """A kind of source.

    Attributes:
        kind: The importer's name.
        make: Makes a source in a folder that exists, and returns its path; always the same.
        extend: Adds points to a run that the source has.
        plant: Changes one number that was imported.
        tear: Damages one record in the middle or at the end of a file; returns words that name the place.
        points: How many points the source has.
    """

    kind: str
    make: Callable[[Path], Path]
    extend: Callable[[Path], None]
    plant: Callable[[Path], None]
    tear: Callable[[Path], str]
    points: int

    def __str__(self) -> str:
        return self.kind


def change(path: Path, old: str, new: str) -> None:
    """Replace a text that is in a file once or more, at its first place."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def add(path: Path, text: str) -> None:
    """Append to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


# --- tables ---


def _make_lightning(folder: Path) -> Path:
    source = folder / "lightning_logs"
    for version in range(3):
        run = source / f"version_{version}"
        (run / "checkpoints").mkdir(parents=True)
        (run / "hparams.yaml").write_text("lr: 0.1\nmodel:\n  depth: 3\n")
        (run / "checkpoints" / "last.ckpt").write_bytes(bytes(range(256)) * 40)
        rows = [
            f"{step // 100},{1 / (step + version + 1)!r},{step},{'nan' if step % 10 == 0 else ''}"
            for step in range(2_000)
        ]
        (run / "metrics.csv").write_text("\n".join(["epoch,loss,step,val", *rows, ""]))
    return source


def _tear_lightning(source: Path) -> str:
    path = source / "version_1" / "metrics.csv"
    lines = path.read_text().splitlines()
    lines[500] = lines[500][:3]
    path.write_text("\n".join([*lines, ""]))
    return "version_1/metrics.csv: line 501"


LIGHTNING = ImportCase(
    "csv",
    _make_lightning,
    lambda source: add(source / "version_0" / "metrics.csv", "20,0.25,2000,\n"),
    lambda source: change(source / "version_2" / "metrics.csv", "0.25,1,", "0.75,1,"),
    _tear_lightning,
    3 * (2 * 2_000 + 200),
)

# --- MLflow's folder and database ---


def _loss(source: Path) -> Path:
    """The metric ``loss`` of the run that has everything."""
    return max(source.rglob("metrics/loss"), key=lambda path: path.stat().st_size)


def _tear_mlruns(source: Path) -> str:
    path = _loss(source)
    lines = path.read_text().splitlines()
    lines[20] = lines[20][:14]
    path.write_text("\n".join([*lines, ""]))
    return f"{path.relative_to(source).as_posix()}: line 21 is torn"


MLRUNS = ImportCase(
    "mlruns",
    lambda folder: unpack("mlflow-3.12.0-mlruns", folder),
    lambda source: add(_loss(source), "1700000040000 0.0125 40\n"),
    lambda source: change(_loss(source), " 0.25 3\n", " 0.75 3\n"),
    _tear_mlruns,
    53,
)


def changed_rows(source: Path, statement: str) -> None:
    """Change a database."""
    with contextlib.closing(sqlite3.connect(source)) as con:
        con.execute(statement)
        con.commit()


FIRST_RUN = "(SELECT run_uuid FROM params WHERE key = 'lr')"
LOSS_OF_FIRST = f"key = 'loss' AND run_uuid = {FIRST_RUN}"


def _tear_database(source: Path) -> str:
    changed_rows(
        source, f"UPDATE metrics SET value = 'torn' WHERE key = 'loss' AND step = 7 AND run_uuid = {FIRST_RUN}"
    )
    return "a point that is not one: 'loss', 'torn'"


DATABASE = ImportCase(
    "mlflow-db",
    lambda folder: unpack("mlflow-3.17.2-sqlite", folder),
    lambda source: changed_rows(
        source, f"INSERT INTO metrics VALUES ('loss', 0.0125, 1700000040000, {FIRST_RUN}, 40, 0)"
    ),
    lambda source: changed_rows(source, f"UPDATE metrics SET value = 0.75 WHERE {LOSS_OF_FIRST} AND step = 3"),
    _tear_database,
    53,
)

# --- event files ---


def _events_of(source: Path) -> Path:
    return min((source / "torch").glob("events.*"))


def _extend_events(source: Path) -> None:
    last = max((source / "torch").glob("events.*"))
    last.write_bytes(last.read_bytes() + event_sources.scalar("train/loss", 0.25, 99))


def _plant_in_events(source: Path) -> None:
    path = max((source / "x").glob("events.*"))
    data = path.read_bytes()
    start, end = next((start, end) for start, end in event_sources.frames(data) if b"train/loss" in data[start:end])
    changed = data[start : end - 4] + struct.pack("<f", 0.75)
    path.write_bytes(data[: start - 12] + event_sources.record(changed) + data[end + 4 :])


def _tear_events(source: Path) -> str:
    path = _events_of(source)
    data = bytearray(path.read_bytes())
    start, _ = event_sources.frames(data)[100]
    data[start + 1] ^= 1
    path.write_bytes(data)
    return f"torch/{path.name}: byte {start - 12:,}"


EVENTS = ImportCase("tfevents", event_sources.unpack, _extend_events, _plant_in_events, _tear_events, 1_409)

# --- wandb's folders ---


def _wandb_log(source: Path, folder: str) -> Path:
    """The file in the folder that ends so."""
    return next(source.glob(f"*{folder}/*.wandb"))


LOSS_OF_WANDB = b"loss\x82\x01\x030.5"


def _extend_wandb(source: Path) -> None:
    path = _wandb_log(source, "def67890-1")
    record = wandb_sources.history(100, loss="0.25")
    path.write_bytes(path.read_bytes() + wandb_sources.frame(1, record))


def _plant_in_wandb(source: Path) -> None:
    path = _wandb_log(source, "abc12345")
    data = path.read_bytes()
    for start, end, kind in wandb_sources.fragments(data):
        content = data[start + 7 : end]
        if kind == 1 and wandb_sources.is_history(content) and LOSS_OF_WANDB in content:
            changed = content.replace(LOSS_OF_WANDB, LOSS_OF_WANDB[:-1] + b"7")
            path.write_bytes(data[:start] + wandb_sources.frame(1, changed) + data[end:])
            return


def _tear_wandb(source: Path) -> str:
    path = _wandb_log(source, "def67890")
    data = bytearray(path.read_bytes())
    start, end, _ = wandb_sources.fragments(data)[-10]
    data[end - 1] ^= 1
    path.write_bytes(data)
    return f"{path.relative_to(source).as_posix()}: byte {start:,}"


WANDB = ImportCase("wandb", wandb_sources.unpack, _extend_wandb, _plant_in_wandb, _tear_wandb, 1_029)

# --- trackio's folder ---


def _tear_trackio(source: Path) -> str:
    path = max((source / "inbox").glob("*/*.jsonl"), key=lambda path: path.stat().st_size)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:20], lines[20][:60] + "\n", *lines[21:]]))
    return f"{path.relative_to(source).as_posix()}: line 21: not JSON"


TRACKIO = ImportCase(
    "trackio",
    trackio_sources.unpack,
    lambda source: changed_rows(
        source / "otherproject.db",
        "INSERT INTO metrics (run_id, run_name, timestamp, step, metrics)"
        " SELECT run_id, run_name, timestamp, 300, '{\"loss\": 0.25}' FROM metrics LIMIT 1",
    ),
    lambda source: changed_rows(
        source / "otherproject.db", "UPDATE metrics SET metrics = '{\"loss\": 7}' WHERE step = 20"
    ),
    _tear_trackio,
    581,
)

# --- neptune-exporter's Parquet ---


def _make_neptune(folder: Path) -> Path:
    source = neptune_sources.unpack(folder)
    for path in source.rglob("*.tmp"):
        path.unlink()  # a run that was not exported to its end, which is always named
    return source


def _extend_neptune(source: Path) -> None:
    table = neptune_sources.part(source, "parts", 3)
    rows = neptune_sources.changed(table.slice(0, 1), "step", lambda step: Decimal("77.000000"))
    neptune_sources.write_part(source, "parts", 4, rows)


def _plant_in_neptune(source: Path) -> None:
    table = neptune_sources.part(source, "parts", 2)
    numbers = iter(range(1_000))
    changed = neptune_sources.changed(table, "float_value", lambda value: 7.0 if next(numbers) == 3 else value)
    neptune_sources.write_part(source, "parts", 2, changed)


def _tear_neptune(source: Path) -> str:
    table = neptune_sources.part(source, "parts", 1)
    changed = neptune_sources.changed(table, "step", lambda step: None if step == 7 else step)
    neptune_sources.write_part(source, "parts", 1, changed)
    return "without a step: 1 point"


NEPTUNE = ImportCase("neptune", _make_neptune, _extend_neptune, _plant_in_neptune, _tear_neptune, 354)

# --- DVCLive's folder ---


def _tear_dvclive(source: Path) -> str:
    path = source / "plots" / "metrics" / "loss.tsv"
    lines = path.read_text().splitlines()
    lines[50] = lines[50][:1]
    path.write_text("\n".join([*lines, ""]))
    return "dvclive/plots/metrics/loss.tsv: line 51 is torn"


DVCLIVE = ImportCase(
    "dvclive",
    dvclive_sources.unpack,
    lambda source: add(source / "plots" / "metrics" / "loss.tsv", "100\t0.25\n"),
    lambda source: change(source / "plots" / "metrics" / "loss.tsv", "3\t0.25", "3\t0.75"),
    _tear_dvclive,
    214,
)

# --- SwanLab's folder ---


def _change_swanlab(source: Path, damage: bool) -> int:
    """Change a value of the metric ``loss``, with its checksum or without; returns where its record begins."""
    path, half = swanlab_sources.log_of(source, "second"), struct.pack("<d", 0.5)
    data = path.read_bytes()
    end = data.index(half) + len(half)
    content = data[end - 53 : end - len(half)] + struct.pack("<d", 0.75)
    begun = end - 53 - 7
    changed = data[begun : end - 53] + content if damage else swanlab_sources.record(content)
    path.write_bytes(data[:begun] + changed + data[end:])
    return begun


def _plant_in_swanlab(source: Path) -> None:
    _change_swanlab(source, damage=False)


def _tear_swanlab(source: Path) -> str:
    start = _change_swanlab(source, damage=True)
    path = swanlab_sources.log_of(source, "second")
    return f"{path.relative_to(source).as_posix()}: byte {start:,}: a record is damaged"


SWANLAB = ImportCase(
    "swanlab",
    swanlab_sources.unpack,
    lambda source: swanlab_sources.add_record(
        swanlab_sources.log_of(source, "killed"), swanlab_sources.scalar(b"loss", 99, 0.25)
    ),
    _plant_in_swanlab,
    _tear_swanlab,
    490,
)

# --- Comet's archives ---


def _changed_line(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Messages with a change of the line that has the value 0.5 of ``loss``."""
    lines = data.splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if b'"loss","metricValue":0.5,' in line)
    return b"".join([*lines[:at], change(lines[at]), *lines[at + 1 :]])


def _extend_comet(source: Path) -> None:
    line = comet_sources.message("loss", 0.25, 500)
    comet_sources.change_messages(
        comet_sources.archive_of(source, comet_sources.SECOND), lambda data: b"".join([data, line])
    )


def _plant_in_comet(source: Path) -> None:
    comet_sources.change_messages(
        comet_sources.archive_of(source, comet_sources.FIRST),
        lambda data: _changed_line(data, lambda line: line.replace(b":0.5,", b":0.75,")),
    )


def _tear_comet(source: Path) -> str:
    comet_sources.change_messages(
        comet_sources.archive_of(source, comet_sources.FIRST),
        lambda data: _changed_line(data, lambda line: line[:40] + b"\n"),
    )
    return f"{comet_sources.FIRST}.zip: messages.json: line "


COMET = ImportCase("comet", comet_sources.unpack, _extend_comet, _plant_in_comet, _tear_comet, 489)

# --- ClearML's offline sessions ---


def _clearml_events(source: Path) -> Path:
    return clearml_sources.folder_of(source) / "metrics.jsonl"


def _extend_clearml(source: Path) -> None:
    path = _clearml_events(source)
    add(path, clearml_sources.event(path.parent.name, iter=500, value=0.25))


def _tear_clearml(source: Path) -> str:
    path = _clearml_events(source)
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:100]
    path.write_text("\n".join([*lines, ""]))
    return f"{path.parent.name}: metrics.jsonl: line 2: not JSON"


CLEARML = ImportCase(
    "clearml",
    clearml_sources.unpack,
    _extend_clearml,
    lambda source: change(_clearml_events(source), '"value": 0.5,', '"value": 0.75,'),
    _tear_clearml,
    254,
)

# --- aim's repository ---


def _tear_aim(source: Path) -> str:
    key, _ = next(aim_sources.numbers(source, "killed"))
    aim_sources.put(source, "killed", {(*key[:-2], "step", key[-1]): aim_sources.number(0.5)})
    return f"run {aim_sources.run_of(source, 'killed')}: 'loss': 1 numbers without a whole step"


def _plant_in_aim(source: Path) -> None:
    """Change the first number of a metric, wherever it is."""
    key, _ = next(aim_sources.numbers(source, "second"))
    aim_sources.put(source, "second", {key: aim_sources.number(0.75)})


AIM = ImportCase(
    "aim",
    aim_sources.unpack,
    lambda source: aim_sources.add_point(source, "killed", 7, 99, 0.25),
    _plant_in_aim,
    _tear_aim,
    968,
)

CASES = [LIGHTNING, MLRUNS, DATABASE, EVENTS, WANDB, TRACKIO, NEPTUNE, DVCLIVE, SWANLAB, COMET, CLEARML, AIM]
