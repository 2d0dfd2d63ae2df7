"""Finds secrets by their names and their forms, and removes them before anything is written.

A secret is found in three ways: by the name it is assigned to (``API_KEY=...``, ``--password ...``), by its form (an
access key of a known kind, a token with three parts, credentials in a URL), and as the value of an environment variable
with such a name. Names about language models (``use_cls_token``, ``max_tokens``) are not secret.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import TYPE_CHECKING

from mltrack.environment import MLTRACK_REDACT, MLTRACK_REDACT_NAMES
from mltrack.text.redaction import REDACTED, base64_cores, forms_of, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["REDACTED", "Redactor"]


SECRET_CHARACTERS_MIN = 8
"""A shorter value of an environment variable is not searched for in other texts: it would be found everywhere."""

USER_CHARACTERS_MAX = 16
"""The user in a URL is treated as a token if it is at least this long and has letters and digits."""

INNER_CHARACTERS_MAX = 500
"""In a longer value no further assignments are looked for: that takes its length for each of them."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_ALWAYS = {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey"}
_KEYS_OF = {
    "api",
    "access",
    "account",
    "auth",
    "private",
    "secret",
    "signing",
    "encryption",
    "ssh",
    "storage",
    "license",
}
_TOKENS_OF_MODELS = {
    *("cls", "sep", "pad", "eos", "bos", "unk", "mask", "class", "special", "image", "start", "end", "stop", "first"),
    *("last", "next", "per", "use", "num", "max", "min", "add", "sot", "eot", "prompt", "new", "register", "distilled"),
}
_NOT_SECRET = {"", "true", "false", "yes", "no", "on", "off", "none", "null"}

