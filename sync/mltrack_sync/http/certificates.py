"""How a server's certificate is checked: by the variables that MLflow's own client reads, checked when they are read.

Trusted are the system's certificates, and the files and folders that these name: ``REQUESTS_CA_BUNDLE``,
``CURL_CA_BUNDLE``, ``SSL_CERT_FILE``, ``SSL_CERT_DIR``, ``MLFLOW_TRACKING_SERVER_CERT_PATH``. MLflow's client uses
only one of them; here they add up, so that a server and an object store may each have an authority of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["others_context", "server_context"]

SERVER_BUNDLE = "MLFLOW_TRACKING_SERVER_CERT_PATH"
CLIENT_CERTIFICATE = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
INSECURE = "MLFLOW_TRACKING_INSECURE_TLS"
BUNDLES = (SERVER_BUNDLE, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
FOLDERS = "SSL_CERT_DIR"
"""May name several, as OpenSSL has it."""

BUNDLE_BYTES_MAX = 64 << 20
FOLDER_FILES_MAX = 2_000
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""How OpenSSL names the files of a folder in which it looks certificates up itself."""


def server_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """For the tracking server itself: with its own bundle and our client certificate, where they are named.

    Raises:
        UsageError: a variable names something that is not a certificate, or has a value without a meaning.
    """
    insecure = _is_true(environ, INSECURE)
    context = _unverified() if insecure else _trusting(environ)
    path = environ.get(CLIENT_CERTIFICATE, "").strip()
    if path:
        _check_file(CLIENT_CERTIFICATE, path)
        try:
            context.load_cert_chain(path, password="")  # without it OpenSSL would ask at the terminal
        except (OSError, ssl.SSLError) as error:
            why = "it holds no certificate with its private key, or the key needs a password"
            raise _unusable(CLIENT_CERTIFICATE, path, why) from error
    return context


def others_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """For any other host that a server names, such as an object store: always checked, without our client certificate.

    Raises:
        UsageError: a variable names something that is not a certificate.
    """
    return _trusting(environ)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    known = ssl.get_default_verify_paths()
    loaded: set[str] = set()
    for variable in BUNDLES:
        text = environ.get(variable, "").strip()
        for path in text.split(os.pathsep) if variable == FOLDERS else [text]:
            if path and os.path.realpath(path) not in loaded:
                _load(context, variable, path)
                loaded.add(os.path.realpath(path))
    if not (known.cafile or known.capath or loaded):  # a bare container; MLflow's client uses certifi, too
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context


def _load(context: ssl.SSLContext, variable: str, path: str) -> None:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        _load_folder(context, variable, path)
        return
    _check_file(variable, path)
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(variable, path, "it holds no certificates in PEM format") from error


def _load_folder(context: ssl.SSLContext, variable: str, path: str) -> None:
    """The certificates in a folder: looked up when needed where their names are hashes, else all of them now."""
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise _unusable(variable, path, str(error.strerror)) from error
    found = any(_HASHED.fullmatch(name) for name in names)
    if found:
        context.load_verify_locations(capath=path)
    for name in () if found else names[:FOLDER_FILES_MAX]:
        file = os.path.join(path, name)
        with contextlib.suppress(OSError, ssl.SSLError, UsageError):  # a folder may hold other files too
            _check_file(variable, file)
            context.load_verify_locations(cafile=file)
            found = True
    if not found and variable != FOLDERS:
        raise _unusable(variable, path, "no file in that folder holds certificates in PEM format")


def _check_file(variable: str, path: str) -> None:
    """Check that it is a regular file of a plausible size: a pipe or a device might never end."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as error:
        raise _unusable(variable, path, getattr(error, "strerror", None) or "it is not a path") from error
    if not stat.S_ISREG(found.st_mode) or found.st_size > BUNDLE_BYTES_MAX:
        raise _unusable(variable, path, "it is not a file of certificates")


def _is_true(environ: Mapping[str, str], variable: str) -> bool:
    text = environ.get(variable, "").strip().lower()
    if text not in ("", "0", "1", "false", "true"):
        raise UsageError(f"{variable}={text!r} is neither true nor false", hint="set it to true or false")
    return text in ("1", "true")


def _unusable(variable: str, path: str, why: str) -> UsageError:
    return UsageError(f"{variable}={path!r} can't be used: {why}", hint=f"correct {variable}, or unset it")
