"""The filter line: the grammar of searches, and regular expressions between slashes for names of runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.catalog.filter_parser import parse_filter
from mltrack.catalog.overview import Overview, group_name
from mltrack.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GROUP_EXPERIMENT", "GROUP_PARENT", "metric_filter", "parse_line"]

GROUP_EXPERIMENT, GROUP_PARENT = "experiment", "parent"
"""Groupings that every run has."""

_PATTERN = re.compile(r"\s*/((?:[^/\\]|\\.)*)/\s*(?:and\b)?\s*", re.IGNORECASE)


def parse_line(text: str, group_by: str = GROUP_EXPERIMENT) -> Overview:
    r"""What a filter line asks for: ``/seed-\d+/ and metrics.loss < 0.5``, either part alone, or a part of a name.

    A line that is not a comparison, as ``seed``, is looked for in the names of runs.

    Raises:
        FilterError: the line does not parse, or ``group_by`` names nothing that runs can be grouped by.
    """
    group = None if group_by in (GROUP_EXPERIMENT, GROUP_PARENT) else group_name(group_by)
    pattern = ""
    found = _PATTERN.match(text)
    if found is not None:
        pattern, text = found[1].replace("\\/", "/"), text[found.end() :]
    elif re.fullmatch(r"\s*[\w.:-]+\s*", text):
        return Overview("", f"(?i){re.escape(text.strip())}", group)
    parse_filter(text)
    return Overview(text.strip(), pattern, group)


def metric_filter(text: str) -> Callable[[str], bool]:
    """Whether a metric's name is shown, by a regular expression that is found anywhere in it.

    Raises:
        FilterError: it is not a regular expression.
    """
    if not text.strip():
        return lambda name: True
    try:
        pattern = re.compile(text.strip())
    except re.error as error:
        raise FilterError(f"{text!r} is not a regular expression: {error}", hint="escape ( [ * + with \\") from None
    return lambda name: pattern.search(name) is not None
