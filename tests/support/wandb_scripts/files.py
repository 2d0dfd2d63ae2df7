"""Saved files, files in the run's folder, artifacts of several versions."""

# ruff: noqa
# mypy: ignore-errors

import os

import wandb

run = wandb.init(project="spirals", name="files")
os.makedirs("out/deep", exist_ok=True)
for name in ("out/a.txt", "out/b.txt", "out/deep/c.txt", "weights.bin"):
    with open(name, "w") as file:
        file.write(name)
run.save("out/a.txt")
run.save("out/deep/*.txt", base_path="out")
with open(os.path.join(run.dir, "notes.txt"), "w") as file:
    file.write("written into the folder\n")
artifact = wandb.Artifact("weights", type="model", description="the weights", metadata={"epoch": 1})
artifact.add_file("weights.bin")
artifact.add_file("out/b.txt", name="sub/renamed.txt")
artifact.add_dir("out/deep", name="folder")
with artifact.new_file("new.txt") as file:
    file.write("new")
run.log_artifact(artifact, aliases=["best"])
run.log_artifact("out", name="outputs", type="dataset")
run.log_model("weights.bin", name="net")
run.finish()
