"""Secrets that this process knows, and how they are kept out of text that goes to a file, a log or a screen.

``remember`` makes a secret known where it enters; the values of environment variables whose names say that they are
secret are known without it. ``hide`` takes all of them out of a text, in every form in which libraries and servers
repeat them: as they are, percent-encoded, in base64 (also in the middle of a longer text, as in a Basic header), as
``repr``, JSON and HTML write them, in hexadecimal, and cut off at the end of a text. What is a secret by its place (the
user and password of a URL, what follows ``Bearer``, the signature of a signed URL) is taken out too, known or not.

A secret of 8 or more characters is taken out anywhere; one of 4 to 7 only as a whole word; a shorter one only by its
place, because it would be found in every other word.
"""

from __future__ import annotations

import binascii
import functools
import json
import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TextIO

__all__ = [
    "REDACTED",
    "Redacting",
    "base64_cores",
    "forget",
    "forms_of",
    "hide",
    "hide_in",
    "names_no_secret",
    "remember",
    "remember_url",
    "without",
]

REDACTED = "[redacted]"

ANYWHERE_MIN = 8
WORD_MIN = 4
HALF_MIN = 8
HALF_OF_MIN = 12
"""The first or last HALF_MIN characters of a secret at least this long are taken for it: libraries shorten messages."""

CUT_MIN = 6
"""This many first characters of a secret at the end of a text are taken for a secret that was cut off."""

BASE64_MIN = 6
KNOWN_MAX = 500
"""Only this many secrets, the latest, are remembered: a process that lives for weeks gets a new token every hour."""

SCAN_EVERY_S = 1.0

_WATCHED = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "AZURE_CLIENT_SECRET")
"""A change of these is seen at once; all other variables are checked again after a second."""

