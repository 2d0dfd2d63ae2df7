"""Images, histograms, tables, HTML, charts."""

# ruff: noqa
# mypy: ignore-errors

import numpy as np
import wandb
from PIL import Image

run = wandb.init(project="spirals", name="media")
pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
run.log({"pixels": wandb.Image(pixels, caption="a caption")})
run.log({"nested": {"image": wandb.Image(Image.fromarray(pixels))}})
run.log(
    {
        "examples": [
            wandb.Image(pixels[:, :, 0]),
            wandb.Image(pixels[:4]),
            wandb.Image(np.linspace(2, 200, 16).reshape(4, 4)),
        ]
    }
)
run.log(
    {
        "floats": wandb.Image(np.linspace(2, 255, 48).reshape(4, 4, 3)),
        "rgba": wandb.Image(np.zeros((2, 2, 4), np.uint8)),
        "int": wandb.Image(np.arange(9).reshape(3, 3) * 20),
    }
)
run.log({"weights": wandb.Histogram(np_histogram=([1, 2, 3], [0.0, 0.5, 1.0, 2.0]))})
run.log({"values": wandb.Histogram(np.linspace(-1, 1, 1000)), "bins": wandb.Histogram([1, 2, 2, 3], num_bins=4)})
table = wandb.Table(columns=["x", "name"], data=[[1, "a"], [2.5, "b"]])
table.add_data(3, "c")
run.log({"table": table, "section/table": wandb.Table(columns=["n"], data=[[None], [float("nan")], [True]])})
run.log({"page": wandb.Html("<p>words</p>")})
data = [[x, x * x] for x in range(5)]
xy = wandb.Table(data=data, columns=["x", "y"])
run.log({"line": wandb.plot.line(xy, "x", "y", title="a line"), "scatter": wandb.plot.scatter(xy, "x", "y")})
run.log(
    {
        "bar": wandb.plot.bar(
            wandb.Table(data=[["a", 1.0], ["b", 2.0]], columns=["label", "value"]), "label", "value", title="bars"
        )
    }
)
run.log({"hist": wandb.plot.histogram(xy, "y", title="counts")})
run.log(
    {"lines": wandb.plot.line_series(xs=[0, 1, 2], ys=[[1, 2, 3], [3, 2, 1]], keys=["a", "b"], title="two", xname="t")}
)
run.log(
    {"confusion": wandb.plot.confusion_matrix(y_true=[0, 1, 2, 1], preds=[0, 2, 2, 1], class_names=["a", "b", "c"])}
)
run.log({"confusion2": wandb.plot.confusion_matrix(y_true=[0, 1], probs=np.array([[0.9, 0.1], [0.6, 0.4]]))})
run.finish()
