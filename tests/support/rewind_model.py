"""What rewinds and forks mean, in plain Python: a list of points for each run, each with the rewinds that hide it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ModelPoint", "ModelRun", "latest_of"]


@dataclass(slots=True)
class ModelPoint:
    """A point, and the numbers of the rewinds that hide it."""

    key: str
    step: int
    value: float
    hidden_by: set[int] = field(default_factory=set)


@dataclass(slots=True)
class ModelRun:
    """A run's points in the order of logging, those of the runs that it was forked from first."""

    points: list[ModelPoint] = field(default_factory=list)
    in_force: list[int] = field(default_factory=list)
    rewinds: int = 0

    def log(self, key: str, step: int, value: float) -> None:
        """Log a point."""
        self.points.append(ModelPoint(key, step, value))

    def rewind(self, step: int) -> None:
        """Hide what was logged so far with a greater step, system metrics excepted."""
        self.rewinds += 1
        self.in_force.append(self.rewinds)
        for point in self.points:
            if point.step > step and not point.key.startswith("system/"):
                point.hidden_by.add(self.rewinds)

    def undo(self) -> None:
        """Undo the last rewind that is in force."""
        last = self.in_force.pop()
        for point in self.points:
            point.hidden_by.discard(last)

    def fork(self, step: int) -> ModelRun:
        """A run that begins with what counts of this one up to a step, without system metrics."""
        mine = [p for p in self.counting() if p.step <= step and not p.key.startswith("system/")]
        return ModelRun([ModelPoint(p.key, p.step, p.value) for p in mine])

    def counting(self) -> list[ModelPoint]:
        """The points that count."""
        return [point for point in self.points if not point.hidden_by]

    def by_key(self) -> dict[str, list[tuple[int, float]]]:
        """Steps and values of each metric in the order of logging."""
        found: dict[str, list[tuple[int, float]]] = {}
        for point in self.counting():
            found.setdefault(point.key, []).append((point.step, point.value))
        return found


def latest_of(rows: list[tuple[int, float]]) -> float:
    """The value with the greatest step, and of these the one logged last."""
    greatest = max(step for step, _ in rows)
    return [value for step, value in rows if step == greatest][-1]
