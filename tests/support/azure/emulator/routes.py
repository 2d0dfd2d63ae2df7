"""Which part of the emulator a path belongs to, and the kind of request it is counted as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .blobs import ACCOUNT

_SCOPE = (
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<workspace>[^/]+)"
)
_RUN = r"/(?P<by>experiments|experimentids)/(?P<experiment>[^/]+)/runs/(?P<run>[^/]+)"
_ROUTES = [
    ("arm", re.compile(_SCOPE, re.IGNORECASE)),
    ("identity", re.compile(r"/msi/token")),
    ("mlflow", re.compile(rf"/mlflow/v[12]\.0{_SCOPE}/api/(?P<version>[\d.]+)/(?:preview/)?mlflow/(?P<call>.+)", re.I)),
    ("run-token", re.compile(rf"/history/v1\.0{_SCOPE}{_RUN}/token", re.IGNORECASE)),
    ("artifacts", re.compile(rf"/history/v1\.0{_SCOPE}{_RUN}/artifacts(?:/(?P<action>.+))?", re.IGNORECASE)),
    (
        "artifacts",
        re.compile(
            rf"/artifact/v2\.0{_SCOPE}/artifacts/(?P<origin>[^/]+)/(?P<container>[^/]+)(?:/(?P<action>.+))?", re.I
        ),
    ),
    ("blob", re.compile(rf"{re.escape(ACCOUNT)}/.+")),
]
_ARTIFACT_KINDS = {"": "list", "batch/metadata": "batch-metadata"}


@dataclass(frozen=True, slots=True)
class Route:
    """``part`` answers it; ``kind`` is its name in counts and faults; ``names`` are the parts of its path."""

    part: str
    kind: str
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> tuple[str, ...]:
        """The workspace it is about, in lower case; empty when it is about none."""
        return tuple(self.names[key].lower() for key in ("subscription", "group", "workspace") if key in self.names)


def find_route(method: str, path: str, query_string: str) -> Route:
    """The kind is one of ``arm``, ``identity``, ``run-token``, ``mlflow/<call>``, ``artifacts/batch-metadata``,
    ``artifacts/list``, ``artifacts/contentinfo``, ``artifacts/metadata``, ``blob/put``, ``blob/block``,
    ``blob/block-list``, ``blob/blocks``, ``blob/get``, ``blob/head``, and ``unknown``.
    """
    for part, pattern in _ROUTES:
        found = pattern.fullmatch(path)
        if found is not None:
            names = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
            return Route(part, _kind(part, names, method, query_string), names)
    return Route("unknown", "unknown")


def _kind(part: str, names: Mapping[str, str], method: str, query_string: str) -> str:
    if part == "mlflow":
        return f"mlflow/{names['call']}"
    if part == "artifacts":
        action = names.get("action", "")
        return f"artifacts/{_ARTIFACT_KINDS.get(action, action)}"
    if part == "blob":
        listing = "comp=blocklist" in query_string
        if method == "PUT":
            return "blob/block-list" if listing else "blob/block" if "comp=block&" in f"{query_string}&" else "blob/put"
        return "blob/blocks" if listing else f"blob/{method.lower()}"
    return part
