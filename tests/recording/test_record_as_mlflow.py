"""The same calls through ``import mltrack`` and through MLflow on SQLite: refused by both or by neither, and what is
stored is the same, but for what docs/mlflow-differences.md lists."""

from __future__ import annotations

import decimal
import enum
import fractions
import io
import json
import math
import pathlib
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mltrack

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

SKIPPED_TAGS = ("mlflow.source", "mlflow.user", "mlflow.runName", "mlflow.parentRunId", "mlflow.runColor")


class Mode(enum.Enum):
    FAST = 1


class Sides(NamedTuple):
    """Both APIs, and a folder to log files from."""

    ours: ModuleType
    theirs: ModuleType
    folder: Path


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    import mlflow
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from tests.support.mlflow_recording import forget_where

    folder = tmp_path_factory.mktemp("sides")
    files = folder / "files"
    (files / "sub").mkdir(parents=True)
    (files / "a.txt").write_text("a")
    (files / "sub" / "b.bin").write_bytes(bytes(range(256)))
    event.listen(Engine, "connect", _do_not_wait_for_the_disk)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", (folder / "artifacts").as_uri()))
    yield Sides(mltrack, mlflow, files)
    forget_where()
    event.remove(Engine, "connect", _do_not_wait_for_the_disk)


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")


# --- calls ---

Call = tuple[str, tuple[Any, ...], dict[str, Any]]

VALUES: list[Any] = [
    1, 0.25, -3.5, True, np.True_, np.float32(0.5), np.int64(7), np.array(2.5), np.array([3.0]), np.array([[4]]),
    "2.5", " 1e3 ", "nan", b"1.5", decimal.Decimal("0.125"), fractions.Fraction(1, 4), math.nan, 2**70, 5e-324,
    "one", "", None, [1.0], {}, np.array([1.0, 2.0]), np.array([]), 10**400, 1j, Mode.FAST, object,
]  # fmt: skip
STEPS: list[Any] = [None, 0, 3, -2, 2**40, True, 5.0, np.float64(8), "3", [1]]
TIMES: list[Any] = [None, 1_700_000_000_000, 1_700_000_000_001.0, np.float64(1_700_000_000_002), "now", [5]]
TEXTS: list[Any] = ["x", "", 1, 0.1, None, True, [1, "a"], {"k": 1}, Mode.FAST, Path("a/b"), np.float64(0.5), "größe"]
KEYS: list[Any] = ["a", "b", "c d", "x/y", "p.q", "r-s_t"]
BAD_KEYS: list[Any] = ["", None, 5, b"a", ["a"]]
NAMES: list[Any] = ["a.txt", "d/b.txt", "d/e/c", ".hidden", "größe.txt", Path("p/q.txt"), "./r.txt", "s//t.txt"]
FOLDERS: list[Any] = [None, "", "in", "in/deep", Path("in"), "/abs", "../up"]
BAD_NAMES: list[Any] = ["/abs.txt", "..", "../up.txt"]
DICTS: list[Any] = [
    {"a": 1, "b": [None, True, 0.1]}, [], [1, {"x": "ü"}], {"enum": Mode.FAST, "set": {1}},
    {"path": pathlib.PurePosixPath("a"), 1: "a"}, {"decimal": decimal.Decimal("0.1"), "type": int}, {"nan": math.nan},
    {"uuid": uuid.UUID(int=1)}, "text", None,
]  # fmt: skip
TABLES: list[Any] = [
    {"a": [1, 2], "b": ["x", "y"]}, {"a": [0.5]}, {"a": 1, "b": "x"}, {"c": [True]}, {"a": ["x"]},
    pd.DataFrame({"a": [1, None], "when": pd.DatetimeIndex(["2024-01-01", "NaT"])}), [1], "x", None,
]  # fmt: skip
IMAGES: list[Any] = [
    np.zeros((2, 3), np.uint8), np.ones((2, 3, 3)), np.full((2, 2), 2.0) * np.arange(2), np.eye(3, dtype=bool),
    np.full((2, 2), 300), np.full((2, 2, 1), 7), np.zeros((2, 2, 4), np.int16), PIL.Image.new("RGB", (3, 2)),
    np.zeros(3), np.zeros((2, 2, 2)), "x", None,
]  # fmt: skip


def keys() -> st.SearchStrategy[Any]:
    return st.sampled_from(KEYS * 4)  # of the others there is a test apart


