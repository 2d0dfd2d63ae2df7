"""``wandb.sklearn``: what a model of scikit-learn's is like, as the tables that wandb's charts are drawn from.

Each function logs one table to the current run, under the name of its chart with ``_table`` added. The numbers are
scikit-learn's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn import base, calibration, cluster, metrics, model_selection

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import need_run
from mltrack.wandb.refused import refuse

__all__ = [
    "plot_calibration_curve",
    "plot_class_proportions",
    "plot_classifier",
    "plot_clusterer",
    "plot_confusion_matrix",
    "plot_elbow_curve",
    "plot_feature_importances",
    "plot_learning_curve",
    "plot_outlier_candidates",
    "plot_precision_recall",
    "plot_regressor",
    "plot_residuals",
    "plot_roc",
    "plot_silhouette",
    "plot_summary_metrics",
]

ROWS_MAX = 1_000
"""Charts of examples show so many of them, evenly chosen."""


def _log(chart: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = wandb.Table(columns=list(columns), data=[[_plain(cell) for cell in row] for row in rows])
    drawn = wandb.plot_table(f"wandb/{chart}/v0", table, {name: name for name in columns})
    need_run(f"wandb.sklearn logs {chart}").log({chart: drawn})


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def _name_of(value: Any, labels: Sequence[str] | None) -> Any:
    """The name of a class, which may be a number from 0."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return labels[int(value)] if labels is not None and whole and 0 <= value < len(labels) else value


def _some(count: int) -> Any:
    return np.linspace(0, count - 1, min(count, ROWS_MAX)).astype(int)


# --- classifiers ---


def plot_classifier(
    model: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    y_pred: Any,
    y_probas: Any,
    labels: Sequence[str] | None,
    is_binary: bool = False,
    model_name: str = "Classifier",
    feature_names: Sequence[str] | None = None,
    log_learning_curve: bool = False,
) -> None:
    """Log all that applies to a classifier that was fitted: the functions of this module, one after the other."""
    if hasattr(model, "feature_importances_") or hasattr(model, "coef_"):
        plot_feature_importances(model, feature_names)
    if log_learning_curve:
        plot_learning_curve(model, X_train, y_train)
    plot_confusion_matrix(y_test, y_pred, labels)
    plot_summary_metrics(model, X_train, y_train, X_test, y_test)
    plot_class_proportions(y_train, y_test, labels)
    if len(np.unique(y_train)) == 2 and hasattr(model, "predict_proba"):
        plot_calibration_curve(model, X_train, y_train, model_name)
    plot_roc(y_test, y_probas, labels)
    plot_precision_recall(y_test, y_probas, labels)


def plot_roc(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    plot_micro: bool = True,
    plot_macro: bool = True,
    classes_to_plot: Any = None,
) -> None:
    """Log for each class the true over the false positive rate, as ``roc``."""
    run = need_run("plot_roc()")
    run.log({"roc": wandb.plot.roc_curve(y_true, y_probas, labels, classes_to_plot)})


def plot_precision_recall(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[str] | None = None,
    plot_micro: bool = True,
    classes_to_plot: Any = None,
) -> None:
    """Log for each class precision over recall, as ``precision_recall``."""
    run = need_run("plot_precision_recall()")
    run.log({"precision_recall": wandb.plot.pr_curve(y_true, y_probas, labels, classes_to_plot)})


def plot_confusion_matrix(
    y_true: Any = None,
    y_pred: Any = None,
    labels: Sequence[str] | None = None,
    true_labels: Any = None,
    pred_labels: Any = None,
    normalize: bool = False,
) -> None:
    """Log how often each class was taken for which, as ``confusion_matrix``.

    Args:
        y_true: the right classes.
        y_pred: the classes that were predicted.
        labels: names of classes that are numbers from 0.
        true_labels: only these right classes.
        pred_labels: only these predicted ones.
        normalize: the part of each right class, in place of the number.
    """
    classes = np.unique(np.concatenate([np.asarray(y_true), np.asarray(y_pred)]))
    counts = metrics.confusion_matrix(y_true, y_pred, labels=classes, normalize="true" if normalize else None)
    rows = [
        [_name_of(predicted, labels), _name_of(true, labels), counts[i, j]]
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
        if (true_labels is None or true in true_labels) and (pred_labels is None or predicted in pred_labels)
    ]
    _log("confusion_matrix", ["Predicted", "Actual", "Count"], rows)


