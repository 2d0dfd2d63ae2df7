"""aim's repositories are recognized, and refused with words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.errors import UsageError
from mltrack.importers.engine import import_source
from mltrack.importers.kinds import kind_of
from mltrack.store import Store


@pytest.mark.parametrize("name", [".", ".aim"])
def test_a_repository_is_refused_with_how_its_points_come(name: str, tmp_path: Path) -> None:
    for folder in ("meta", "seqs"):
        (tmp_path / "work" / ".aim" / folder).mkdir(parents=True)
    source = tmp_path / "work" / name
    assert kind_of(source).name == "aim"
    with pytest.raises(UsageError, match="only aim itself reads its database") as raised:
        import_source(Store.create(tmp_path / "store"), source)
    assert "mltrack import aim.jsonl --from csv" in raised.value.hint


def test_other_sources_in_the_folder_of_a_repository_are_read(tmp_path: Path) -> None:
    for folder in ("meta", "seqs"):
        (tmp_path / ".aim" / folder).mkdir(parents=True)
    (tmp_path / "data.csv").write_text("step,loss\n1,2\n")
    assert kind_of(tmp_path).name == "csv"
