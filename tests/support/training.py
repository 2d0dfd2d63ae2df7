"""A training in a process of its own that does as its stdin says.

``python -m tests.support.training STORE EXPERIMENT``: each
line is a call of mltrack's; its result, as JSON, is a line on stdout.
"""

from __future__ import annotations

import json
import os
import sys

import mltrack

if __name__ == "__main__":
    mltrack.set_store(sys.argv[1])
    mltrack.set_experiment(sys.argv[2])
    step = 0
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        answer = None
        if what == "start":
            run = mltrack.start_run(**arguments[0])
            answer = run.run_id
        elif what == "log":
            for _ in range(arguments[0]):
                mltrack.log_metric(f"m{os.environ.get('RANK', '')}", step * 0.5, step=step)
                step += 1
        else:
            mltrack.end_run(*arguments)
        print(json.dumps(answer), flush=True)
