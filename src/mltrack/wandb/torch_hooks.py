"""``run.watch``: histograms of gradients and parameters of torch modules, every so many batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mltrack.wandb.errors import UsageError
from mltrack.wandb.media_types import Histogram
from mltrack.wandb.notices import say_once

__all__ = ["TorchHooks"]

Log = Callable[[dict[str, Any]], None]
BINS = 64


class TorchHooks:
    """The hooks of one run; ``log`` adds values to the present row."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._handles: dict[int, list[Any]] = {}
        self._count = 0

    def watch(self, models: Any, what: str | None, every: int, first: int | None, log_graph: bool) -> None:
        """Begin.

        Args:
            models: one module or several.
            what: "gradients", "parameters", "all" or None.
            every: after how many batches values are logged.
            first: the number of the first of the modules, which is in the names of all but number 0.
            log_graph: has no effect.

        Raises:
            ValueError: ``what`` is something else.
            TypeError: one is not a torch module.
        """
        if what not in ("gradients", "parameters", "all", None):
            raise ValueError("log must be one of 'gradients', 'parameters', 'all', or None")
        if log_graph:
            say_once("watch(log_graph=True): graphs of models are not logged here")
        modules = list(models) if isinstance(models, Sequence) else [models]
        for module in modules:
            if not hasattr(module, "named_parameters") or not hasattr(module, "register_forward_hook"):
                raise TypeError(f"Expected a pytorch model (torch.nn.Module). Received {type(module)}")
        for number, module in enumerate(modules, self._count if first is None else first):
            self._count += 1
            prefix = f"graph_{number}" if number else ""
            handles = self._handles.setdefault(id(module), [])
            if what in ("parameters", "all"):
                handles.append(module.register_forward_hook(self._on_forward(prefix, every)))
            if what in ("gradients", "all"):
                handles += [
                    parameter.register_hook(self._on_gradient(f"gradients/{prefix}{name}", every))
                    for name, parameter in module.named_parameters()
                    if parameter.requires_grad
                ]

    def unwatch(self, models: Any = None) -> None:
        """Remove the hooks of these modules, or all.

        Raises:
            UsageError: a module is not watched.
        """
        if models is None:
            chosen = list(self._handles)
        else:
            chosen = [id(model) for model in (models if isinstance(models, Sequence) else [models])]
        for one in chosen:
            if one not in self._handles:
                raise UsageError("unwatch: a model has not been watched", hint="wandb.watch(model)")
            for handle in self._handles.pop(one):
                handle.remove()

    def _on_forward(self, prefix: str, every: int) -> Callable[..., None]:
        is_due = _every(every)

        def hook(module: Any, given: Any, output: Any) -> None:
            if is_due():
                for name, parameter in module.named_parameters():
                    self._log_values(f"parameters/{prefix}{name}", parameter)

        return hook

    def _on_gradient(self, name: str, every: int) -> Callable[[Any], None]:
        is_due = _every(every)

        def hook(gradient: Any) -> None:
            if is_due():
                self._log_values(name, gradient)

        return hook

    def _log_values(self, name: str, tensor: Any) -> None:
        import torch  # type: ignore[import-not-found,unused-ignore]

        values = tensor.detach()
        values = (values.to_dense() if values.is_sparse else values).reshape(-1).cpu()
        values = values if values.dtype in (torch.float32, torch.float64) else values.float()
        values = values[torch.isfinite(values)]
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        if low == high:
            counts, edges = torch.tensor([float(len(values))]), torch.tensor([low, high])
        else:
            counts, edges = values.histc(bins=BINS, min=low, max=high), torch.linspace(low, high, BINS + 1)
        self._log({name: Histogram(np_histogram=(counts.tolist(), edges.tolist()))})


def _every(count: int) -> Callable[[], bool]:
    """A function that is true each ``count``-th time."""
    calls = 0

    def is_due() -> bool:
        nonlocal calls
        calls += 1
        if calls < count:
            return False
        calls = 0
        return True

    return is_due
