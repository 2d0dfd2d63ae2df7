"""Which proxy a URL goes through, as the environment says: every form that MLflow's own client takes.

``http_proxy``, ``https_proxy``, ``all_proxy``, in lower case before upper case; with a scheme or without. What
``no_proxy`` lists is reached directly: a host with all below it, an address, a network, each with a port or without;
``*``.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mltrack.errors import UsageError
from mltrack.text.redaction import remember

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Proxy", "proxy_for"]

SCHEMES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: ``http`` or ``https``, ``socks5`` (names are resolved here) or ``socks5h`` (it resolves them).

    ``login`` is user and password; they are never shown.
    """

    scheme: str
    host: str
    port: int
    login: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return self.scheme.startswith("socks")


def proxy_for(url: str, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for this URL; None where it is reached directly.

    Raises:
        UsageError: a variable's value is not a proxy; the value is not shown, as it may contain a password.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    variable, text = _named(parts.scheme, environ)
    if not text or not host:
        return _of_the_system(parts.scheme, host) if environ is os.environ and not variable else None
    if _goes_directly(host, parts.port or PORTS.get(parts.scheme), environ):
        return None
    return _parsed(variable, text)


def _named(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts for a scheme, and its value; an empty one in lower case means no proxy."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        if name in environ:
            text = environ[name].strip()
            if text:
                return name, text
            continue
        capitals = name.upper()
        if capitals == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue  # under CGI a request header sets this variable
        text = environ.get(capitals, "").strip()
        if text:
            return capitals, text
    return "", ""


def _of_the_system(scheme: str, host: str) -> Proxy | None:
    """The proxy in the settings of macOS and Windows."""
    if sys.platform not in ("darwin", "win32") or not host or urllib.request.proxy_bypass(host):
        return None
    text = urllib.request.getproxies().get(scheme, "")
    return _parsed("the system's proxy", text) if text else None


def _parsed(variable: str, text: str) -> Proxy:
    if "://" not in text:
        text = f"http://{text.removeprefix('//')}"
    hint = "it looks like http://host:3128 or socks5h://host:1080; write special characters of a password as %XX"
    unusable = UsageError(f"{variable} is not the address of a proxy", hint=hint)
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise unusable from None
    if scheme == "socks":
        scheme = "socks5"
    if scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise UsageError(f"{variable} names a proxy of a kind that is not supported", hint=f"these are: {known}")
    if not host or re.search(r"[^\w.:\-%]", host) or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise unusable
    login = None
    if parts.username:
        remember(unquote(parts.password or ""))
        login = (unquote(parts.username).encode(), unquote(parts.password or "").encode())
        if scheme.startswith("socks") and max(map(len, login)) > 255:
            raise UsageError(f"{variable}: user or password is longer than SOCKS takes", hint="at most 255 bytes")
    return Proxy(scheme, host, SCHEMES[scheme] if port is None else port, login)


# --- what goes directly ------------------------------------------------------------------------------------------


def _goes_directly(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    text = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    address = _address(host)
    return any(_covers(item, host.lower(), address, port) for item in re.split(r"[,\s]+", text) if item)


def _covers(item: str, host: str, address: Address | None, port: int | None) -> bool:
    """Whether an item of ``no_proxy`` means this host."""
    if item == "*":
        return True
    item = item.lower().partition("://")[2] or item.lower()
    if address is not None and "/" in item:
        try:
            return address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    name, its_port = _split_port(item)
    if its_port and its_port != str(port):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(item: str) -> tuple[str, str]:
    """``host:port``, ``[address]:port``, or either without a port; an address of IPv6 may go without brackets."""
    if item.startswith("["):
        name, _, rest = item[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = item.rpartition(":")
    return (name, port) if colon and ":" not in name else (item, "")


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
