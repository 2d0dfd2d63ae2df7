"""wandb's errors by their names, and the error for what is not here.

mltrack.errors.UsageError
  Error                      wandb.Error
    UsageError
      ConfigError            a config value was changed without allow_val_change
      UnsupportedError       a name of wandb's that mltrack.wandb does not have
        UnsupportedImportError   a module of wandb's, also an ImportError
    CommError
    AuthenticationError
"""

from __future__ import annotations

import mltrack.errors

__all__ = [
    "AuthenticationError",
    "CommError",
    "ConfigError",
    "Error",
    "UnsupportedError",
    "UnsupportedImportError",
    "UsageError",
]


class Error(mltrack.errors.UsageError):
    """Base of wandb's errors."""

    @property
    def message(self) -> str:
        """The text, by wandb's name."""
        return str(self)


class CommError(Error):
    """Never raised here: nothing is asked of a server."""


class AuthenticationError(Error):
    """Never raised here: there is nothing to log in to."""


class UsageError(Error):
    """A call that can't be right."""


class ConfigError(UsageError):
    """A value of the config would change."""


class UnsupportedError(UsageError):
    """What wandb has and mltrack.wandb does not; the hint says what to use."""

    def __str__(self) -> str:
        return f"{super().__str__()}: {self.hint}" if self.hint else super().__str__()


class UnsupportedImportError(UnsupportedError, ImportError):
    """The same for a module, so that a program that can do without it goes on."""
