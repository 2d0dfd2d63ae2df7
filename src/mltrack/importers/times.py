"""Times as trackers write them in JSON: in ISO 8601, or in ms since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mltrack.importers.logged_rows import INT64_MAX, is_step

__all__ = ["NS_PER_MS", "ns_of", "ns_of_ms"]

NS_PER_MS = 1_000_000

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def ns_of(text: object) -> int:
    """A time in ISO 8601 in ns since the epoch; 0 if it is none. Without an offset it is UTC."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    found = (moment - _EPOCH) // _MICROSECOND * 1_000
    return found if abs(found) <= INT64_MAX else 0


def ns_of_ms(value: object) -> int:
    """A time in ms since the epoch in ns; 0 if it is none."""
    return value * NS_PER_MS if is_step(value) and 0 < value <= INT64_MAX // NS_PER_MS else 0
