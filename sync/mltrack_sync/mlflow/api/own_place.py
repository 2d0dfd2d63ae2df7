"""Artifact stores that are specific to a kind of server, in addition to those that MLflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.progress import FileMeter

__all__ = ["Attempts", "OwnPlace"]


class Attempts(Protocol):
    """How often a file may be sent when answers are lost; see files/attempts.py."""

    def send(self, of: tuple[str, str], sha256: str, send: Callable[[], None], arrived: Callable[[], bool]) -> None:
        """Send it, unless it was tried often enough; ``arrived`` finds out whether it arrived."""


class OwnPlace(Protocol):
    """The artifacts of one run in such a store, which answers clearly when a file is missing."""

    def send(self, artifact: Artifact, path: Path, *, meter: FileMeter, of: str, attempts: Attempts) -> None:
        """Send one file as a whole, with the content that was recorded, or not at all.

        Args:
            artifact: The file as it was recorded.
            path: The local file.
            meter: Receives the progress.
            of: The run or model that it belongs to.
            attempts: Limits how often it is sent when answers are lost.

        Raises:
            FileChanged: its content here is no longer what was recorded.
            RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or can't now.
            OSError: it can't be read.
        """

    def digest(self, path: str, bytes_max: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as it is on the remote; of a larger one no more than ``bytes_max`` is read.

        Raises:
            RemoteRefusedError, RemoteUnavailableError: the remote does not have it, or it can't be had now.
        """

    def read(self, path: str, begin: Callable[[], Callable[[bytes], object]]) -> None:
        """Hand on a file piece by piece; ``begin`` gives, for each attempt, what takes the pieces.

        Raises:
            RemoteRefusedError, RemoteUnavailableError: the remote does not have it, or it can't be had now.
        """
