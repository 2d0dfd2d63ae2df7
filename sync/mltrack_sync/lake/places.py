"""Where a lake is: a folder of this machine, or a prefix of a bucket, by the URL of a remote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mltrack.errors import UsageError
from mltrack_sync.stores.folders import folder_of_url

__all__ = ["SCHEMES", "LakePlace", "is_lake_url"]

FOLDER_SCHEME = "delta:"

SCHEMES = ("s3", "abfss", "gs")
"""The schemes of URLs on object storage."""

_ALIASES = {"s3a": "s3", "abfs": "abfss", "gcs": "gs"}
_HINT = "give one such as s3://bucket/prefix, abfss://container@account.dfs.core.windows.net/path or delta:/path"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTAINER = re.compile(r"[a-z0-9$-]+@[A-Za-z0-9.-]+(?::\d+)?")


def is_lake_url(text: str) -> bool:
    """Whether a text is meant as the URL of a lake."""
    scheme = text.partition(":")[0].lower()
    return text.lower().startswith(FOLDER_SCHEME) or ("://" in text and _ALIASES.get(scheme, scheme) in SCHEMES)


@dataclass(frozen=True, slots=True)
class LakePlace:
    """The place of a lake. ``url`` is the form that is kept: ``delta:/PATH``, or ``SCHEME://BUCKET/PREFIX``."""

    url: str

    @classmethod
    def parse(cls, text: str) -> LakePlace:
        """The place that a text names.

        Raises:
            UsageError: it does not name one, or holds credentials.
        """
        if not isinstance(text, str):
            raise UsageError(f"{text!r} is not the URL of a lake", hint="give a text such as delta:/path")
        if text.lower().startswith(FOLDER_SCHEME):
            path = text[len(FOLDER_SCHEME) :]
            path = path.removeprefix("//") if path.startswith("///") else path
            if not path or path.startswith("//"):
                raise UsageError(f"{text!r} does not name a folder", hint="give one such as delta:/path")
            return cls(FOLDER_SCHEME + folder_of_url(path))
        parts = urlsplit(text)
        scheme = _ALIASES.get(parts.scheme, parts.scheme)
        is_host = _CONTAINER if scheme == "abfss" else _BUCKET
        if scheme not in SCHEMES or is_host.fullmatch(parts.netloc) is None:
            words = "holds credentials" if "@" in parts.netloc and scheme != "abfss" else "is not the URL of a lake"
            raise UsageError(f"the URL {_shown(text)} {words}", hint=_HINT)
        path = "/".join(part for part in parts.path.split("/") if part)
        if parts.query or parts.fragment or not re.fullmatch(r"[\w./=@+ -]*", path) or ".." in path.split("/"):
            raise UsageError(f"the URL {_shown(text)} is not one of a lake", hint=_HINT)
        return cls(f"{scheme}://{parts.netloc}/{path}".rstrip("/"))

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one of this machine."""
        if self.url.startswith(FOLDER_SCHEME):
            return Path(self.url.removeprefix(FOLDER_SCHEME))
        return None

    @property
    def uri(self) -> str:
        """What engines call it: the folder's path, or the URL."""
        return self.url.removeprefix(FOLDER_SCHEME)

    def table(self, name: str) -> str:
        """The URI of one of its tables."""
        return f"{self.uri}/{name}"


def _shown(text: str) -> str:
    """The text without what may be a password."""
    return repr(re.sub(r"//[^/@]*@", "//...@", text).partition("?")[0])
