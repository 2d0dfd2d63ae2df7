"""Where secrets enter: each is stripped and checked here once, named by where it comes from, and known from then on.

Nothing but this may read a token or a password from a variable, a file or a command: what has been here can't break a
header, and ``mltrack.text.redaction.hide`` takes it out of every message and file.
"""

from __future__ import annotations

import unicodedata

from mltrack.text.redaction import remember
from mltrack_sync.errors import RemoteAuthError

__all__ = ["checked_password", "checked_token", "checked_user"]

_CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_INVISIBLE = "\ufeff\x00"


def checked_token(value: str, origin: str) -> str:
    """A token without the white space around it, as files and commands leave it; it goes into a header as it is.

    Raises:
        RemoteAuthError: it can't be one; ``origin``, and never the value, is named.
    """
    remember(value)
    token = _stripped(value, origin)
    if any(sign.isspace() for sign in token):
        raise _bad(origin, "a space inside")
    if not token.isascii():
        raise _bad(origin, "a character that is not ASCII")
    return token


def checked_password(value: str, origin: str) -> str:
    """A password without the white space around it; spaces and letters of any language are fine inside.

    Raises:
        RemoteAuthError: it can't be one.
    """
    remember(value)
    return _stripped(value, origin)


def checked_user(value: str, origin: str) -> str:
    """A user's name, which is not a secret by itself.

    Raises:
        RemoteAuthError: it can't be one.
    """
    user = _stripped(value, origin)
    if ":" in user:
        raise _bad(origin, "a colon, which no user name may have")
    return user


def _stripped(value: str, origin: str) -> str:
    text = value.strip().strip(_INVISIBLE).strip()
    if not text:
        raise _bad(origin, "nothing but white space" if value else "nothing")
    for sign in text:
        if sign in "\r\n":
            raise _bad(origin, "a line break inside")
        if unicodedata.category(sign) in _CONTROLS:
            raise _bad(origin, f"a character that can't be printed (U+{ord(sign):04X})")
    return text


def _bad(origin: str, what: str) -> RemoteAuthError:
    return RemoteAuthError(f"{origin} can't be used: it holds {what}", hint=f"correct {origin}; its value is not shown")