def plot_class_proportions(y_train: Any = None, y_test: Any = None, labels: Sequence[str] | None = None) -> None:
    """Log how many examples of each class there are, as ``class_proportions``."""
    rows = [
        [_name_of(value, labels), name, count]
        for name, given in (("train", y_train), ("test", y_test))
        for value, count in zip(*np.unique(np.asarray(given), return_counts=True), strict=True)
    ]
    _log("class_proportions", ["class", "dataset", "count"], rows)


def plot_calibration_curve(clf: Any = None, X: Any = None, y: Any = None, clf_name: str = "Classifier") -> None:
    """Log which part of the examples with a predicted probability is positive, as ``calibration_curve``.

    There have to be two classes.
    """
    fractions, means = calibration.calibration_curve(y, clf.predict_proba(X)[:, 1], n_bins=10)
    rows = [[clf_name, fraction, mean] for fraction, mean in zip(fractions, means, strict=True)]
    _log("calibration_curve", ["model", "fraction_of_positives", "mean_predicted_value"], rows)


def plot_feature_importances(
    model: Any = None,
    feature_names: Sequence[str] | None = None,
    title: str = "Feature Importance",
    max_num_features: int = 50,
) -> None:
    """Log how much each feature counts, the greatest first, as ``feature_importances``.

    Raises:
        UsageError: the model has neither feature_importances_ nor coef_.
    """
    found = getattr(model, "feature_importances_", None)
    if found is None:
        found = getattr(model, "coef_", None)
    if found is None:
        raise wandb.UsageError("the model has no feature_importances_ or coef_", hint="fit it, or leave this out")
    values = np.asarray(found)
    values = np.abs(values).mean(axis=0) if values.ndim == 2 else values
    names = [f"feature_{number}" for number in range(len(values))] if feature_names is None else list(feature_names)
    order = np.argsort(values)[::-1][:max_num_features]
    _log("feature_importances", ["feature_names", "importances"], [[names[at], values[at]] for at in order])


# --- any model ---


def plot_summary_metrics(
    model: Any = None, X: Any = None, y: Any = None, X_test: Any = None, y_test: Any = None
) -> None:
    """Log the usual scores of a model on the test data, as ``summary_metrics``; a copy is fitted first."""
    fitted = base.clone(model).fit(X, y)
    found = fitted.predict(X_test)
    if base.is_classifier(fitted):
        average = {"average": "weighted", "zero_division": 0}
        scores = {
            "accuracy_score": metrics.accuracy_score(y_test, found),
            "precision": metrics.precision_score(y_test, found, **average),
            "recall": metrics.recall_score(y_test, found, **average),
            "f1_score": metrics.f1_score(y_test, found, **average),
        }
    else:
        scores = {
            "mae": metrics.mean_absolute_error(y_test, found),
            "mse": metrics.mean_squared_error(y_test, found),
            "r2_score": metrics.r2_score(y_test, found),
        }
    name = type(model).__name__
    _log("summary_metrics", ["metric_name", "metric_value", "model_name"], [[*each, name] for each in scores.items()])


def plot_learning_curve(
    model: Any = None,
    X: Any = None,
    y: Any = None,
    cv: Any = None,
    shuffle: bool = False,
    random_state: Any = None,
    train_sizes: Any = None,
    n_jobs: int = 1,
    scoring: Any = None,
) -> None:
    """Log scores over the number of examples, by scikit-learn's ``learning_curve``, as ``learning_curve``."""
    sizes = np.linspace(0.1, 1.0, 5) if train_sizes is None else train_sizes
    counts, train, test = model_selection.learning_curve(
        model,
        X,
        y,
        cv=cv,
        n_jobs=n_jobs,
        train_sizes=sizes,
        scoring=scoring,
        shuffle=shuffle,
        random_state=random_state,
    )
    rows = [
        [name, score, count]
        for name, scores in (("train", train), ("test", test))
        for score, count in zip(scores.mean(axis=1), counts, strict=True)
    ]
    _log("learning_curve", ["dataset", "score", "train_size"], rows)


