"""An S3 object store on loopback that counts and spoils what reaches it, and an MLflow server that uses it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer

BUCKET = "files"
_PART = re.compile(r"[?&]partNumber=(\d+)")


class S3Proxy(FaultyProxy):
    """A proxy that passes on all headers, in which S3 says much."""

    @staticmethod
    def _forward(
        handler: BaseHTTPRequestHandler, address: tuple[str, int], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        import http.client

        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            headers = {k: v for k, v in handler.headers.items() if k.lower() != "connection"}
            connection.request(handler.command, handler.path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            dropped = ("connection", "content-length", "transfer-encoding", "server", "date")
            kept = {k: v for k, v in response.getheaders() if k.lower() not in dropped}
            if handler.command == "HEAD":
                kept["Content-Length"] = response.getheader("Content-Length") or "0"
        finally:
            connection.close()
        return response.status, kept, answer


class ObjectStore(S3Proxy):
    """moto's S3 behind a proxy: ``parts`` are the (upload id, part number) that it acknowledged."""

    def __init__(self) -> None:
        import boto3
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        super().__init__(f"http://{host}:{port}")
        self.parts: list[int] = []
        self.credentials_seen: list[str] = []
        self._noting = threading.Lock()
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.s3.create_bucket(Bucket=BUCKET)

    def close(self) -> None:
        self.s3.close()
        super().close()
        self._moto.stop()

    def forget(self) -> None:
        """Count from here."""
        self.parts.clear()
        self.seen.clear()
        self.fault = lambda seen: None

    def uploads(self) -> list[str]:
        """The ids of uploads that were neither completed nor aborted."""
        return [str(row["UploadId"]) for row in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

    def keys(self) -> list[str]:
        return [str(row["Key"]) for row in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def _forward(  # type: ignore[override]  # notes what passes
        self, handler: BaseHTTPRequestHandler, address: tuple[str, int], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        status, kept, answer = super()._forward(handler, address, body)
        part = _PART.search(handler.path)
        if part is not None and handler.command == "PUT":
            with self._noting:
                self.parts += [int(part[1])] if status == 200 else []
                self.credentials_seen += [v for k, v in handler.headers.items() if k.lower() == "authorization"]
        return status, kept, answer


def s3_server(folder: Path, store: ObjectStore, environ: Mapping[str, str] | None = None) -> MlflowServer:
    """An MLflow server, not started yet, that keeps artifacts there."""
    access = {
        "MLFLOW_S3_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return MlflowServer(folder, f"s3://{BUCKET}/root", {**access, **(environ or {})})
