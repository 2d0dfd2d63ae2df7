"""What the parts of the MLflow server in memory share: errors as MLflow words them, and lists of pairs."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]


class Refused(Exception):
    """An answer that is an error, as MLflow words it."""

    def __init__(self, words: str, code: str = "INVALID_PARAMETER_VALUE", status: int = 400) -> None:
        super().__init__(words)
        self.code, self.status = code, status


def missing(words: str) -> Refused:
    """The server knows the call, and has no such thing."""
    return Refused(words, "RESOURCE_DOES_NOT_EXIST", 404)


def unknown_call(call: str) -> Refused:
    """An older server does not know the call."""
    return Refused(f"no such call: {call}", "ENDPOINT_NOT_FOUND", 404)


def texts_of(pairs: list[Fields]) -> dict[str, str]:
    """Params or tags by key."""
    return {pair["key"]: pair["value"] for pair in pairs}


def pairs_of(texts: dict[str, str]) -> list[Fields]:
    """Params or tags as MLflow writes them."""
    return [{"key": key, "value": value} for key, value in texts.items()]