def names(end: str = "") -> st.SearchStrategy[Any]:
    drawn = st.sampled_from(NAMES * 3 + BAD_NAMES)
    return drawn.map(lambda name: type(name)(f"{name}{end}") if end else name)


def call(name: str, *arguments: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries({}, optional=named))


some = st.sampled_from
CALLS = st.one_of(
    call("log_metric", keys(), some(VALUES), step=some(STEPS), timestamp=some(TIMES), synchronous=some([None, True])),
    call("log_metrics", st.dictionaries(some([*KEYS, "", 5]), some(VALUES), max_size=2), step=some(STEPS)),
    call("log_param", keys(), some(TEXTS)),
    call("log_params", st.dictionaries(some(KEYS), some(TEXTS), max_size=1)),
    call("set_tag", some(KEYS), some(TEXTS)),
    call("set_tags", st.dictionaries(some(KEYS), some(TEXTS), max_size=3)),
    call("log_text", some(["x", "größe\n", ""]), names()),
    call("log_dict", some(DICTS), names(".json") | names(".yaml") | names()),
    call("log_table", some(TABLES), some(["t.json", "d/größe.json", "t.txt", "/abs.json", "../up.json"])),
    call("log_image", some(IMAGES), names(".png")),
    call("log_image", some(IMAGES), key=some(["k", "a/b", "bad%"]), step=some([None, 0, 2])),
    call("log_image", some(IMAGES), names(".png"), key=some(["k"]), step=some([None, 1])),
    call("log_artifact", some(["files/a.txt", "files", "none", Path("files/sub/b.bin")]), artifact_path=some(FOLDERS)),
    call("log_artifacts", some(["files", Path("files/sub")]), artifact_path=some(FOLDERS)),
    call("log_stream", some([b"", b"bytes"]), names()),
    call("search_runs", max_results=some([1]), output_format=some(["list", "pandas", "other"])),
    call("end_run", some(["FINISHED", "FAILED", "KILLED"])),
)  # fmt: skip


def do(api: ModuleType, folder: Path, made: Call, ids: list[str]) -> str:
    """Do a call; what it came to, in a word."""
    name, given, named = made
    if name == "log_stream":
        given = (io.BytesIO(given[0]), given[1])
    elif name in ("log_artifact", "log_artifacts"):
        where = given[0]
        given = (type(where)(str(folder.parent / where)), *given[1:])
    elif name == "end_run" and api.active_run() is None:
        return "nothing to end"
    try:
        getattr(api, name)(*given, **named)
    except Exception:  # noqa: BLE001  # whatever MLflow and its libraries raise, it is a refusal
        return "refused"
    finally:
        run = api.active_run()
        if run is not None and run.info.run_id not in ids:
            ids.append(run.info.run_id)
    return "done"


# --- what is stored ---


def content(path: Path) -> Any:
    """A file, as far as both ought to write it alike."""
    if path.suffix == ".json":
        return repr(_as_floats(json.loads(path.read_text())))
    if path.suffix in (".yml", ".yaml"):
        return repr(yaml.unsafe_load(path.read_text()))
    if path.suffix == ".png":
        with PIL.Image.open(path) as image:
            return image.mode, image.size, np.asarray(image).tolist()
    return path.read_bytes()


def _as_floats(value: Any) -> Any:
    """A table whose numbers are all floats: MLflow makes them that, where a table is added to and columns differ."""
    if isinstance(value, dict) and list(value) == ["columns", "data"]:
        return [[float(cell) if isinstance(cell, int | float) else cell for cell in row] for row in value["data"]]
    return value


def files_of(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            if "+step+" in name:  # an image of a series: its time and a random part are its own
                key, _, rest = name.partition("+step+")
                name = f"{key}+step+{rest.split('+')[0]}{'small' if name.endswith('.webp') else ''}"
            found[name] = b"" if path.suffix == ".webp" else content(path)
    return found


def tags_of(tags: Mapping[str, str]) -> dict[str, Any]:
    kept = {key: value for key, value in tags.items() if not key.startswith(SKIPPED_TAGS)}
    listed = kept.get("mlflow.loggedArtifacts")  # JSON, with other letters escaped or not
    return kept if listed is None else {**kept, "mlflow.loggedArtifacts": json.loads(listed)}


def points(history: list[tuple[int, float, int]], given_times: set[int]) -> list[tuple[int, str, int]]:
    """Each point once, as MLflow keeps it; times that are those of the call count as one."""
    return sorted({(step, repr(value), time if time in given_times else 0) for step, value, time in history})


GIVEN_TIMES = {1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002}


def of_mlflow(mlflow: Any, run_id: str) -> dict[str, Any]:
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    histories = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": tags_of(run.data.tags),
        "metrics": {
            key: points([(p.step, p.value, p.timestamp) for p in history], GIVEN_TIMES)
            for key, history in histories.items()
        },
        "files": files_of(Path(run.info.artifact_uri.removeprefix("file://"))),
    }