# --- regressors ---


def plot_regressor(
    model: Any, X_train: Any, X_test: Any, y_train: Any, y_test: Any, model_name: str = "Regressor"
) -> None:
    """Log all that applies to a regressor: summary_metrics, learning_curve, outlier_candidates and residuals."""
    plot_summary_metrics(model, X_train, y_train, X_test, y_test)
    plot_learning_curve(model, X_train, y_train)
    plot_outlier_candidates(model, X_train, y_train)
    plot_residuals(model, X_train, y_train)


def plot_residuals(regressor: Any = None, X: Any = None, y: Any = None) -> None:
    """Log predictions and their errors, on four fifths of the data and on the rest, as ``residuals``."""
    X_train, X_test, y_train, y_test = model_selection.train_test_split(X, y, test_size=0.2, random_state=0)
    fitted = base.clone(regressor).fit(X_train, y_train)
    rows = []
    for name, given, right in (("train", X_train, y_train), ("test", X_test, y_test)):
        found = fitted.predict(given)
        error = np.asarray(right) - found
        rows += [[name, found[at], error[at]] for at in _some(len(found))]
    _log("residuals", ["dataset", "y_pred", "residuals"], rows)


def plot_outlier_candidates(regressor: Any = None, X: Any = None, y: Any = None) -> None:
    """Log Cook's distance of each example, and the usual threshold for outliers, as ``outlier_candidates``."""
    values, right = np.asarray(X, float), np.asarray(y, float)
    fitted = base.clone(regressor).fit(values, right)
    error = right - fitted.predict(values)
    count, features = values.shape
    leverage = np.einsum("ij,ji->i", values, np.linalg.pinv(values))
    variance = float(error @ error) / max(1, count - features)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = error**2 / (features * variance) * leverage / (1 - leverage) ** 2
    threshold = 4 / count
    part = float((distance > threshold).mean() * 100)
    rows = [[distance[at], part, threshold] for at in _some(count)]
    _log("outlier_candidates", ["distance", "outlier_percentage", "influence_threshold"], rows)


# --- clusterers ---


def plot_clusterer(
    model: Any, X_train: Any, cluster_labels: Any, labels: Any = None, model_name: str = "Clusterer"
) -> None:
    """Log elbow_curve, for KMeans, and silhouette_plot."""
    if isinstance(model, cluster.KMeans | cluster.MiniBatchKMeans):
        plot_elbow_curve(model, X_train)
    plot_silhouette(model, X_train, cluster_labels, labels=labels)


def plot_elbow_curve(
    clusterer: Any = None,
    X: Any = None,
    cluster_ranges: Any = None,
    n_jobs: int = 1,
    show_cluster_time: bool = True,
) -> None:
    """Log the error and the time over the number of clusters, as ``elbow_curve``."""
    rows = []
    for count in sorted(range(1, 10, 2) if cluster_ranges is None else cluster_ranges):
        began = time.perf_counter()
        fitted = base.clone(clusterer).set_params(n_clusters=count).fit(X)
        rows.append([count, abs(fitted.score(X)), time.perf_counter() - began])
    _log("elbow_curve", ["cluster_ranges", "errors", "clustering_time"], rows)


def plot_silhouette(
    clusterer: Any = None,
    X: Any = None,
    cluster_labels: Any = None,
    labels: Any = None,
    metric: str = "euclidean",
    kmeans: bool = True,
) -> None:
    """Log how well each example lies in its cluster, by cluster and from the least on, as ``silhouette_plot``."""
    given = np.asarray(cluster_labels)
    found = metrics.silhouette_samples(X, given, metric=metric)
    order = np.lexsort((found, given))
    rows = [[_name_of(given[at], labels), found[at]] for at in order[_some(len(order))]]
    _log("silhouette_plot", ["cluster", "silhouette"], rows)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise refuse(f"sklearn.{name}")
