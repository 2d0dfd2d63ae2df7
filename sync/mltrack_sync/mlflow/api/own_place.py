"""Where servers of another kind keep artifacts in a way of their own, beside the places MLflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.progress import FileMeter

__all__ = ["Attempts", "OwnPlace"]


class Attempts(Protocol):
    """How often a file may go when answers are lost; see files/attempts.py."""

    def send(self, of: tuple[str, str], sha256: str, send: Callable[[], None], is_there: Callable[[], bool]) -> None:
        """Send it, unless it was tried often enough; ``is_there`` finds out whether it arrived."""


class OwnPlace(Protocol):
    """The artifacts of one run in such a place; it says clearly of a file that it is not there."""

    def send(self, artifact: Artifact, path: Path, *, meter: FileMeter, of: str, attempts: Attempts) -> None:
        """Send one file, whole and with the content that was recorded, or not at all.

        Args:
            artifact: The file as it was recorded.
            path: Where it is here.
            meter: Is told how far it is.
            of: The run or model that it belongs to.
            attempts: Bounds how often it goes when answers are lost.

        Raises:
            FileChanged: it has another content here.
            RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or not now.
            OSError: it can't be read.
        """

    def digest(self, path: str, bytes_max: int) -> tuple[int, str]:
        """Size and SHA-256 of a file as it is on the remote; of a larger one only so much is read.

        Raises:
            RemoteRefusedError, RemoteUnavailableError: it is not there, or not to be had now.
        """