_SECRET_WORDS = {"TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "PWD", "SECRET", "CREDENTIAL", "CREDENTIALS", "APIKEY"}
_KEY_WORDS = {"API", "ACCESS", "ACCOUNT", "AUTH", "PRIVATE", "SECRET", "SIGNING", "ENCRYPTION", "STORAGE"}
_NO_SECRET_ENDS = {
    *("FILE", "COMMAND", "PATH", "DIR", "FOLDER", "URL", "URI", "ENDPOINT", "HOST", "ID", "NAME", "NAMES", "TYPE"),
    *("TTL", "TIMEOUT", "SECONDS", "MAX", "MIN", "COUNT", "LENGTH", "ENABLED", "PROVIDER", "OLDPWD", "REGION"),
}

_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-=")


class _Places:
    """Patterns of what is secret by its place; compiled when first needed, as few programs have anything to hide."""

    def __init__(self) -> None:
        # user and password (of ssh a user alone is not a secret, before the @ of abfss is a container, and
        # models:/NAME@ALIAS is MLflow's name of a version); or a password with characters not encoded
        self.in_url = re.compile(
            r"""(?P<scheme>\b(?!ssh://[^\s/?\#'"<>:@]*@|abfss?://[a-z0-9$-]+@|models:/[^/])[a-z][a-z0-9+.-]*:/{1,2}(?!/))
                (?: [^\s/?\#'"<>]*@
                  | [^\s/?\#'"<>:@]+:(?!\d*(?:[/?\#'"<>\s]|$))[^\s'"<>]*@ )
            """,
            re.IGNORECASE | re.VERBOSE,
        )
        # user:password@host, of a URL whose scheme was forgotten
        self.pair = re.compile(r"(?<![\w.@:/-])[\w.%+-]+:(?!/)[^\s@'\"/]+@(?=\w)")
        self.by_place = re.compile(
            r"""(?P<before>
                  \b(?:Bearer|Basic)\s+(?=[^\s'"]*[0-9+/=._-])
                | \b(?:Proxy-)?Authorization["']?\s*[:=]\s*["']?(?!Bearer\s|Basic\s|Digest\s|[Nn]egotiate)
                | [?&;\#](?:sig|X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|Signature
                        |auth|token|access_token|password|api_key|apikey|client_secret)=
                | \b(?:AccountKey|SharedAccessKey|SharedAccessSignature|client_secret)=
                )[^\s;&'"<>,]+
            """,
            re.IGNORECASE | re.VERBOSE,
        )
        self.jwt = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?")


@functools.cache
def _places() -> _Places:
    return _Places()


class _Forms:
    """All forms of some secrets, ready for searching."""

    def __init__(self, values: tuple[str, ...]) -> None:
        long = [value for value in values if len(value) >= ANYWHERE_MIN]
        short = [form for value in values if len(value) < ANYWHERE_MIN for form in forms_of(value)]
        self.values = values
        self.plain = sorted(long, key=len, reverse=True)
        self.long = sorted({form for value in long for form in forms_of(value)}, key=len, reverse=True)
        longer = [form for form in self.long if len(form) >= HALF_OF_MIN]
        self.heads = list({form[:HALF_MIN]: form for form in longer}.items())
        self.tails = list({form[-HALF_MIN:]: form for form in longer}.items())
        self.base64 = {core for value in values for core in base64_cores(value)}
        any_of = "|".join(map(re.escape, sorted(short, key=len, reverse=True)))
        self.short = re.compile(rf"(?<![^\W_])(?:{any_of})(?![^\W_])") if short else None


class _Known:
    """The secrets. It has no lock, because a forked child might find it held for ever."""

    def __init__(self) -> None:
        self._values: dict[str, None] = {}
        self._seen: tuple[str | None, ...] | None = None
        self._scanned = 0.0
        self._forms = _Forms(())

    def add(self, values: Iterable[str]) -> None:
        """Add secrets; the oldest are forgotten when there are too many."""
        for value in values:
            if len(value) >= WORD_MIN:
                self._values[value] = None
        for oldest in list(self._values)[:-KNOWN_MAX]:
            self._values.pop(oldest, None)

    def forms(self) -> _Forms:
        """The forms of all secrets known now, those of the environment included."""
        now = time.monotonic()
        seen = tuple(map(os.environ.get, _WATCHED))
        if seen != self._seen or now - self._scanned >= SCAN_EVERY_S:
            self._seen, self._scanned = seen, now
            self.add(_of_environment())
        values, forms = tuple(self._values), self._forms
        if forms.values != values:
            forms = self._forms = _Forms(values)
        return forms


_known = _Known()


def remember(*values: str) -> None:
    """From now on ``hide`` takes these out, and the longer words of those with spaces or line breaks."""
    _known.add(part for value in values for part in _parts(value))


def forget() -> None:
    """Forget all secrets: for tests, whose secrets are words of other tests' messages."""
    global _known
    _known = _Known()


def remember_url(url: str) -> None:
    """Remember the password in a URL; or the user, where the URL has no password and is not one of ssh."""
    remember(*_secrets_of_url(url))


def names_no_secret(url: str) -> bool:
    """Whether what comes before the @ of a URL is a name: of a user of ssh, of a container of Azure's storage."""
    scheme, _, rest = url.partition("://")
    before, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(at) and ":" not in before and scheme.lower() in ("ssh", "abfss", "abfs")


def hide(text: str) -> str:
    """``text`` without secrets. Shorten it after this, not before."""
    known = _known.forms()
    text = without(text, known.long, known.base64)
    if known.short is not None:
        text = known.short.sub(REDACTED, text)
    places = _places()
    if "@" in text:
        text = places.pair.sub(f"{REDACTED}@", places.in_url.sub(rf"\g<scheme>{REDACTED}@", text))
    text = places.by_place.sub(rf"\g<before>{REDACTED}", text)
    if "eyJ" in text:
        text = places.jwt.sub(REDACTED, text)
    return _without_cut(_without_parts(text, known.heads, known.tails), known.plain)


def without(text: str, forms: Iterable[str], base64: Iterable[str]) -> str:
    """``text`` without these: forms of secrets, the longest first, and their ``base64_cores``."""
    for form in forms:
        if form in text:
            text = text.replace(form, REDACTED)
    for core in base64:
        if core in text:
            text = _without_base64(text, core)
    return text


def hide_in(error: BaseException) -> None:
    """Take secrets out of the messages of an exception, its causes and contexts, before it is printed whole."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, UnicodeError):  # its arguments are fixed; its message quotes a single character
            one.args = tuple(_hidden(argument) for argument in one.args)
        left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _hidden(argument: object) -> object:
    if isinstance(argument, str):
        return hide(argument)
    if isinstance(argument, bytes):
        return hide(argument.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return argument


class Redacting:
    """Wraps a text stream and hides secrets in what is written: for a process's error stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it without secrets."""
        self._stream.write(hide(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them all."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# --- what is secret ----------------------------------------------------------------------------------------------


def _parts(value: str) -> list[str]:
    stripped = value.strip()
    return [stripped, *(word for word in stripped.split() if len(word) >= ANYWHERE_MIN)]


def _of_environment() -> list[str]:
    found: list[str] = []
    for name, value in os.environ.items():
        if "://" in value or "@" in value:
            found += _secrets_of_url(value)
        if len(value.strip()) >= ANYWHERE_MIN and _names_secret(name) and not _is_plain(value):
            found += _parts(value)
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        found.append(os.environ.get(name, "").strip())
    return found


def _names_secret(name: str) -> bool:
    words = name.upper().replace("-", "_").split("_")
    if words[-1] in _NO_SECRET_ENDS or name in ("PWD", "OLDPWD"):
        return False
    if _SECRET_WORDS & set(words):
        return True
    return (words[-1] in ("KEY", "SAS") and bool(_KEY_WORDS & set(words))) or words[-2:] == ["CONNECTION", "STRING"]


def _is_plain(value: str) -> bool:
    """Whether it can't be a secret: a path, a number."""
    return value.startswith(("/", "./", "~/")) or value.replace(".", "", 1).isdigit()


def _secrets_of_url(url: str) -> list[str]:
    rest = url.partition("://")[2] if "://" in url else url
    query = rest.partition("?")[2]
    found = [value for part in query.split("&") for key, _, value in [part.partition("=")] if _in_query(key)]
    before = rest.partition("/")[0] if "@" in rest.partition("/")[0] else rest.partition("?")[0]
    pair, at, _ = before.rpartition("@")
    if at:
        user, colon, password = pair.partition(":")
        found += [password, pair] if colon else [] if names_no_secret(url) else [user]
    return [form for value in found for form in dict.fromkeys((value, unquote(value))) if form]


def _in_query(key: str) -> bool:
    lower = key.lower()
    return lower in ("sig", "auth", "key") or any(
        word in lower for word in ("token", "password", "secret", "signature")
    )


# --- in what forms -----------------------------------------------------------------------------------------------


def forms_of(secret: str) -> set[str]:
    """A secret as it is, percent-encoded, escaped and in hexadecimal."""
    raw = secret.encode("utf-8", "surrogatepass")
    found = {secret, _in_html(secret), raw.hex(), raw.hex().upper(), raw.decode("latin-1")}
    for safe in ("", "/", "!$&'()*+,;=", "!$&'()*+,;=:@/"):
        encoded = quote(raw, safe=safe)
        found |= {encoded, re.sub("%..", lambda match: match[0].lower(), encoded)}
    found.add(quote_plus(raw))
    for _ in range(2):  # a repr in a repr doubles its backslashes
        found |= {form for known in list(found) for form in _escaped(known)}
    return {form for form in found if len(form) >= WORD_MIN}


def _in_html(text: str) -> str:
    for character, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(character, name)
    return text


def _escaped(text: str) -> Iterator[str]:
    if text.isascii() and text.isprintable() and not any(character in text for character in "\\'\""):
        return
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    yield repr(text.encode("utf-8", "surrogatepass"))[2:-1]
    yield text.replace("\\", "\\\\")
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]


def base64_cores(secret: str) -> set[str]:
    """The base64 text of a secret whatever comes before and after it: one for each offset in a group of 3 bytes."""
    raw = secret.encode("utf-8", "surrogatepass")
    found: set[str] = set()
    for before in range(3):
        encoded = binascii.b2a_base64(bytes(before) + raw, newline=False).rstrip(b"=").decode("ascii")
        start = (0, 2, 3)[before]  # the characters that hold bits of what comes before
        whole = (before + len(raw)) * 8 // 6
        core = encoded[start:whole]
        if len(core) >= BASE64_MIN:
            found |= {core, core.replace("+", "-").replace("/", "_"), quote(core, safe="")}
    return found


def _without_base64(text: str, core: str) -> str:
    """Take out the whole base64 text around ``core``, as its edges hold the rest of the secret."""
    parts: list[str] = []
    at = 0
    while (found := text.find(core, at)) >= 0:
        start, end = found, found + len(core)
        while start > at and text[start - 1] in _BASE64:
            start -= 1
        while end < len(text) and text[end] in _BASE64:
            end += 1
        parts += [text[at:start], REDACTED]
        at = end
    return "".join([*parts, text[at:]])


def _without_parts(text: str, heads: Iterable[tuple[str, str]], tails: Iterable[tuple[str, str]]) -> str:
    """Take out the longest text that begins or ends as a secret does; given as (beginning, form)."""
    for head, form in heads:
        at = text.find(head)
        while at >= 0:
            end = at + _common(form, text[at : at + len(form)])
            text = text[:at] + REDACTED + text[end:]
            at = text.find(head, at + len(REDACTED))
    for tail, form in tails:
        at = text.find(tail)
        while at >= 0:
            end = at + HALF_MIN
            begin = end - _common(form[::-1], text[max(0, end - len(form)) : end][::-1])
            text = text[:begin] + REDACTED + text[end:]
            at = text.find(tail, begin + len(REDACTED))
    return text


def _common(one: str, other: str) -> int:
    """The length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _without_cut(text: str, secrets: Iterable[str]) -> str:
    """Take out the beginning of a secret in the middle of which a text, or a part of it, was cut off."""
    bare = text.rstrip("\n\"' ")
    for mark in ("...", "…"):
        bare = bare.removesuffix(mark)
    for secret in secrets:
        first = secret[:CUT_MIN]
        at = bare.find(first, max(0, len(bare) - len(secret)))
        while at >= 0:
            if secret.startswith(bare[at:]):
                return text[:at] + REDACTED + text[len(bare) :]
            at = bare.find(first, at + 1)
    return text
