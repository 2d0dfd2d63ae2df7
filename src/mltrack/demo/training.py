"""A small real training to record: a sweep of neural networks, in NumPy, that learn to distinguish spirals."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.recording.announcements import silence
from mltrack.recording.current_store import set_experiment
from mltrack.recording.fluent import start_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mltrack.recording.run import Run

    Floats = npt.NDArray[np.float64]
    Labels = npt.NDArray[np.int64]

__all__ = ["EXPERIMENT", "Recording", "Trial", "sweep", "trials"]

EXPERIMENT = "spirals"
CLASSES = 3
EXAMPLES = 1_500
NOISE = 0.17
TURN = 6.5  # how far the arms turn, in radians
BATCH = 128
EVALUATE_EVERY = 20
POINTS_PER_STEP = 4
IMAGE_PIXELS = 240
SEED = 7
COLORS = np.array([[0.13, 0.47, 0.71], [1.0, 0.60, 0.20], [0.20, 0.63, 0.36]])


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the sweep."""

    name: str
    hidden: int
    learning_rate: float
    steps: int


@dataclass(slots=True)
class Recording:
    """What was recorded, the time spent in logging calls, and that of the whole training."""

    points: int = 0
    logging_ns: int = 0
    training_ns: int = 0

    @property
    def points_per_second(self) -> float:
        """Points per second of the logging calls."""
        return self.points / (self.logging_ns / 1e9) if self.logging_ns else 0.0

    @property
    def share(self) -> float:
        """The share of the training's time spent logging, from 0 to 1."""
        return self.logging_ns / self.training_ns if self.training_ns else 0.0


def trials(points: int) -> list[Trial]:
    """A grid of network sizes and learning rates that logs about that many points in all."""
    grid = [(hidden, rate) for hidden in (8, 32) for rate in (0.003, 0.01, 0.03)]
    steps = max(EVALUATE_EVERY, round(points / len(grid) / (POINTS_PER_STEP + 2 / EVALUATE_EVERY)))
    return [Trial(f"h{hidden}-lr{rate:g}", hidden, rate, steps) for hidden, rate in grid]


def sweep(plan: list[Trial], *, done: Callable[[Trial, float], None], advanced: Callable[[int], None]) -> Recording:
    """Train every trial as a child of one run, recorded into the store that is set.

    ``advanced(steps)`` is called now and then, ``done(trial, accuracy)`` after each trial.
    """
    silence()
    set_experiment(EXPERIMENT)
    recording = Recording()
    with start_run(run_name="sweep", tags={"demo": "parent"}, description=NOTE) as parent:
        parent.log_params({"trials": len(plan), "classes": CLASSES, "examples": EXAMPLES, "noise": NOISE})
        scores: dict[str, float] = {}
        for number, trial in enumerate(plan):
            with start_run(run_name=trial.name, nested=True, tags={"demo": "trial"}) as run:
                scores[trial.name] = _train(run, trial, recording, advanced)
            parent.log({"val_accuracy": scores[trial.name], "best_val_accuracy": max(scores.values())}, step=number)
            recording.points += 2
            done(trial, scores[trial.name])
        best = max(scores, key=lambda name: scores[name])
        parent.set_tag("best", best)
        parent.log_dict({"best": best, "val_accuracy": scores}, "scores.json")
    return recording


NOTE = (
    "Small networks learn to distinguish three noisy spirals: two sizes, three learning rates. Made by `mltrack demo`."
)


