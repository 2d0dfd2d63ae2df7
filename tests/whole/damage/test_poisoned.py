"""Whatever one field or one bit of a file says: no command ends with a traceback, and other runs are listed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltrack.cli.app import main
from mltrack.disk.codec import BadLine, decode_line
from mltrack.errors import MltrackError
from mltrack.store import Store
from tests.support.full_store import LOGS, PATTERNS, file_of, make_full_store
from tests.support.poison import HOSTILE, crc_line, poisoned

OTHER = "other"
COMMANDS = [
    ["ls"], ["ls", "--json"], ["show", "{run}"], ["show", "{run}", "--json"], ["tail", "{run}"], ["metrics", "{run}"],
    ["compare", "{run}", OTHER], ["sql", "select * from runs, latest_metrics, params, tags, artifacts, datasets"],
    ["sql", "select count(*), sum(value) from metrics"], ["export", "--all", "--force", "-o", "{out}"], ["check"],
    ["status"], ["seal"], ["sync", "lab", "--dry-run"], ["gc", "--synced", "lab", "--dry-run"], ["logs", "{run}"],
    ["ls", "--experiment", "full"],
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_full_store(tmp_path_factory.mktemp("full") / "store").path


@pytest.fixture(scope="module")
def run_id(made: Path) -> str:
    return file_of(made, "events").parents[1].name


def look(root: Path, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command, and what a tool of Python or MLflow would ask."""
    others = {name for name in (path.name for path in (root / "runs").iterdir()) if name != run_id}
    try:
        usable = bool(Store.open(root))
    except MltrackError:  # its store.json says what can't be: that is the answer of every command
        usable = False
    for words in COMMANDS:
        filled = [w.format(run=run_id, out=root.parent / "out") if w != OTHER else next(iter(others)) for w in words]
        main(["--store", str(root), *filled])
        said = capsys.readouterr()
        assert "Traceback" not in said.err, (words, said.err[-3000:])
        if words == ["ls"] and usable:
            assert all(other in said.out for other in others)
    if usable:
        _look_by_python(Store.open(root))


def _look_by_python(store: Store) -> None:
    for ask in (store.logged_models.models, store.registry.versions, store.traces.all, store.experiments, store.heads):
        ask()
    for run in store.runs():
        try:
            for key in run.series_kinds():
                run.series(key)
            run.get_metrics()
        except MltrackError:
            continue
    with store.traces.spans() as reader:
        for trace in store.traces.all():
            reader.read(trace.ordered_spans())


def changes(kind: str, data: bytes, draw: st.DrawFn) -> bytes:
    lines = data.splitlines(keepends=True)
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = poisoned(lines[at][:-1], draw(st.integers(0, 12)), draw(st.sampled_from(HOSTILE)))
    return b"".join(lines)


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "store"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*LOGS, "store"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_field_with_a_right_checksum(
    kind: str, data: st.DataObject, made: Path, place: Path, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place)
    path = file_of(place, kind)
    whole = path.read_bytes()

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        return changes(kind, whole, draw)

    path.write_bytes(data.draw(changed()))
    look(place, run_id, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*PATTERNS])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flipped_bit_or_a_cut(
    kind: str, data: st.DataObject, made: Path, place: Path, run_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made, place)
    path = file_of(place, kind)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[at:]
    path.write_bytes(whole)
    look(place, run_id, capsys)


@pytest.mark.parametrize("value", HOSTILE)
def test_every_hostile_value_is_read_unchanged_or_refused(value: str) -> None:
    try:
        decode_line(crc_line('{"seq":0,"time":1,"type":"x","more":' + value + "}")[:-1])
    except BadLine:
        assert value == HOSTILE[-1] or "ud800" in value
