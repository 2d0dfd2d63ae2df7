"""When two scorers are the same: by what their JSON texts say, as servers may write them in another form."""

from __future__ import annotations

import json

__all__ = ["same_content"]


def same_content(serialized: str) -> str:
    """A text that is equal for two scorers of one content."""
    try:
        return json.dumps(json.loads(serialized), sort_keys=True)
    except ValueError:
        return serialized