def _train(run: Run, trial: Trial, recording: Recording, advanced: Callable[[int], None]) -> float:
    rng = np.random.default_rng(SEED)
    x, y = _spirals(rng, EXAMPLES)
    held_x, held_y = _spirals(rng, EXAMPLES // 3)
    net = Net(rng, trial.hidden)
    run.log_params(
        {
            "hidden": trial.hidden,
            "learning_rate": trial.learning_rate,
            "batch_size": BATCH,
            "steps": trial.steps,
            "optimizer": "adam",
            "schedule": "cosine",
            "seed": SEED,
        }
    )
    accuracy = 0.0
    began = perf_counter_ns()
    for step, rate, facts in _steps(net, rng, x, y, trial):
        if step % EVALUATE_EVERY == 0 or step == trial.steps - 1:
            loss, accuracy = net.evaluate(held_x, held_y)
            facts |= {"val_loss": loss, "val_accuracy": accuracy}
            advanced(EVALUATE_EVERY)
        facts["learning_rate"] = rate
        before = perf_counter_ns()
        run.log_metrics(facts, step)
        recording.logging_ns += perf_counter_ns() - before
        recording.points += len(facts)
    recording.training_ns += perf_counter_ns() - began
    _keep_results(run, net, trial, held_x, held_y, accuracy)
    return accuracy


def _steps(
    net: Net, rng: np.random.Generator, x: Floats, y: Labels, trial: Trial
) -> Iterator[tuple[int, float, dict[str, float]]]:
    for step in range(trial.steps):
        rate = trial.learning_rate * 0.5 * (1 + np.cos(np.pi * step / trial.steps))
        chosen = rng.integers(0, len(x), BATCH)
        yield step, float(rate), net.learn(x[chosen], y[chosen], rate)


def _keep_results(run: Run, net: Net, trial: Trial, x: Floats, y: Labels, accuracy: float) -> None:
    run.log_image(_picture(net, x, y), "decision.png")
    run.log_text(f"{trial.name}: {trial.steps} steps, validation accuracy {accuracy:.3f}\n", "notes.txt")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.npz")
        np.savez_compressed(path, **net.weights)
        run.log_artifact(path, "model")
    run.set_tag("good", str(accuracy > 0.9).lower())


def _spirals(rng: np.random.Generator, examples: int) -> tuple[Floats, Labels]:
    """Points on three spiral arms, each of shape (2,), and the arm of each."""
    y = rng.integers(0, CLASSES, examples)
    radius = np.sqrt(rng.uniform(0.02, 1, examples))
    angle = y * 2 * np.pi / CLASSES + radius * TURN + rng.normal(0, NOISE, examples)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y


class Net:
    """Two hidden layers with tanh, softmax at the end, trained by Adam."""

    def __init__(self, rng: np.random.Generator, hidden: int) -> None:
        sizes = [2, hidden, hidden, CLASSES]
        self.weights: dict[str, Any] = {}
        for layer, (ins, outs) in enumerate(pairwise(sizes)):
            self.weights[f"w{layer}"] = rng.normal(0, 1.5 / np.sqrt(ins), (ins, outs))
            self.weights[f"b{layer}"] = np.zeros(outs)
        self._means = {key: np.zeros_like(value) for key, value in self.weights.items()}
        self._squares = {key: np.zeros_like(value) for key, value in self.weights.items()}
        self._updates = 0

    def _forward(self, x: Floats) -> tuple[list[Floats], Floats]:
        layers = [x]
        for layer in range(2):
            layers.append(np.tanh(layers[-1] @ self.weights[f"w{layer}"] + self.weights[f"b{layer}"]))
        scores = layers[-1] @ self.weights["w2"] + self.weights["b2"]
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return layers, odds / odds.sum(axis=1, keepdims=True)

    def probabilities(self, x: Floats) -> Floats:
        """The probability of each class, for points of shape (n, 2)."""
        return self._forward(x)[1]

    def evaluate(self, x: Floats, y: Labels) -> tuple[float, float]:
        """Loss and accuracy."""
        chances = self.probabilities(x)
        return _loss(chances, y), float((chances.argmax(axis=1) == y).mean())

    def learn(self, x: Floats, y: Labels, rate: float) -> dict[str, float]:
        """One step of Adam; returns loss, accuracy and the length of the gradient on this batch."""
        layers, chances = self._forward(x)
        facts = {"loss": _loss(chances, y), "accuracy": float((chances.argmax(axis=1) == y).mean())}
        error = chances.copy()
        error[np.arange(len(y)), y] -= 1
        error /= len(y)
        gradients: dict[str, Floats] = {}
        for layer in (2, 1, 0):
            gradients[f"w{layer}"] = layers[layer].T @ error
            gradients[f"b{layer}"] = error.sum(axis=0)
            if layer:
                error = (error @ self.weights[f"w{layer}"].T) * (1 - layers[layer] ** 2)
        self._apply(gradients, rate)
        facts["grad_norm"] = float(np.sqrt(sum(float((g * g).sum()) for g in gradients.values())))
        return facts

    def _apply(self, gradients: dict[str, Floats], rate: float) -> None:
        self._updates += 1
        rate = rate * np.sqrt(1 - 0.999**self._updates) / (1 - 0.9**self._updates)
        for key, gradient in gradients.items():
            mean, square = self._means[key], self._squares[key]
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            self.weights[key] -= rate * mean / (np.sqrt(square) + 1e-8)


def _loss(chances: Floats, y: Labels) -> float:
    return float(-np.log(chances[np.arange(len(y)), y] + 1e-12).mean())


def _picture(net: Net, x: Floats, y: Labels) -> Floats:
    """The network's answer for every place, in pale colors, and the data points: (height, width, 3)."""
    ticks = np.linspace(-1.15, 1.15, IMAGE_PIXELS)
    grid = np.stack(np.meshgrid(ticks, -ticks), axis=-1).reshape(-1, 2)
    image = 1 - 0.55 * (1 - net.probabilities(grid) @ COLORS)
    image = image.reshape(IMAGE_PIXELS, IMAGE_PIXELS, 3)
    places = np.rint((x * [1, -1] + 1.15) / 2.3 * (IMAGE_PIXELS - 1)).astype(int).clip(1, IMAGE_PIXELS - 2)
    for (column, row), label in zip(places, y, strict=True):
        image[row - 1 : row + 2, column - 1 : column + 2] = COLORS[label]
    picture: Floats = image.clip(0, 1)
    return picture
