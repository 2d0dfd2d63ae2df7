"""What a remote takes at once, and which keys and values it would refuse or cut."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["MLFLOW_LIMITS", "Limits"]

Fact = tuple[str, str]
RUN_TAGS_RESERVED = 2
"""Tags that a run may get on the remote in addition to its own: that it crashed, and one by the remote itself."""

_KEY = re.compile(r"[/\w.\- :]*")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """One remote's limits; each name ends with its unit. None is no limit."""

    batch_metrics_max: int = 1000
    batch_params_max: int = 100
    batch_tags_max: int = 100
    batch_items_max: int = 1000
    request_bytes_max: int = 1_000_000
    key_chars_max: int = 250
    param_value_chars_max: int = 6000
    tag_value_chars_max: int = 8000
    history_page_rows: int = 25_000
    search_page_rows: int = 1000
    run_params_max: int | None = None
    run_tags_max: int | None = None
    tag_key_chars_max: int = 250
    experiment_name_chars_max: int = 500
    experiment_tag_value_chars_max: int = 20_000
    artifact_path_chars_max: int | None = None
    model_name_pattern: str = ".*"
    unsupported: frozenset[str] = frozenset()
    """Features (see features.py) that it is known not to have: it is not asked for them."""

    def shrunk(self) -> Limits:
        """Half as much per request, after one was too large."""
        return replace(
            self,
            batch_metrics_max=max(1, self.batch_metrics_max // 2),
            batch_params_max=max(1, self.batch_params_max // 2),
            batch_tags_max=max(1, self.batch_tags_max // 2),
            batch_items_max=max(1, self.batch_items_max // 2),
            request_bytes_max=max(1000, self.request_bytes_max // 2),
        )

    def refuse_key(self, key: str) -> str | None:
        """Why the remote takes no such metric, param or tag name; None when it does."""
        if len(key) > self.key_chars_max:
            return f"name of {len(key)} characters: the remote takes {self.key_chars_max}"
        if _KEY.fullmatch(key) is None:
            odd = next(c for c in key if _KEY.fullmatch(c) is None)
            return f"name holds {odd!r}: the remote takes letters, digits and / _ - . : and space"
        path = posixpath.normpath(key)
        if path != key or path == "." or path.startswith(("..", "/")):
            return "name is not a clean path: the remote takes no '//', '..', nor a '/' at either end"
        return None

    def refuse_param(self, key: str, value: str) -> str | None:
        """Why this param can't arrive as it is; None when it can."""
        return self.refuse_key(key) or _refuse_text("param", value, self.param_value_chars_max)

    def refuse_tag(self, key: str, value: str) -> str | None:
        """Why this tag can't arrive as it is; None when it can."""
        if len(key) > self.tag_key_chars_max:
            return f"tag name of {len(key)} characters: the remote takes {self.tag_key_chars_max}"
        return self.refuse_key(key) or _refuse_text("tag", value, self.tag_value_chars_max)

    def refuse_experiment(self, name: str) -> str | None:
        """Why the remote takes no such experiment; None when it does."""
        if not name.strip():
            return "experiment without a name: the remote takes none"
        if len(name) > self.experiment_name_chars_max:
            return f"experiment name of {len(name)} characters: the remote takes {self.experiment_name_chars_max}"
        return _refuse_half("experiment name", name)

    def refuse_experiment_tag(self, key: str, value: str) -> str | None:
        """Why this tag of an experiment can't arrive as it is; None when it can."""
        if len(key) > self.tag_key_chars_max:
            return f"tag name of {len(key)} characters: the remote takes {self.tag_key_chars_max}"
        return self.refuse_key(key) or _refuse_text("tag", value, self.experiment_tag_value_chars_max)

    def refuse_artifact(self, path: str) -> str | None:
        """Why the remote takes no such file; None when it does."""
        if self.artifact_path_chars_max is not None and len(path) > self.artifact_path_chars_max:
            return f"path of {len(path)} characters: the remote takes {self.artifact_path_chars_max}"
        return None

    def refuse_model(self, name: str) -> str | None:
        """Why the remote takes no registered model of that name; None when it does."""
        if re.fullmatch(self.model_name_pattern, name) is None:
            return f"model name {name!r}: the remote takes {self.model_name_pattern}"
        return None

    def beyond(self, params: Mapping[str, str], tags: Mapping[str, str], first: tuple[str, ...]) -> dict[Fact, str]:
        """Params and tags (kind, key) that are more than a run may have, with the reason.

        The ones logged first are kept, tags named in ``first`` before all; those refused by themselves don't count.
        """
        found: dict[Fact, str] = {}
        if self.run_params_max is not None and len(params) > self.run_params_max:
            good = [key for key, value in params.items() if self.refuse_param(key, value) is None]
            reason = f"the run has {len(good)} params: the remote keeps {self.run_params_max}"
            found |= {("param", key): reason for key in good[self.run_params_max :]}
        if self.run_tags_max is not None and len(tags) > self.run_tags_max - RUN_TAGS_RESERVED:
            most = self.run_tags_max - RUN_TAGS_RESERVED
            good = [key for key, value in tags.items() if self.refuse_tag(key, value) is None]
            good.sort(key=lambda key: key not in first)
            reason = f"the run has {len(good)} tags: the remote keeps {most} of a run's own"
            found |= {("tag", key): reason for key in good[most:]}
        return found


def _refuse_text(what: str, value: str, chars_max: int) -> str | None:
    if len(value) > chars_max:
        return f"{what} value of {len(value)} characters: the remote would cut it to {chars_max}"
    return _refuse_half(f"{what} value", value)


def _refuse_half(what: str, value: str) -> str | None:
    if _HALF.search(value):
        return f"{what} holds half a character (a lone surrogate), which is not text"
    return None


MLFLOW_LIMITS = Limits()
"""The open-source MLflow server's, and those documented for other servers."""
