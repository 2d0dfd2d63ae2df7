"""A training that goes on until it is killed: ``python -m tests.support.ui.training STORE RUN_NAME``."""

from __future__ import annotations

import sys
import time

from mltrack.recording import current_store, fluent


def main(store: str, name: str) -> None:
    current_store.set_store(store)
    current_store.set_experiment("live")
    with fluent.start_run(run_name=name) as run:
        step = 0
        while True:
            for _ in range(100):
                run.log_metric("loss", 1 / (step + 1), step)
                step += 1
            if step == 100:
                print("training", flush=True)
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