_SHAPES = re.compile(
    r"""
      -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    | \bgh[pousr]_[A-Za-z0-9]{36,}\b
    | \bgithub_pat_[A-Za-z0-9_]{40,}\b
    | \bglpat-[A-Za-z0-9_-]{20,}
    | \bsk-[A-Za-z0-9_-]{20,}
    | \bhf_[A-Za-z0-9]{30,}\b
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,}
    | \bAIza[0-9A-Za-z_-]{35}
    | \bya29\.[0-9A-Za-z_-]{20,}
    | \bnpm_[A-Za-z0-9]{36}\b
    | \bpypi-[A-Za-z0-9_-]{50,}
    | \bdapi[0-9a-f]{32}\b
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}
    """,
    re.VERBOSE | re.DOTALL,
)
_CREDENTIALS = re.compile(
    r"""(?<![a-z0-9+.-])(?P<scheme>[a-z0-9+.-]++://)(?P<user>[^\s/:@'"]*)
        (?P<password>:[^\s/@'"]* | :(?!\d*(?:[/?\#\s'"]|$))[^\s@'"]*)?@""",  # also one with a slash, not encoded
    re.IGNORECASE | re.VERBOSE,
)
_PREFIXED = re.compile(
    r"""
      (?P<bearer>\b(?:Bearer|Basic)\s+)[A-Za-z0-9+/._~=-]{8,}
    | (?P<part>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig|X-Amz-Signature|X-Amz-Credential)=)[^\s;&'"]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPTION = re.compile(r"(?P<name>[-+~]*[\w.:/-]+)=(?P<value>.+)", re.DOTALL)
_OPTION_AND_VALUE = re.compile(
    r"(?<!\S)(?P<name>--?[A-Za-z][\w.-]*)(?P<between>\s+)(?P<value>[^\s;|&<>()-][^\s;|&<>()]*)"
)
_ASSIGNED = re.compile(
    r"""
    (?<![\w.-])(?P<name>[\w.-]++)
    (?P<between>["']?\s*(?:=>|:=|[:=])\s*)
    (?:(?P<quote>["'])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\n]){0,4000})(?P=quote)
    | (?P<bare>[^\s"',;(){}\[\]]+)(?![\w(\[]))
    """,
    re.VERBOSE,
)


class Redactor:
    """Removes secrets from values, command lines and texts."""

    def __init__(
        self, names: Iterable[str] = (), *, environment: Mapping[str, str] = os.environ, on: bool = True
    ) -> None:
        """``names`` are secret in addition to the known ones; values of secret variables in ``environment`` are too."""
        self._on = on
        self._patterns = tuple(name.strip().lower() for name in names if name.strip())
        values = {v for k, v in environment.items() if len(v) >= SECRET_CHARACTERS_MIN and self.is_secret(k, v)}
        self._values = sorted({form for value in values for form in forms_of(value)}, key=len, reverse=True)
        self._base64 = {core for value in values for core in base64_cores(value)}

    @classmethod
    def from_environment(cls, names: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> Redactor:
        """Configured by $MLTRACK_REDACT and $MLTRACK_REDACT_NAMES."""
        on = environment.get(MLTRACK_REDACT, "1").lower() not in ("0", "false", "no", "off")
        return cls([*names, *environment.get(MLTRACK_REDACT_NAMES, "").split(",")], environment=environment, on=on)

    def is_secret(self, name: str, value: str) -> bool:
        """Whether the value called ``name`` is a secret, judged by the name and by whether the value could be one."""
        if not self._on or value.strip().lower() in _NOT_SECRET:
            return False
        if name in ("PWD", "OLDPWD") and value.startswith("/"):  # the shell's folders
            return False
        if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in self._patterns):
            return True
        words = [word.lower() for word in _WORDS.findall(name)]
        if _ALWAYS & set(words) or ("connection" in words and words[-1] == "string"):
            return True
        if not words or _is_number(value) or value.startswith(("<", "[")):
            return False
        before = set(words[:-1])
        match words[-1]:
            case "key":
                return bool(before & _KEYS_OF)
            case "token":
                return not before & _TOKENS_OF_MODELS and len(value) >= SECRET_CHARACTERS_MIN
            case "authorization" | "cookie":
                return True
        return False

    def value(self, name: str, value: str) -> str:
        """The value of a param or variable called ``name``."""
        return REDACTED if self.is_secret(name, value) else self.text(value)

    def command(self, words: Sequence[str]) -> list[str]:
        """A command line without the values of ``--api-key VALUE`` and ``--api-key=VALUE``, and what ``text`` finds.

        A word may itself be a command line, as after ``sh -c``.
        """
        shown: list[str] = []
        named = ""
        for word in words:
            if named and not word.startswith("-") and self.is_secret(named, word):
                shown.append(REDACTED)
            else:
                shown.append(self._word(word))
            named = word.lstrip("-") if word.startswith("-") and "=" not in word else ""
        return shown

    def _word(self, word: str) -> str:
        """A word of a command line, which unlike text contains no code."""
        if not self._on:
            return word
        option = _OPTION.fullmatch(word)
        if option and self.is_secret(option["name"], option["value"]) and not _is_code(option["value"], quoted=True):
            return f"{option['name']}={REDACTED}"
        return self.text(_OPTION_AND_VALUE.sub(self._named, word))

    def _named(self, match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if not self.is_secret(name, value.strip("\"'")) or _is_code(value.strip("\"'"), quoted=True):
            return match[0]
        return f"{name}{match['between']}{REDACTED}"

    def text(self, text: str) -> str:
        """Any text: a diff, a message, a source file."""
        if not self._on:
            return text
        text = without(text, self._values, self._base64)
        text = _CREDENTIALS.sub(_without_credentials, text)
        text = _PREFIXED.sub(lambda match: f"{match['bearer'] or match['part']}{REDACTED}", text)
        return _SHAPES.sub(REDACTED, self._without_assigned(text))

    def _without_assigned(self, text: str) -> str:
        """The text without what is assigned to secret names, also within a value: ``ValueError: password=...``."""
        kept: list[str] = []
        done = at = 0
        while (match := _ASSIGNED.search(text, at)) is not None:
            part = "quoted" if match["quote"] else "bare"
            value, at = match[part], match.end()
            if value == REDACTED:
                continue
            if not self.is_secret(match["name"], value):
                at = match.start(part) if len(value) <= INNER_CHARACTERS_MAX else at
            elif not _is_code(value, part == "quoted"):
                kept += [text[done : match.start(part)], REDACTED]
                done = match.end(part)
        return "".join(kept) + text[done:]


def _without_credentials(match: re.Match[str]) -> str:
    """The start of a URL without its password, and without a user that is a token rather than a name."""
    user, password = match["user"], match["password"] or ""
    if len(user) >= USER_CHARACTERS_MAX and any(map(str.isdigit, user)) and any(map(str.isalpha, user)):
        user = REDACTED
    return f"{match['scheme']}{user}{f':{REDACTED}' if len(password) > 1 else password}@"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_code(value: str, quoted: bool) -> bool:
    """Whether what is assigned is a name or a call rather than a secret: ``token = os.environ`` or ``$TOKEN``."""
    if "$" in value[:1] or "{" in value:
        return True
    return not quoted and re.fullmatch(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*", value) is not None
