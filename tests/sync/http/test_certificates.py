"""Servers with a company's certificate are trusted by the variables that MLflow's client heeds, each checked."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mltrack.errors import RemoteError, UsageError
from mltrack_sync.http.certificates import others_context, server_context
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.raw_server import RawServer, answer, raw_server

GOOD = answer(b'{"experiments":[]}')


def authority(folder: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A self-signed authority; its certificate is in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = signed(name, key, name, key, x509.BasicConstraints(ca=True, path_length=None))
    folder.joinpath(f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def signed(
    name: str, key: ec.EllipticCurvePrivateKey, by: str, by_key: ec.EllipticCurvePrivateKey, *more: x509.ExtensionType
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key.public_key(),
        x509.random_serial_number(),
        now - datetime.timedelta(days=1),
        now + datetime.timedelta(days=2),
    )
    for extension in more:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(by_key.public_key())
    return builder.add_extension(own, False).add_extension(theirs, False).sign(by_key, hashes.SHA256())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem`` signed the server's certificate and the client's in ``client.pem``; ``other.pem`` signed nothing."""
    folder = tmp_path_factory.mktemp("certificates")
    authority(folder, "other")
    _, by_key = authority(folder, "ca")
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = signed(name, key, "ca", by_key, names)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        whole = certificate.public_bytes(serialization.Encoding.PEM) + secret
        folder.joinpath(f"{name}.pem").write_bytes(whole)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    folder.joinpath("locked.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + locked)
    folder.joinpath("text.pem").write_text("no certificate\n")
    folder.joinpath("empty.pem").touch()
    for name in ("ca", "other", "empty"):  # folders, with names that are no hashes
        folder.joinpath(name).mkdir()
        folder.joinpath(name, "x.crt").write_bytes(folder.joinpath(f"{name}.pem").read_bytes())
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with raw_server(lambda connection, _: connection.sendall(GOOD), context) as server:
        yield server


def knock(url: str, environ: dict[str, str]) -> None:
    workspace = MlflowWorkspace(url, environ=environ, home=Path("/nonexistent"))
    policy = RetryPolicy(attempts_max=1)
    with contextlib.closing(Transport(workspace, policy=policy, connections_max=1)) as transport:
        transport.check_connection()


@pytest.mark.parametrize("name", ["ca.pem", "ca"])
@pytest.mark.parametrize(
    "variable",
    [
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ],
)
def test_each_variable_may_name_a_file_or_a_folder(folder: Path, server: RawServer, variable: str, name: str) -> None:
    knock(server.url, {variable: f"{folder / name}"})
    knock(server.url, {variable: f"{folder / name}\n"})
    with pytest.raises(RemoteError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        knock(server.url, {variable: f"{folder / name.replace('ca', 'other')}"})
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_every_named_certificate_is_trusted(folder: Path, server: RawServer) -> None:
    knock(server.url, {"REQUESTS_CA_BUNDLE": str(folder / "other.pem"), "CURL_CA_BUNDLE": str(folder / "ca.pem")})
    knock(server.url, {"SSL_CERT_FILE": str(folder / "ca.pem"), "REQUESTS_CA_BUNDLE": str(folder / "other")})


def test_a_folder_of_hashed_names_is_left_to_openssl(folder: Path, server: RawServer, tmp_path: Path) -> None:
    for number in range(2):  # as c_rehash calls them; ours is not the one of that hash
        tmp_path.joinpath(f"0123abcd.{number}").write_text("not read")
    with pytest.raises(RemoteError, match="CERTIFICATE_VERIFY_FAILED"):
        knock(server.url, {"REQUESTS_CA_BUNDLE": str(tmp_path)})


@pytest.mark.parametrize("name", ["none.pem", "text.pem", "empty.pem", "empty", "pipe", "ca.pem/x"])
@pytest.mark.parametrize(
    "variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]
)
def test_what_is_not_a_certificate_is_reported_by_its_variable(folder: Path, variable: str, name: str) -> None:
    with pytest.raises(UsageError, match=variable) as caught:
        server_context({variable: str(folder / name)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.pem", "ca.pem", "text.pem", "locked.pem", "pipe"])
def test_a_client_certificate_without_a_usable_key_is_reported(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        server_context({"MLFLOW_TRACKING_CLIENT_CERT_PATH": str(folder / name)})


def test_the_client_certificate_is_sent_to_the_server_and_to_no_other_host(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    shown: list[bool] = []

    def handle(connection: object, request: bytes) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        shown.append(bool(connection.getpeercert()))
        connection.sendall(GOOD)

    environ = {
        "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(folder / "client.pem"),
    }
    with raw_server(handle, context) as server, raw_server(handle, context) as other:
        workspace = MlflowWorkspace(server.url, environ=environ, home=Path("/nonexistent"))
        with contextlib.closing(Transport(workspace, policy=RetryPolicy(), connections_max=1)) as transport:
            transport.check_connection()
            transport.send_signed("GET", f"{other.url}/blob", {})
    assert shown == [True, False]


def test_an_insecure_server_is_not_checked_but_other_hosts_are(folder: Path, server: RawServer) -> None:
    for text in ("true", "1", " TRUE\n"):
        knock(server.url, {"MLFLOW_TRACKING_INSECURE_TLS": text, "REQUESTS_CA_BUNDLE": str(folder / "none.pem")})
    for text in ("false", "0", ""):
        with pytest.raises(RemoteError, match="CERTIFICATE_VERIFY_FAILED"):
            knock(server.url, {"MLFLOW_TRACKING_INSECURE_TLS": text, "REQUESTS_CA_BUNDLE": str(folder / "other.pem")})
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_INSECURE_TLS"):
        knock(server.url, {"MLFLOW_TRACKING_INSECURE_TLS": "maybe"})
    assert others_context({"MLFLOW_TRACKING_INSECURE_TLS": "true"}).verify_mode == ssl.CERT_REQUIRED


def test_a_server_without_tls_is_reached_whatever_the_variables_name() -> None:
    with raw_server(lambda connection, _: connection.sendall(GOOD)) as server:
        knock(server.url, {"REQUESTS_CA_BUNDLE": "/nonexistent.pem"})
