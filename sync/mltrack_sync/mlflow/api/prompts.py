"""How MLflow's registry tells prompts from models."""

from __future__ import annotations

__all__ = ["IS_PROMPT"]

IS_PROMPT = "mlflow.prompt.is_prompt"
"""The tag of registered models, and of their versions, that are prompts."""
