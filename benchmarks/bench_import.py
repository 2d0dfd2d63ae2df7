"""How fast the points of other trackers' files are imported, checked again and compared, and in how much memory.

    python benchmarks/bench_import.py [--points N]

Next to each: a reader that only reads the same points into memory and writes nothing: MLflow's own client, metric by
metric, where it still reads the format, and pandas; TensorBoard's EventAccumulator and its loader of events; wandb's
own class of records; sqlite3 and json for rows of JSON; rocksdict; pyarrow. Promise: at least 300,000 points a second
from text, event files, wandb's files, rows of JSON and databases, 150,000 where each number is a record (SwanLab,
Comet, ClearML, aim), a million from columns (CSV, Parquet), in no more than 400 MB however many points there are. A
rate in points a second of processor time does not depend on what else the machine does; the promise is about this one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, peak_memory, require, row

RUNS, METRICS = 5, 10
START = 1_700_000_000_000
RATE_MIN = {
    "mlruns": 300_000,
    "mlflow.db": 300_000,
    "metrics.csv": 1_000_000,
    "events": 300_000,
    "wandb": 300_000,
    "trackio": 300_000,
    "trackio-parquet": 1_000_000,
    "exports": 1_000_000,
    "dvclive": 300_000,
    "swanlog": 150_000,
    "comet": 150_000,
    "clearml": 150_000,
    ".aim": 150_000,
}
READERS = {
    "metrics.csv": ("pandas",),
    "events": ("accumulator", "loader"),
    "wandb": ("records",),
    "trackio": ("json",),
    "trackio-parquet": ("parquet",),
    "exports": ("parquet",),
    "dvclive": ("pandas",),
    "swanlog": ("swanlab",),
    "comet": ("messages",),
    "clearml": ("json-lines",),
    ".aim": ("rocksdb",),
}
MEMORY_MB_MAX = 400


def write_mlruns(folder: Path, points: int) -> None:
    """MLflow's folder, as its FileStore writes it."""
    import numpy as np

    experiment = folder / "mlruns" / "0"
    experiment.mkdir(parents=True)
    place = (folder / "mlruns").as_uri()
    (experiment / "meta.yaml").write_text(
        f"artifact_location: {place}/0\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n"
    )
    random, count = np.random.default_rng(0), points // RUNS // METRICS
    for number in range(RUNS):
        run_id = f"{number + 0xABCDEF:032x}"
        run = experiment / run_id
        for name in ("metrics", "params", "tags", "artifacts"):
            (run / name).mkdir(parents=True)
        (run / "meta.yaml").write_text(
            f"artifact_uri: {place}/0/{run_id}/artifacts\nend_time: {START + count}\nentry_point_name: ''\n"
            f"experiment_id: '0'\nlifecycle_stage: active\nrun_id: {run_id}\nrun_name: run-{number}\nsource_name: ''\n"
            f"source_type: 4\nsource_version: ''\nstart_time: {START}\nstatus: 3\ntags: []\nuser_id: ada\n"
        )
        for metric in range(METRICS):
            values = random.normal(size=count).tolist()
            lines = (f"{START + step} {value!r} {step}\n" for step, value in enumerate(values))
            (run / "metrics" / f"metric{metric}").write_text("".join(lines))


def write_database(folder: Path, points: int) -> None:
    """MLflow's database: its own tables, with rows of runs that went on at the same time."""
    import numpy as np
    from mlflow import MlflowClient

    path = folder / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    runs = [client.create_run("0", start_time=START, run_name=f"run-{number}") for number in range(RUNS)]
    ids = [run.info.run_id for run in runs]
    for run_id in ids:
        client.set_terminated(run_id, "FINISHED", START + 1)
    random, count = np.random.default_rng(0), points // RUNS // METRICS
    rows = (
        (f"metric{metric}", value, START + step, run_id, step)
        for step in range(count)
        for run_id in ids
        for metric, value in enumerate(random.normal(size=METRICS).tolist())
    )
    con = sqlite3.connect(path)
    con.execute("PRAGMA synchronous = off")
    con.executemany("INSERT INTO metrics (key, value, timestamp, run_uuid, step) VALUES (?, ?, ?, ?, ?)", rows)
    con.execute(
        "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
        " SELECT key, value, timestamp, step, is_nan, run_uuid FROM metrics WHERE step = ?",
        (count - 1,),
    )
    con.commit()
    con.close()


