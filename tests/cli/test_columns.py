"""The columns of `mltrack ls` that are remembered for a store."""

from __future__ import annotations

from pathlib import Path

from mltrack.cli.columns import ColumnMemory, split_columns


def test_columns_are_remembered_by_store_and_forgotten(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert ColumnMemory(environ=environ).get("a") is None
    for store, columns in (("a", ["loss"]), ("b", ["min(loss)", "params.lr"]), ("a", ["acc"])):
        assert ColumnMemory(environ=environ).put(store, columns)
    memory = ColumnMemory(environ=environ)
    assert memory.path == tmp_path / "mltrack" / "columns.json"
    assert (memory.get("a"), memory.get("b")) == (["acc"], ["min(loss)", "params.lr"])
    assert memory.put("a", None)
    assert (memory.get("a"), memory.get("b")) == (None, ["min(loss)", "params.lr"])


def test_a_file_that_makes_no_sense_is_replaced_and_a_folder_that_can_not_be_made_is_no_error(tmp_path: Path) -> None:
    memory = ColumnMemory(environ={"XDG_CONFIG_HOME": str(tmp_path)})
    memory.path.parent.mkdir()
    for text in ('["a"]', '{"a": "loss"}', "{", ""):
        memory.path.write_text(text)
        assert memory.get("a") is None
    assert memory.put("a", ["loss"])
    assert memory.get("a") == ["loss"]
    assert not ColumnMemory(environ={"XDG_CONFIG_HOME": str(memory.path)}).put("a", ["loss"])


def test_commas_in_brackets_and_quotes_separate_no_columns() -> None:
    assert split_columns(["loss, params.lr,", "min(`a,b`),loss", "max(f(x,y))"]) == [
        *("loss", "params.lr", "min(`a,b`)", "max(f(x,y))"),
    ]
