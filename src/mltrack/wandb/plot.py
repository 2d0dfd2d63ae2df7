"""``wandb.plot``: each chart is logged as the table that it is drawn from, under its key with ``_table`` added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mltrack.wandb.errors import Error, UsageError
from mltrack.wandb.refused import refuse
from mltrack.wandb.table_type import Table

__all__ = [
    "Chart",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: the table, and how wandb would draw it."""

    table: Table
    kind: str
    fields: dict[str, Any]
    texts: dict[str, Any]


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: dict[str, Any],
    string_fields: dict[str, Any] | None = None,
    split_table: bool = False,
) -> Chart:
    """A chart of wandb's, or of one's own.

    Args:
        vega_spec_name: which.
        data_table: what it is drawn from.
        fields: which column is what.
        string_fields: title and other texts.
        split_table: has no effect.

    Raises:
        Error: it is not a table.
    """
    if not isinstance(data_table, Table):
        raise Error(f"{type(data_table).__name__} is not a wandb.Table", hint="wandb.Table(columns=..., data=...)")
    return Chart(data_table, vega_spec_name, fields, string_fields or {})


def line(table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False) -> Chart:
    """A line of column ``y`` over column ``x``."""
    return plot_table("wandb/line/v0", table, {"x": x, "y": y, "stroke": stroke}, {"title": title})


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> Chart:
    """Points of column ``y`` over column ``x``."""
    return plot_table("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title})


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> Chart:
    """A bar for each row."""
    return plot_table("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title})


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> Chart:
    """How often a column has which value."""
    return plot_table("wandb/histogram/v0", table, {"value": value}, {"title": title})


def line_series(
    xs: Any,
    ys: Any,
    keys: Sequence[str] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> Chart:
    """Several lines.

    Args:
        xs: the x values of all lines, or of each.
        ys: the y values of each line.
        keys: their names.
        title: the chart's.
        xname: the x axis's.
        split_table: has no effect.

    Raises:
        UsageError: there are not as many of each.
    """
    lines = list(ys)
    first = next(iter(xs), None)
    each = list(xs) if isinstance(first, Iterable) and not isinstance(first, str | bytes) else [xs] * len(lines)
    names = list(keys) if keys is not None else [f"line_{number}" for number in range(len(lines))]
    if not len(each) == len(lines) == len(names):
        raise UsageError(f"{len(each)} xs, {len(lines)} ys and {len(names)} keys", hint="give as many of each")
    rows = [
        [x, name, y]
        for name, own_xs, own_ys in zip(names, each, lines, strict=True)
        for x, y in zip(own_xs, own_ys, strict=False)
    ]
    table = Table(columns=["step", "lineKey", "lineVal"], data=rows)
    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    return plot_table("wandb/lineseries/v0", table, fields, {"title": title, "xname": xname})


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> Chart:
    """How often each class was taken for which.

    Args:
        probs: for each example the probability of each class.
        y_true: the right classes.
        preds: the classes that were predicted, in place of probs.
        class_names: names, else Class_1 and so on.
        title: the chart's.
        split_table: has no effect.

    Raises:
        UsageError: they don't fit together.
    """
    import numpy as np

    if (probs is None) == (preds is None) or y_true is None:
        raise UsageError("confusion_matrix needs y_true, and one of probs and preds", hint="preds=[...]")
    found = np.argmax(np.asarray(probs), axis=1).tolist() if probs is not None else np.asarray(preds).tolist()
    right = np.asarray(y_true).tolist()
    if len(found) != len(right):
        raise UsageError(f"{len(found)} predictions and {len(right)} classes", hint="give as many of each")
    classes = list(range(len(class_names))) if class_names is not None else sorted({*found, *right})
    names = list(class_names) if class_names is not None else [f"Class_{n + 1}" for n in range(len(classes))]
    places = {value: number for number, value in enumerate(classes)}
    if not places.keys() >= {*found, *right}:
        raise UsageError("a class is not one of class_names", hint="give the classes as numbers from 0")
    counts = np.zeros((len(classes), len(classes)))
    for true, predicted in zip(right, found, strict=True):
        counts[places[true], places[predicted]] += 1
    rows = [[a, b, counts[i, j]] for i, a in enumerate(names) for j, b in enumerate(names)]
    columns = ["Actual", "Predicted", "nPredictions"]
    return plot_table(
        "wandb/confusion_matrix/v1", Table(columns=columns, data=rows), {c: c for c in columns}, {"title": title}
    )


def roc_curve(
    y_true: Any,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Any = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> Chart:
    """For each class the true over the false positive rate. Needs scikit-learn.

    Args:
        y_true: the right classes.
        y_probas: for each example the probability of each class.
        labels: names of classes.
        classes_to_plot: only these.
        title: the chart's.
        split_table: has no effect.
    """
    from sklearn.metrics import roc_curve as curve

    rows = []
    for name, true, probabilities, value in _of_classes(y_true, y_probas, labels, classes_to_plot):
        false_rate, true_rate, _ = curve(true, probabilities, pos_label=value)
        rows += [[name, round(float(x), 3), round(float(y), 3)] for x, y in zip(false_rate, true_rate, strict=True)]
    table = Table(columns=["class", "fpr", "tpr"], data=rows)
    return plot_table("wandb/area-under-curve/v0", table, {"x": "fpr", "y": "tpr", "class": "class"}, {"title": title})


def pr_curve(
    y_true: Any,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Any = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> Chart:
    """For each class the greatest precision at ``interp_size`` recalls. Needs scikit-learn.

    Args:
        y_true: the right classes.
        y_probas: for each example the probability of each class.
        labels: names of classes.
        classes_to_plot: only these.
        interp_size: how many recalls.
        title: the chart's.
        split_table: has no effect.
    """
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    recalls = np.linspace(0, 1, interp_size)[::-1]
    rows = []
    for name, true, probabilities, value in _of_classes(y_true, y_probas, labels, classes_to_plot):
        precision, recall, _ = precision_recall_curve(true, probabilities, pos_label=value)
        best = np.maximum.accumulate(precision)[::-1]
        at = np.searchsorted(recall[::-1], recalls, side="left")
        rows += [[name, round(float(best[i]), 3), round(float(r), 3)] for i, r in zip(at, recalls, strict=True)]
    table = Table(columns=["class", "precision", "recall"], data=rows)
    fields = {"x": "recall", "y": "precision", "class": "class"}
    return plot_table("wandb/area-under-curve/v0", table, fields, {"title": title})


def _of_classes(
    y_true: Any, y_probas: Any, labels: Sequence[str] | None, chosen: Any
) -> Iterable[tuple[Any, Any, Any, Any]]:
    """Name, right classes, probabilities and value of each class."""
    import numpy as np

    true, probabilities = np.asarray(y_true), np.asarray(y_probas)
    for number, value in enumerate(np.unique(true)):
        if chosen is None or value in chosen:
            is_whole = isinstance(value, int | np.integer)
            name = labels[int(value)] if labels is not None and is_whole else value
            yield name, true, probabilities[..., number], value


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise refuse(f"plot.{name}")
