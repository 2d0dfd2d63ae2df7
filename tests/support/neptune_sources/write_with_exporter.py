"""Writes a small export as ``neptune-exporter`` does, in the working directory: ``exports/data`` and ``exports/files``.

    git clone the repository neptune-ai/neptune-exporter (commit 8d3f44a), install pyarrow 21, neptune and neptune-query
    cd /tmp/golden && PYTHONPATH=neptune-exporter/src python write_with_exporter.py

Neptune's service is gone, so nothing can be fetched. All that turns what was fetched into files is the exporter's own:
the functions of ``Neptune3Exporter`` that convert data frames to its schema, and ``ParquetWriter``. Only the frames,
which ``neptune_query`` would have returned, are made here.
"""

# ruff: noqa
# mypy: ignore-errors

import json
import os
import shutil
from pathlib import Path

import pandas as pd
from neptune_exporter.exporters.error_reporter import ErrorReporter
from neptune_exporter.exporters.neptune3 import Neptune3Exporter
from neptune_exporter.storage.parquet_writer import ParquetWriter
from neptune_exporter.utils import sanitize_path_part
from neptune_query.types import Histogram

PROJECT = "lab/spirals"
START = pd.Timestamp("2024-01-01T00:00:00Z")
NAN = float("nan")


def parameters(run, sys, config):
    """The frame of one run, as ``fetch_runs_table`` returns it: a column for each attribute and its type."""
    fields = {
        "sys/id:string": f"SPI-{run}",
        "sys/custom_run_id:string": run,
        "sys/creation_time:datetime": START,
        "sys/modification_time:datetime": START + pd.Timedelta(hours=2),
        "sys/state:string": "Inactive",
        "sys/owner:string": "ada",
        **sys,
        **config,
    }
    return pd.DataFrame({key: [value] for key, value in fields.items()}, index=pd.Index([run], name="run"))


def series(run, rows):
    """A frame as ``fetch_metrics`` and ``fetch_series`` return it: run and step by attribute and time or value."""
    steps = sorted({step for values in rows.values() for step, _ in values})
    index = pd.MultiIndex.from_tuples([(run, step) for step in steps], names=["run", "step"])
    columns, data = [], []
    for name, values in rows.items():
        by_step = dict(values)
        columns += [(name, "absolute_time"), (name, "value")]
        data.append(
            [START + pd.Timedelta(milliseconds=round(step * 1000)) if step in by_step else pd.NaT for step in steps]
        )
        data.append([by_step.get(step) for step in steps])
    frame = pd.DataFrame({i: column for i, column in enumerate(data)}, index=index)
    frame.columns = pd.MultiIndex.from_tuples(columns)
    return frame


def files(run, paths, steps=(None,)):
    """A frame as ``download_files`` returns it: run and step by attribute, with paths."""
    index = pd.MultiIndex.from_tuples([(run, step) for step in steps], names=["run", "step"])
    return pd.DataFrame(paths, index=index)


def stored(destination, name, content):
    path = destination / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def png():
    import io
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main():
    for folder in ("exports",):
        shutil.rmtree(folder, ignore_errors=True)
    data, destination = Path("exports/data"), Path("exports/files").resolve()
    exporter = Neptune3Exporter(error_reporter=ErrorReporter(Path("errors.jsonl")))
    convert = exporter._record_batch_from_pandas
    writer = ParquetWriter(data)

    def metrics(run, rows):
        return convert(exporter._convert_metrics_to_schema(series(run, rows), PROJECT))

    def facts(run, sys, config):
        return convert(exporter._convert_parameters_to_schema(parameters(run, sys, config), PROJECT))

    read = {}
    first = {
        "metrics/loss": [(float(step), 1 / (step + 1)) for step in range(200)],
        "metrics/odd": [(0.0, NAN), (1.0, float("inf")), (2.0, float("-inf")), (3.0, 1e-300)],
        "größe 模型": [(5.0, 2.0**53)],
    }
    with writer.run_writer(PROJECT, "first") as out:
        out.save(
            facts(
                "first",
                {
                    "sys/name:string": "Experiment A",
                    "sys/tags:string_set": ["a", "b"],
                    "sys/description:string": "größe",
                    "sys/failed:bool": False,
                },
                {
                    "config/lr:float": 0.1,
                    "config/layers:int": 3,
                    "config/name:string": "mlp",
                    "config/bias:bool": True,
                    "config/since:datetime": START,
                    "config/sets:string_set": ["x", "y"],
                },
            )
        )
        out.save(metrics("first", first))
        histograms = {
            "weights": [(2.0, Histogram(type="COUNTING", edges=[0.0, 0.5, 1.0, 2.0], values=[1.0, 2.0, 3.0]))]
        }
        texts = {"notes": [(1.0, "a text"), (2.0, "another")], "runtime/stdout": [(0.0, "line one"), (1.0, "line two")]}
        for rows, kind in ((histograms, "histogram_series"), (texts, "string_series")):
            types = [(name, kind) for name in rows]
            out.save(convert(exporter._convert_series_to_schema(series("first", rows), PROJECT, types)))
        place = f"{sanitize_path_part(PROJECT)}/first"
        one = files("first", {"source/train": [stored(destination, f"{place}/source/train.py", b"print()\n")]})
        out.save(convert(exporter._convert_files_to_schema(one, PROJECT, "file", None, destination)))
        many = {"pixels": [stored(destination, f"{place}/pixels/step_{step}.png", png()) for step in (0, 1)]}
        times = series("first", {"pixels": [(0.0, "x"), (1.0, "x")]})
        frame = files("first", many, steps=(0.0, 1.0))
        out.save(convert(exporter._convert_files_to_schema(frame, PROJECT, "file_series", times, destination)))
    read["first"] = first

    decimal = {"loss": [(step / 4, 2 / (step + 1)) for step in range(40)]}
    with writer.run_writer(PROJECT, "decimal") as out:
        out.save(facts("decimal", {"sys/name:string": "Experiment B", "sys/failed:bool": True}, {}))
        out.save(metrics("decimal", decimal))
    read["decimal"] = decimal

    forked = {"metrics/loss": [(float(step), 3 / (step + 1)) for step in range(101, 120)]}
    with writer.run_writer(PROJECT, "forked") as out:
        fork = {
            "sys/name:string": "Experiment A",
            "sys/forking/parent:string": "first",
            "sys/forking/step:float": 100.0,
        }
        out.save(facts("forked", {**fork, "sys/state:string": "Active", "sys/trashed:bool": True}, {}))
        out.save(metrics("forked", forked))
    read["forked"] = forked

    small = ParquetWriter(data, target_part_size_bytes=1)
    with small.run_writer(PROJECT, "parts") as out:
        parts = {f"m{part}": [(float(step), part + step / 8) for step in range(30)] for part in range(3)}
        out.save(facts("parts", {}, {"config/lr:float": 0.5}))
        for name, rows in parts.items():
            out.save(metrics("parts", {name: rows}))
    read["parts"] = parts

    broken = writer.run_writer(PROJECT, "broken")  # the process ends before it is done
    broken.save(facts("broken", {}, {}))
    broken.save(metrics("broken", {"loss": [(0.0, 1.0)]}))
    writer._run_writers[(PROJECT, "broken", None)].close()

    models = ParquetWriter(Path("exports/model_data"))
    with models.run_writer(PROJECT, "SPI-MOD", entity_scope="models") as out:
        out.save(facts("SPI-MOD", {"sys/name:string": "classifier"}, {}))
    with open("read.json", "w") as file:
        json.dump(read, file)


if __name__ == "__main__":
    main()
    os._exit(0)