def of_ours(run_id: str) -> dict[str, Any]:
    run = mltrack.get_run(run_id)
    metrics = {}
    for key in run.summaries:
        table = run.metrics(key)
        times = (table.column("time").to_numpy().astype(np.int64) // 1_000_000).tolist()
        steps, values = table.column("step").to_pylist(), table.column("value").to_pylist()
        metrics[key] = points(list(zip(steps, values, times, strict=True)), GIVEN_TIMES)
    return {
        "status": run.info.status,
        "params": run.params,
        "tags": tags_of(run.tags),
        "metrics": metrics,
        "files": files_of(run.folder.artifacts),
    }


def compare(sides: Sides, calls: list[Call]) -> None:
    ids: tuple[list[str], list[str]] = ([], [])
    apis = (sides.ours, sides.theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for made in calls:
                mine, other = (do(api, sides.folder, made, ids[n]) for n, api in enumerate(apis))
                assert mine == other, f"{made}: {mine} here, {other} by MLflow"
        finally:
            for api in apis:
                api.end_run()
    assert len(ids[0]) == len(ids[1])
    for mine, other in zip(*ids, strict=True):
        assert of_ours(mine) == of_mlflow(sides.theirs, other)


@pytest.fixture
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    mltrack.set_store(tmp_path_factory.mktemp("ours") / "s")


@pytest.mark.usefixtures("_own_store")
@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(calls=st.lists(CALLS, min_size=1, max_size=8))
@pytest.mark.slow
def test_random_calls_store_what_mlflow_stores(sides: Sides, calls: list[Call]) -> None:
    compare(sides, calls)


def of_each(name: str, values: list[Any], *more: Any) -> list[Call]:
    return [(name, (value, *more), {}) for value in values]


EACH: dict[str, Callable[[], list[Call]]] = {
    "values": lambda: [("log_metric", (f"m{n}", value), {}) for n, value in enumerate(VALUES)],
    "values together": lambda: [("log_metrics", ({f"m{n}": v, "ok": 1},), {"step": n}) for n, v in enumerate(VALUES)],
    "steps": lambda: [("log_metric", (f"m{n}", 1.0), {"step": step}) for n, step in enumerate(STEPS)],
    "times": lambda: [("log_metric", (f"m{n}", 1.0), {"timestamp": time}) for n, time in enumerate(TIMES)],
    "params": lambda: [("log_param", (f"p{n}", value), {}) for n, value in enumerate(TEXTS)],
    "params twice": lambda: [("log_param", ("p", value), {}) for value in ("1", 1, 1.0, "1", "2")],
    "tags": lambda: [("set_tag", (f"t{n}", value), {}) for n, value in enumerate(TEXTS)],
    "keys": lambda: [("log_metric", (key, 1.0), {}) for key in KEYS + BAD_KEYS],
    "names": lambda: [("log_text", ("x", name), {}) for name in NAMES + BAD_NAMES],
    "dicts": lambda: [("log_dict", (v, f"{n}.{e}"), {}) for n, v in enumerate(DICTS) for e in ("json", "yaml", "txt")],
    "tables": lambda: [("log_table", (value, f"{n}.json"), {}) for n, value in enumerate(TABLES)],
    "tables added to": lambda: [("log_table", (value, "t.json"), {}) for value in TABLES[:5]],
    "images": lambda: [("log_image", (value, f"{n}.png"), {}) for n, value in enumerate(IMAGES)],
    "files": lambda: [
        ("log_artifact", ("files/a.txt",), {}), ("log_artifact", ("files",), {}), ("log_artifact", ("none",), {}),
        ("log_artifact", (Path("files/a.txt"), Path("in/it")), {}),
        ("log_artifacts", ("files", "all"), {}),
        ("log_artifact", ("files/a.txt", "../up"), {}), ("log_artifact", ("files/a.txt", "/abs"), {}),
    ],
}  # fmt: skip


@pytest.mark.usefixtures("_own_store")
@pytest.mark.parametrize("kind", EACH)
def test_each_kind_of_argument_is_accepted_as_by_mlflow(sides: Sides, kind: str) -> None:
    compare(sides, EACH[kind]())
