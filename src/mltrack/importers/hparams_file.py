"""The file hparams.yaml, which Lightning's loggers keep in the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["HPARAMS_FILE", "flat_params", "read_hparams"]

HPARAMS_FILE = "hparams.yaml"
DEPTH_MAX = 5


def read_hparams(folder: Path, findings: Findings) -> dict[str, str]:
    """The params in the file of a folder; empty where it has none, or none that can be read."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes objects of any class as what they are made of."""

    Loader.add_multi_constructor("", _plain)
    path = folder / HPARAMS_FILE
    if path.is_file() and findings.is_outside(path):
        return {}
    try:
        found = yaml.load(path.read_bytes(), Loader)  # a SafeLoader
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        findings.problem(path.name, f"can't be read: {' '.join(str(error).split())}")
        return {}
    return dict(flat_params(found)) if isinstance(found, dict) else {}


def _plain(loader: Any, suffix: str, node: Any) -> Any:
    """An object of a class that is not known here."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def flat_params(fields: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Nested fields as params: their names joined by ``/``."""
    for key, value in fields.items():
        if isinstance(value, Mapping) and value and depth < DEPTH_MAX:
            yield from flat_params(value, f"{prefix}{key}/", depth + 1)
        else:
            yield f"{prefix}{key}", str(value)