def write_table(folder: Path, points: int) -> None:
    """A table with ten metrics in columns."""
    import numpy as np

    values = np.random.default_rng(0).normal(size=(points // METRICS, METRICS)).tolist()
    with (folder / "metrics.csv").open("w") as file:
        file.write(",".join(["step", *(f"metric{metric}" for metric in range(METRICS))]) + "\n")
        for step, cells in enumerate(values):
            file.write(f"{step},{','.join(map(repr, cells))}\n")


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def write_events(folder: Path, points: int) -> None:
    """Event files as torch writes them: an event for each number."""
    import numpy as np

    from mltrack.importers.tfevents.crc32c import masked_crcs

    values = np.random.default_rng(0).normal(size=(RUNS, points // RUNS // METRICS, METRICS)).astype(np.float32)
    for number, steps in enumerate(values):
        events = [struct.pack("<Bd", 9, START / 1000) + b"\x1a\x0dbrain.Event:2"]
        for step, cells in enumerate(steps.tolist()):
            head = struct.pack("<Bd", 9, START / 1000 + step) + b"\x10" + _varint(step)
            for metric, value in enumerate(cells):
                content = _field(1, b"train/metric%d" % metric) + struct.pack("<Bf", 0x15, value)
                events.append(head + _field(5, _field(1, content)))
        sizes = np.array([len(event) for event in events], np.int64)
        heads = sizes.astype("<u8").view(np.uint8)
        size_crcs = masked_crcs(heads, np.arange(0, len(heads), 8), np.full(len(sizes), 8))
        crcs = masked_crcs(np.frombuffer(b"".join(events), np.uint8), np.cumsum(sizes) - sizes, sizes)
        run = folder / "events" / f"run-{number}"
        run.mkdir(parents=True)
        with (run / f"events.out.tfevents.{START // 1000}.host.{number}.0").open("wb") as file:
            for event, size_crc, crc in zip(events, size_crcs.tolist(), crcs.tolist(), strict=True):
                file.write(struct.pack("<QI", len(event), size_crc) + event + struct.pack("<I", crc))


def write_wandb(folder: Path, points: int) -> None:
    """wandb's files as it writes them: nested keys, numbers in JSON, time, runtime and step in every record."""
    import numpy as np

    values = np.random.default_rng(0).normal(size=(RUNS, points // RUNS // METRICS, METRICS))
    for number, steps in enumerate(values):
        begun = b"\x08" + _varint(START // 1000)
        records = [_field(17, _field(1, b"run%05d" % number) + _field(3, b"bench") + _field(17, begun))]
        for step, cells in enumerate(steps.tolist()):
            items = [(f"metric{metric}", repr(value)) for metric, value in enumerate(cells)]
            items += [("_timestamp", repr(START / 1000 + step)), ("_runtime", repr(step * 0.1)), ("_step", str(step))]
            content = b"".join(_field(1, _field(2, key.encode()) + _field(16, text.encode())) for key, text in items)
            records.append(b"\x08" + _varint(step + 2) + _field(2, content + _field(2, b"\x08" + _varint(step))))
        run = folder / "wandb" / f"offline-run-20240101_00000{number}-run{number:05d}"
        run.mkdir(parents=True)
        (run / f"run-run{number:05d}.wandb").write_bytes(_log(records))


def write_swanlog(folder: Path, points: int) -> None:
    """SwanLab's logs as it writes them: a record for each number, with two times."""
    import numpy as np

    values = np.random.default_rng(0).normal(size=(RUNS, points // RUNS // METRICS, METRICS))
    for number, steps in enumerate(values):
        begun = b"\x08" + _varint(START // 1000)
        start = _field(1, b"bench") + _field(4, b"run") + _field(10, b"run%05d" % number) + _field(12, begun)
        records = [_field(2, begun) + _field(10, start)]
        for step, cells in enumerate(steps.tolist()):
            time = b"\x08" + _varint(START // 1000 + step // 100) + b"\x10" + _varint(step % 100 * 10_000_000 + 1_000)
            for metric, value in enumerate(cells):
                place = b"\x10" + _varint(step) if step else b""
                number_field = _field(5, b"\x09" + struct.pack("<d", value))
                content = _field(1, b"train/metric%d" % metric) + place + b"\x18\x01" + _field(4, time) + number_field
                records.append(b"\x08" + _varint(len(records)) + _field(2, time) + _field(13, content))
        run = folder / "swanlog" / f"run-20240101_00000{number}-run{number:05d}"
        run.mkdir(parents=True)
        (run / f"run-run{number:05d}.swanlab").write_bytes(_log(records, b":SWL\xd6\xe1\x02"))


def _log(records: list[bytes], magic: bytes = b":W&B\xe1\xbe\x00") -> bytes:
    """LevelDB's log of blocks of 32 KiB."""
    data = bytearray(magic)
    for record in records:
        rest, is_first = record, True
        while rest or is_first:
            if (left := 32_768 - len(data) % 32_768) < 7:
                data += bytes(left)
                left = 32_768
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (2 if rest else 1) if is_first else (3 if rest else 4)
            data += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            is_first = False
    return bytes(data)


def _trackio_rows(points: int) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Time, step and values of each row, the runs one after the other."""
    import numpy as np

    random = np.random.default_rng(0)
    for _ in range(RUNS):
        for step, cells in enumerate(random.normal(size=(points // RUNS // METRICS, METRICS)).tolist()):
            when = datetime.fromtimestamp(START / 1000 + step, UTC).isoformat()
            yield when, step, {f"metric{metric}": value for metric, value in enumerate(cells)}


def write_trackio(folder: Path, points: int) -> None:
    """trackio's database: a row of JSON for each step."""
    (folder / "trackio").mkdir()
    con = sqlite3.connect(folder / "trackio" / "bench.db")
    con.execute(
        "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT NULL,"
        " run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, log_id TEXT, space_id TEXT)"
    )
    con.execute("CREATE INDEX idx_metrics_run_step ON metrics(run_id, step)")
    each = points // RUNS // METRICS
    rows = (
        (f"{number // each:032x}", when, f"run-{number // each}", step, json.dumps(values).encode())
        for number, (when, step, values) in enumerate(_trackio_rows(points))
    )
    con.executemany("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)", rows)
    con.commit()
    con.close()


def write_trackio_parquet(folder: Path, points: int) -> None:
    """trackio's Parquet: a column for each metric."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    each = points // RUNS // METRICS
    rows = [
        {"id": n, "run_id": f"{n // each:032x}", "timestamp": when, "run_name": f"run-{n // each}", "step": step}
        | values
        for n, (when, step, values) in enumerate(_trackio_rows(points))
    ]
    (folder / "trackio-parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "trackio-parquet" / "bench.parquet")


def write_exports(folder: Path, points: int) -> None:
    """neptune-exporter's Parquet: a row for each point, in its schema, with a batch of attributes as a row group."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    project = folder / "exports" / "data" / f"lab_bench-{0:016x}"
    project.mkdir(parents=True)
    each, random = points // RUNS // METRICS, np.random.default_rng(0)
    steps = np.repeat(np.arange(each, dtype=np.int64), METRICS)
    for number in range(RUNS):
        names = pa.array([f"metrics/metric{metric}" for metric in range(METRICS)] * each)
        columns = {
            "project_id": pa.array(["lab/bench"] * len(steps)),
            "run_id": pa.array([f"run-{number}"] * len(steps)),
            "attribute_path": names,
            "attribute_type": pa.array(["float_series"] * len(steps)),
            "step": pa.array(steps).cast(pa.decimal128(25, 6)).cast(pa.decimal128(18, 6)),
            "timestamp": pa.array(START + steps * 1000).cast(pa.timestamp("ms", tz="UTC")),
            "float_value": pa.array(random.normal(size=len(steps))),
            "string_value": pa.nulls(len(steps), pa.string()),
        }
        pq.write_table(pa.table(columns), project / f"run-{number}-{number:016x}_part_0.parquet", compression="snappy")


def write_dvclive(folder: Path, points: int) -> None:
    """DVCLive's folders: a table for each metric."""
    import numpy as np

    random, each = np.random.default_rng(0), points // RUNS // METRICS
    for number in range(RUNS):
        metrics = folder / "dvclive" / f"run-{number}" / "plots" / "metrics"
        metrics.mkdir(parents=True)
        for metric in range(METRICS):
            lines = (f"{step}\t{value!r}\n" for step, value in enumerate(random.normal(size=each).tolist()))
            (metrics / f"metric{metric}.tsv").write_text("step\tmetric\n" + "".join(lines))


def write_comet(folder: Path, points: int) -> None:
    """Comet's archives: a message of JSON for each number."""
    import numpy as np

    (folder / "comet").mkdir()
    values = np.random.default_rng(0).normal(size=(RUNS, points // RUNS // METRICS, METRICS))
    for number, steps in enumerate(values):
        head = {"offline_id": f"{number:032x}", "project_name": "bench", "start_time": START, "stop_time": START + 1}
        with zipfile.ZipFile(folder / "comet" / f"{number:032x}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("experiment.json", json.dumps(head))
            with packed.open("messages.json", "w", force_zip64=True) as file:
                for step, cells in enumerate(steps.tolist()):
                    for metric, value in enumerate(cells):
                        said = {"epoch": None, "metricName": f"metric{metric}", "metricValue": value, "step": step}
                        payload = {"local_timestamp": START + step, "message_id": step, "metric": said}
                        line = json.dumps({"payload": payload, "type": "metric_msg"}, separators=(",", ":"))
                        file.write(line.encode() + b"\n")


def write_clearml(folder: Path, points: int) -> None:
    """ClearML's sessions: lists of events in JSON, with some hundred events in a line."""
    import numpy as np

    values = np.random.default_rng(0).normal(size=(RUNS, points // RUNS // METRICS, METRICS))
    for number, steps in enumerate(values):
        task = f"offline-{number:032x}"
        session = folder / "clearml" / task
        session.mkdir(parents=True)
        (session / "task.json").write_text(json.dumps({"id": task, "name": "bench", "project_name": "bench"}))
        event = {"type": "training_stats_scalar", "task": task, "metric": "loss", "method": "get"}
        with (session / "metrics.jsonl").open("w") as file:
            for first in range(0, len(steps), 50):
                rows = enumerate(steps[first : first + 50].tolist(), first)
                events = [
                    {"timestamp": START + step, **event, "iter": step, "variant": f"metric{metric}", "value": value}
                    for step, cells in rows
                    for metric, value in enumerate(cells)
                ]
                file.write(json.dumps(events) + "\n")


def write_aim(folder: Path, points: int) -> None:
    """aim's repository: for each number its value, step, time and epoch, by the hash of the step."""
    import numpy as np
    from rocksdict import Options, Rdict, WriteBatch

    from mltrack.importers.aim.encoding import encode_path

    random = np.random.default_rng(0)
    count = points // RUNS // METRICS
    places = [struct.pack(">Q", place) for place in random.choice(1 << 63, count).tolist()]
    steps, times = (struct.pack(f"<{count}{kind}", *range(count)) for kind in ("q", "d"))
    for number in range(RUNS):
        run = f"{number:024x}"
        for part in ("meta", "seqs"):
            (folder / ".aim" / part / "chunks" / run).mkdir(parents=True)
        meta = Rdict(str(folder / ".aim" / "meta" / "chunks" / run), options=Options(raw_mode=True))
        seqs = Rdict(str(folder / ".aim" / "seqs" / "chunks" / run), options=Options(raw_mode=True))
        meta[encode_path("meta", "chunks", run, "end_time")] = b"\3" + struct.pack("<d", START / 1000)
        for metric in range(METRICS):
            name = f"metric{metric}"
            meta[encode_path("meta", "chunks", run, "traces", 1, name, "version")] = b"\2" + struct.pack("<q", 2)
            values = random.normal(size=count).tobytes()
            columns = {"epoch": None, "step": (b"\2", steps), "time": (b"\3", times), "val": (b"\3", values)}
            batch = WriteBatch(raw_mode=True)
            for column, content in columns.items():
                prefix = encode_path("seqs", "v2", "chunks", run, 1, name, column) + b"\xfe"
                for at, place in enumerate(places):
                    value = b"\0" if content is None else content[0] + content[1][at * 8 : at * 8 + 8]
                    batch[prefix + place + b"\xfe"] = value
            seqs.write(batch)
        for database in (meta, seqs):
            database.flush()
            database.close()


def imported(source: str, store: str) -> None:
    """Print seconds, seconds of processor time and MB of an import; then seconds of a second one and of comparing."""
    from mltrack.importers.compare import compare_source
    from mltrack.importers.engine import import_source
    from mltrack.store import Store

    opened = Store.create(store)
    began, cpu = time.perf_counter(), time.process_time()
    report = import_source(opened, source)
    spent = [time.perf_counter() - began, time.process_time() - cpu, peak_memory() / 1e6, report.points]
    assert report.complete, report.problems
    began = time.perf_counter()
    again = import_source(opened, source)
    assert again.points == 0, again
    spent.append(time.perf_counter() - began)
    began = time.perf_counter()
    compared = compare_source(opened, source)
    assert compared.same, compared.differences[:3]
    print(*spent, time.perf_counter() - began)


def read_by_mlflow(source: str) -> None:
    """Print points, seconds of processor time and MB: MLflow's client reads the history of each metric."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow import MlflowClient

    client = MlflowClient(f"file://{source}" if source.endswith("mlruns") else f"sqlite:///{source}")
    cpu, count = time.process_time(), 0
    for run in client.search_runs(["0"]):
        for key in run.data.metrics:
            count += len(client.get_metric_history(run.info.run_id, key))
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_pandas(source: str) -> None:
    """The same of pandas, all into one frame."""
    import pandas as pd

    path = Path(source)
    cpu = time.process_time()
    if path.suffix == ".csv":
        count = pd.read_csv(path).size // (METRICS + 1) * METRICS
    elif path.suffix == ".db":
        con = sqlite3.connect(path)
        count = len(pd.read_sql_query("SELECT key, value, timestamp, step, run_uuid FROM metrics", con))
    elif path.name == "dvclive":
        count = sum(len(pd.read_csv(file, sep="\t")) for file in sorted(path.rglob("*.tsv")))
    else:
        files = sorted(path.rglob("metrics/*"))
        frames = [pd.read_csv(file, sep=" ", names=["time", "value", "step"]) for file in files]
        count = len(pd.concat(frames))
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_json(source: str) -> None:
    """The same of sqlite3 and Python's JSON."""
    cpu, count = time.process_time(), 0
    con = sqlite3.connect(Path(source) / "bench.db")
    for (text,) in con.execute("SELECT metrics FROM metrics ORDER BY id"):
        count += len(json.loads(text))
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_parquet(source: str) -> None:
    """The same of pyarrow, all into one table of each file."""
    import pyarrow.parquet as pq

    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).rglob("*.parquet")):
        table = pq.read_table(path)
        count += len(table) * (METRICS if "metric0" in table.column_names else 1)
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_accumulator(source: str) -> None:
    """The same of TensorBoard's EventAccumulator, which is behind its pages."""
    require("tensorboard")
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    cpu, count = time.process_time(), 0
    for run in sorted(Path(source).iterdir()):
        events = accumulator(str(run), size_guidance={"scalars": 0}).Reload()
        count += sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"])
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_loader(source: str) -> None:
    """The same of TensorBoard's loader of events, which keeps nothing."""
    require("tensorboard")
    loader = import_module("tensorboard.backend.event_processing.event_file_loader").LegacyEventFileLoader
    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).rglob("events.*")):
        count += sum(len(event.summary.value) for event in loader(str(path)).Load())
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_records(source: str) -> None:
    """The same of wandb's own class of records and Python's JSON; wandb's reader itself is not in its package."""
    require("wandb")
    from mltrack.importers.findings import Findings
    from mltrack.importers.log_file import LogFile

    record_class = import_module("wandb.proto.wandb_internal_pb2").Record
    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).rglob("*.wandb")):
        for data in LogFile(path, path.name, Findings()).records():
            for item in record_class.FromString(data).history.item:
                count += not item.nested_key[0].startswith("_") and isinstance(json.loads(item.value_json), float)
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_swanlab(source: str) -> None:
    """The same of SwanLab's own reader of logs and its class of records."""
    require("swanlab")
    reader_class = import_module("swanlab.sdk.internal.core_python.store").DataStoreReader
    record_class = import_module("swanlab.proto.swanlab.record.v1.record_pb2").Record
    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).rglob("*.swanlab")):
        reader = reader_class()
        reader.open(path)
        count += sum(record_class.FromString(data).HasField("scalar") for data in reader)
        reader.close()
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_messages(source: str) -> None:
    """The same of Python's ZIP files and JSON."""
    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).glob("*.zip")):
        with zipfile.ZipFile(path) as packed, packed.open("messages.json") as file:
            count += sum("metric" in json.loads(line)["payload"] for line in file)
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_json_lines(source: str) -> None:
    """The same of Python's JSON."""
    cpu, count = time.process_time(), 0
    for path in sorted(Path(source).rglob("metrics.jsonl")):
        with path.open() as file:
            count += sum(len(json.loads(line)) for line in file)
    print(count, time.process_time() - cpu, peak_memory() / 1e6)


def read_by_rocksdb(source: str) -> None:
    """The same of the library that reads RocksDB: all keys and values, four of them for a point."""
    from rocksdict import AccessType, Options, Rdict

    cpu, count = time.process_time(), 0
    for path in sorted(Path(source, "seqs", "chunks").iterdir()):
        database = Rdict(str(path), options=Options(raw_mode=True), access_type=AccessType.read_only())
        count += sum(1 for _ in database.items())
    print(count // 4, time.process_time() - cpu, peak_memory() / 1e6)


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    parts: dict[str, Callable[..., None]] = {
        "import": imported,
        "mlflow": read_by_mlflow,
        "pandas": read_by_pandas,
        "accumulator": read_by_accumulator,
        "loader": read_by_loader,
        "records": read_by_records,
        "swanlab": read_by_swanlab,
        "json": read_by_json,
        "parquet": read_by_parquet,
        "messages": read_by_messages,
        "json-lines": read_by_json_lines,
        "rocksdb": read_by_rocksdb,
    }
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--only", choices=sorted(RATE_MIN), help="one format")
    options = parser.parse_args()
    points, kept = options.points, True
    writers = {
        "mlruns": write_mlruns,
        "mlflow.db": write_database,
        "metrics.csv": write_table,
        "events": write_events,
        "wandb": write_wandb,
        "trackio": write_trackio,
        "trackio-parquet": write_trackio_parquet,
        "exports": write_exports,
        "dvclive": write_dvclive,
        "swanlog": write_swanlog,
        "comet": write_comet,
        "clearml": write_clearml,
        ".aim": write_aim,
    }
    with fresh_folder() as folder:
        chosen = {name: write for name, write in writers.items() if options.only in (None, name)}
        for write in chosen.values():
            write(folder, points)
        heading(f"Import of {points:,} points ({RUNS} runs, {METRICS} metrics)")
        row("", "points/s", "points/CPU s", "memory")
        for name, least in RATE_MIN.items():
            if name not in chosen:
                continue
            source = str(folder / name)
            rounds = []
            for _ in range(min(ROUNDS, 3)):
                rounds.append(in_fresh_process(__file__, "import", source, str(folder / "store")))
                shutil.rmtree(folder / "store")
            wall, cpu, memory, count, again, compared = (statistics.median(each) for each in zip(*rounds, strict=True))
            held = count / cpu >= least and memory <= MEMORY_MB_MAX
            kept = kept and held
            row(name, f"{count / wall:,.0f}", f"{count / cpu:,.0f}", f"{memory:,.0f} MB", verdict=held)
            row("  a second import, nothing new", f"{count / again:,.0f}")
            row("  verify --against", f"{count / compared:,.0f}")
            for reader in READERS.get(name, ("mlflow", "pandas")):
                count, cpu, memory = in_fresh_process(__file__, reader, source)
                row(f"  {reader}, which only reads", "", f"{count / cpu:,.0f}", f"{memory:,.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
