"""What the panes show of one run: its facts, params and tags, its latest metrics, its log, its images."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from mltrack.environment import USER_TAG
from mltrack.errors import MltrackError
from mltrack.launch.log_reader import last_lines, output_numbers, output_of
from mltrack.text.counting import plural
from mltrack.text.printable import OutputFilter
from mltrack.values.media import image_place

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["Details", "ImageFile", "LogTail", "images_of", "read_details"]

LOG_LINES_MAX = 1_000
LOG_BYTES_MAX = 1 << 20
"""How much of the end of a log is shown."""

IMAGES_MAX = 200
ALERTS_MAX = 10
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Details:
    """A run's params and tags, sorted; its facts as pairs for people."""

    facts: list[tuple[str, str]]
    params: list[tuple[str, str]]
    tags: list[tuple[str, str]]
    artifacts: int = 0


def read_details(run: StoredRun) -> Details:
    """From the events that were read."""
    writers = run.state.writers.values()
    facts = [("id", run.run_id)]
    hosts = sorted({writer.host for writer in writers if writer.host})
    if hosts:
        facts.append(("host", ", ".join(hosts)))
    if run.tags.get(USER_TAG):
        facts.append(("user", run.tags[USER_TAG]))
    for used in run.datasets:
        facts.append(("dataset", f"{used.dataset.name} ({used.dataset.digest})"))
    if run.lost:
        facts.append(("lost", f"{plural(run.lost, 'point')}, as the disk was full or failing"))
    facts += [("alert", alert.message) for alert in run.alerts()[-ALERTS_MAX:]]
    return Details(facts, sorted(run.params.items()), sorted(run.tags.items()), len(run.artifacts))


class LogTail:
    """The end of a launched program's output; each poll reads what is new."""

    def __init__(self, run: StoredRun, number: int = 0) -> None:
        """The log of that number: a run may have been resumed by several launches at once."""
        self._run = run
        self._number = number
        self._read = 0
        self._kept = b""
        self._text = ""

    def poll(self) -> bool:
        """Read on; whether there was anything new.

        Raises:
            MltrackError, OSError: it can't be read.
        """
        if self._number not in output_numbers(self._run):
            return False
        before = self._read
        for piece in output_of(self._run, self._read, number=self._number):
            self._read += len(piece)
            self._kept = (self._kept + piece)[-LOG_BYTES_MAX:]
        if self._read == before:
            return False
        shown = OutputFilter()
        lines = [line.rpartition(b"\r")[2] for line in self._kept.replace(b"\r\n", b"\n").split(b"\n")]
        self._text = shown.feed(last_lines([b"\n".join(lines)], LOG_LINES_MAX)) + shown.close()
        return True

    @property
    def text(self) -> str:
        """Its last lines, with their colours and without what else would steer a terminal; empty without any."""
        return self._text


class ImageFile(NamedTuple):
    """An image of a run: the name of the file, and where it is."""

    name: str
    path: Path

    @property
    def title(self) -> str:
        """What it is called: of a series its key and the step."""
        place = image_place(self.name)
        return self.name if place is None else f"{place.key}, step {place.step:,}"


def images_of(run: StoredRun) -> list[ImageFile]:
    """The images among a run's files, the latest first; without thumbnails, and those that are not on this disk."""
    found: list[ImageFile] = []
    for artifact in sorted(run.artifacts, key=lambda artifact: -artifact.time):
        name = PurePosixPath(artifact.path)
        if name.suffix.lower() in _IMAGE_SUFFIXES and not artifact.remote and not name.stem.endswith("+compressed"):
            with contextlib.suppress(MltrackError, OSError):
                found.append(ImageFile(artifact.path, run.artifact_path(artifact.path)))
        if len(found) >= IMAGES_MAX:
            break
    return found
