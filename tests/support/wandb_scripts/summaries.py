"""Summaries by define_metric and by hand, x axes, goals."""

# ruff: noqa
# mypy: ignore-errors

import wandb

with wandb.init(project="spirals", name="summaries", config={"lr": 1}) as run:
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    run.define_metric("least", summary="min")
    run.define_metric("most", summary="max,last")
    run.define_metric("mean", summary="mean")
    run.define_metric("first", summary="first")
    run.define_metric("none", summary="none")
    run.define_metric("hidden", hidden=True)
    run.define_metric("synced", step_metric="clock")
    for step in range(5):
        value = abs(step - 2) + 0.5
        run.log({name: value for name in ("plain", "least", "most", "mean", "first", "none", "hidden")})
    for epoch in range(3):
        run.log({"val/loss": 0.5 / (epoch + 1), "val/deep": {"er": epoch}, "epoch": epoch * 10})
    run.log({"val/loss": 0.125})
    run.log({"clock": 5})
    run.log({"synced": 1})
    run.log({"synced": 2, "clock": 6})
    run.log({"synced": 3})
    run.summary["by hand"] = 0.125
    run.summary["plain"] = 99
    run.summary["nested"] = {"deep": 3}
    run.summary.update({"text": "words", "flag": True})
    run.log({"after": 1})
    run.summary["by hand"] = 0.25
    assert run.summary["by hand"] == 0.25
