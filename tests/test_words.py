"""Plain words: sources without the project's former dialect, and public functions that explain their arguments."""

from __future__ import annotations

import functools
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator

import pytest

import mltrack
import mltrack_sync
from tests.support import ROOT

ALIASES = {"src/mltrack/moved.py", "sync/mltrack_sync/report.py", "sync/mltrack_sync/status.py"}
"""Where former names may be, so that they can still be imported and read."""
SOURCES = sorted(path.relative_to(ROOT).as_posix() for top in ("src", "sync") for path in (ROOT / top).rglob("*.py"))

NAMES = {
    "accompany": "attach",
    "anew": "again",
    "aside": "rejected or deferred",
    "beside": "next_to",
    "Carrier": "WorkerPool",
    "carry_out": "execute",
    "Companion": "Attachment",
    "completing": "completion",
    "deaf": "takes_requests",
    "demonstrating": "demo",
    "FeatureLacking": "UnsupportedFeatureError",
    "Follower": "Daemon",
    "forecast": "dry_run",
    "foresee": "dry_run",
    "Freeable": "Deletable",
    "further": "pending",
    "halve": "shrink_limits",
    "halves": "parts",
    "hand_over": "detach",
    "in_run_entry": "fallback",
    "InRunEntry": "FallbackEntry",
    "knock": "check_connection",
    "model_holder": "fallback_run",
    "print_of": "fingerprint",
    "set_aside": "rejected",
    "texts_there": "map_tags",
    "there": "remote, or whatever has it",
    "ties": "links",
    "Together": "Batch",
    "told": "given, reported or named",
    "traces_together": "batching",
    "Troubles": "FailureStreak",
    "Untold": "RejectionBuffer",
    "Waker": "Trigger",
    "WANTED": "requested",
    "Wish": "SyncRequest",
    "wording": "formatting",
}
"""What no name is called, nor a part of it between underscores, and what to say."""

PHRASES = {
    r"\banew\b": "again",
    r"\bbeside\b": "next to, with, compared with",
    r"\bby the user's word\b": "as the user configured",
    r"\bcome here before\b": "call this before",
    r"\bhalves\b": "parts",
    r"\bin vain\b": "without success",
    r"\bis no (?!longer\b|more\b|such\b)(?<!there is no )(?<!None is no )[a-z]+": "is not a",
    r"\bover there\b": "on the remote",
    r"\bsee to it\b": "ensure",
    r"\bset aside\b": "rejected, deferred",
    r"\bties to\b": "links",
    r"\b(?:is|are) told\b": "receives, is given",
    r"\b(?:there is none|are) to be had\b": "can't be had",
}
"""What comments, docstrings and messages don't say, and what to say."""


ANY_PHRASE = re.compile("|".join(PHRASES), re.IGNORECASE)


@functools.cache
def better_name(name: str) -> str:
    """What to say for a name that has a word of dialect; "" where it has none."""
    return next((better for word, better in NAMES.items() if re.search(rf"(?:^|_){word}(?:_|$)", name)), "")


def words_of(text: str) -> Iterator[tuple[int, str, str]]:
    """The lines where a source speaks dialect, what it says, and what to say."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            if better := better_name(token.string):
                yield token.start[0], token.string, better
        elif token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            said = " ".join(token.string.split())
            if ANY_PHRASE.search(said):
                for phrase, better in PHRASES.items():
                    for found in re.finditer(phrase, said, re.IGNORECASE):
                        yield token.start[0], found[0], better


def test_sources_speak_plain_english() -> None:
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in SOURCES if name not in ALIASES}
    found = {name: list(words_of(text)) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "text",
    [
        "is_there = True",
        "def told() -> None: ...",
        "class InRunEntry: ...",
        "x = 1  # it is written anew",
        '"""Lies beside the ledger."""',
        'f"{x!r} is no number"',
        '"""It\nis told how far."""',
    ],
)
def test_dialect_is_found(text: str) -> None:
    assert list(words_of(text + "\n"))


@pytest.mark.parametrize("text", ["# if there is no such run, it is no longer there", 'x = "there is no space"'])
def test_plain_english_is_not_found(text: str) -> None:
    assert not list(words_of(text + "\n"))


def test_names_of_tests_are_plain_english() -> None:
    """A test's name is a sentence, in which "there is" is English."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    names = [name for text in texts for name in re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)]
    dialect = re.compile(rf"_(?:{'|'.join(NAMES)})(?:_|$)")
    assert [name for name in names if dialect.search(re.sub(r"_there_(?:is|are)_", "_", name))] == []


# --- arguments ---------------------------------------------------------------------------------------------------


def public_functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """The functions, and the methods of classes, that the packages offer."""
    for package in (mltrack, mltrack_sync):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isfunction(thing):
                yield f"{package.__name__}.{name}", thing
            elif inspect.isclass(thing):
                for method, function in inspect.getmembers(
                    thing, lambda each: inspect.isfunction(each) or inspect.ismethod(each)
                ):
                    if not method.startswith("_") and function.__module__.startswith("mltrack"):
                        yield f"{package.__name__}.{name}.{method}", function


def test_public_functions_of_four_and_more_parameters_explain_them() -> None:
    silent = []
    for name, function in public_functions():
        parameters = [each for each in inspect.signature(function).parameters if each not in ("self", "cls")]
        doc = inspect.getdoc(function) or ""
        if len(parameters) >= 4 and "Args:\n" not in doc:
            silent.append(name)
    assert silent == []
