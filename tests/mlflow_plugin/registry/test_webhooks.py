"""Webhooks of the registry: kept as MLflow's SQL store keeps them, and called by MLflow's server."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from mlflow.entities.webhook import WebhookEvent, WebhookStatus
from mlflow.exceptions import MlflowException

from mltrack.store import Store
from tests.support.server import MlflowServer

CREATED = WebhookEvent.from_str("registered_model.created")
ALIAS = WebhookEvent.from_str("model_version_alias.created")
URL = "https://93.184.215.14/hook"


@pytest.mark.slow
def test_a_webhook_is_kept_changed_found_by_its_events_and_removed(registry: Any) -> None:
    assert registry.list_webhooks() == registry.list_webhooks_by_event(CREATED) == []
    made = registry.create_webhook("calls", URL, [CREATED], description="to all")
    assert registry.get_webhook(made.webhook_id).description == "to all"
    changed = registry.update_webhook(made.webhook_id, events=[ALIAS], status=WebhookStatus.DISABLED)
    assert [str(event) for event in changed.events] == ["model_version_alias.created"]
    assert registry.list_webhooks_by_event(CREATED) == []
    assert [each.status for each in registry.list_webhooks_by_event(ALIAS)] == [WebhookStatus.DISABLED]
    registry.delete_webhook(made.webhook_id)
    assert registry.list_webhooks() == []


@pytest.mark.parametrize("name", ["get_webhook", "update_webhook", "delete_webhook"])
def test_a_webhook_that_does_not_exist_is_named(registry: Any, name: str) -> None:
    with pytest.raises(MlflowException, match="Webhook with ID nothing not found") as caught:
        getattr(registry, name)("nothing")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_bad_pages_and_urls_are_refused(registry: Any) -> None:
    for call in (registry.list_webhooks, lambda max_results: registry.list_webhooks_by_event(CREATED, max_results)):
        with pytest.raises(MlflowException, match="max_results must be between 1 and 1000"):
            call(max_results=1001)
        assert call(max_results=0) == []  # as many as by default
    with pytest.raises(MlflowException, match="Invalid page token"):
        registry.list_webhooks(page_token="x")
    with pytest.raises(MlflowException, match="Invalid webhook URL scheme"):
        registry.create_webhook("calls", "file:///etc/passwd", [CREATED])


def test_a_secret_without_a_key_to_encrypt_it_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mltrack.mlflow_plugin.registry.store import RegistryStore

    registry = RegistryStore(f"mltrack://{tmp_path}/.mltrack")
    for key, words in {
        "": "set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
        "short": "is not a key .make one with: python -c",
        Fernet.generate_key().decode(): "was set or changed after",
    }.items():
        monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", key)
        with pytest.raises(MlflowException, match=words) as caught:
            registry.create_webhook("calls", URL, [CREATED], secret="hidden")
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert registry.list_webhooks() == []


class Receiver(HTTPServer):
    """Answers every call, and keeps it."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.put(({key.lower(): value for key, value in self.headers.items()}, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_server_on_the_store_calls_webhooks_signed_with_a_secret_that_is_not_plain_on_the_disk(
    tmp_path: Path, receiver: Receiver
) -> None:
    environ = {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    server = MlflowServer(tmp_path, store=f"mltrack://{tmp_path}/.mltrack", environ=environ)
    try:
        server.start()
        event = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
        hook = {"name": "calls", "url": f"http://127.0.0.1:{receiver.server_port}/hook", "events": [event]}
        made = server.post("webhooks", **hook, secret="a-hidden-word")["webhook"]
        tested = server.post(f"webhooks/{made['webhook_id']}/test")["result"]
        assert tested["success"], tested
        assert receiver.calls.get(timeout=30)[1]["data"]["name"] == "example_model"
        server.post("registered-models/create", name="seen")
        headers, body = receiver.calls.get(timeout=30)
        assert (body["entity"], body["action"], body["data"]["name"]) == ("registered_model", "created", "seen")
        assert headers["x-mlflow-signature"].startswith("v1,")
        server.kill()
        database = tmp_path / ".mltrack" / "workspace" / "mlflow.db"
        assert all(b"a-hidden-word" not in path.read_bytes() for path in database.parent.iterdir())
        server._environ["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] = Fernet.generate_key().decode()
        server.start()
        refused = httpx.get(f"{server.url}/api/2.0/mlflow/webhooks", timeout=60)
        assert refused.status_code == 500
        assert "encrypted with another key" in refused.json()["message"]
    finally:
        server.close()
    assert receiver.calls.empty()


@pytest.mark.slow
def test_the_workers_of_the_ui_deliver_each_event_once(tmp_path: Path, receiver: Receiver) -> None:
    Store.create(tmp_path / ".mltrack")
    environ = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    words = ["--store", str(tmp_path / ".mltrack"), "ui", "--no-browser", "--workers", "3"]
    command = [sys.executable, "-m", "mltrack", *words]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONWARNINGS": "ignore", **environ}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http://")).partition("/#")[0]

            def send(method: str, path: str, **fields: Any) -> Any:
                # each on a connection of its own, so that any of the workers may get it
                answer = httpx.request(method, f"{url}/api/2.0/mlflow/{path}", json=fields, timeout=60)
                return answer.raise_for_status().json()

            event = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
            hook = {"name": "calls", "url": f"http://127.0.0.1:{receiver.server_port}/hook", "events": [event]}
            send("POST", "webhooks", **hook)
            names = {f"model-{number}" for number in range(12)}
            for name in sorted(names):
                send("POST", "registered-models/create", name=name)
            delivered = [receiver.calls.get(timeout=30) for _ in names]
            assert sorted(body["data"]["name"] for _, body in delivered) == sorted(names)
            assert len({headers["x-mlflow-delivery-id"] for headers, _ in delivered}) == len(names)
        finally:
            server.send_signal(signal.SIGTERM)
    assert receiver.calls.empty()
