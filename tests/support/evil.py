"""A store in which every name and text tries to leave its place: as markup, as a script, as a terminal's sequence."""

from __future__ import annotations

from pathlib import Path

import mltrack
from mltrack.recording import current_store, fluent
from mltrack.store import Store

__all__ = ["EVIL", "evil_store"]

EVIL = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|[a](https://evil.example)&amp;$x$\x1b[2J\u202e"
)


def evil_store(folder: Path) -> Store:
    """Two ended runs with params, tags, metrics, tables, texts, histograms and logs of that kind."""
    current_store.set_store(folder / ".mltrack")
    current_store.set_experiment(f"experiment {EVIL}")
    for number in range(2):
        with fluent.start_run(
            run_name=f"run{number} {EVIL}", tags={f"tag {EVIL}": EVIL, "mlflow.note.content": f"# note\n\n{EVIL}"}
        ) as run:
            run.log_params({f"param {EVIL}": f"{number}{EVIL}", f"same {EVIL}": EVIL})
            for step in range(3):
                run.log_metric(f"metric {EVIL}", float(step * number), step)
            run.log({f"text {EVIL}": mltrack.Text(f"{EVIL}\n```\n{EVIL}")}, step=1)
            run.log({f"table {EVIL}": mltrack.Table([{f"column {EVIL}": EVIL}])}, step=1)
            run.log({f"bars {EVIL}": mltrack.Histogram([1.0, 2.0, 2.0])}, step=1)
            run.log_text(f"\x1b[31m{EVIL}\x1b]0;title\x07\n```\nlast line {number}\n", "user_logs/std_log.txt")
    current_store.set_store(None)
    return Store.open(folder / ".mltrack")
