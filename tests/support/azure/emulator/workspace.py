"""The emulator: one Azure ML workspace on loopback, with all that belongs to it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, urlsplit

from . import azure_errors
from .artifacts import Artifacts, Container
from .blobs import BlobStore
from .certificate import Certificate
from .exchange import Refused, Request, Response
from .faults import Answer, Cut, Do, Fault, Faults, LoseAnswer, Slow
from .identifiers import Scope, run_guid
from .identity import Identity
from .limits import AzureLimits
from .listener import Gone, Incoming, Listener, Reply
from .mlflow_front import MlflowFront
from .resource_manager import ResourceManager
from .routes import Route, find_route
from .tokens import Tokens
from .traffic import Traffic

_TOKEN_KINDS = {"arm": ("aad",), "mlflow": ("aad", "run"), "artifacts": ("aad", "run"), "run-token": ("aad", "run")}


class AzureEmulator:
    """A workspace before the MLflow server at ``backend_url``; close it when done.

    Everything is served over TLS at ``url``, and also without at ``plain_url``. What it does wrong is scripted in
    ``faults``; what came in is in ``traffic``; ``tokens``, ``manager``, ``blobs``, ``artifacts``, ``front`` and
    ``limits`` have switches of their own.
    """

    def __init__(self, backend_url: str, certificate: Certificate) -> None:
        self.scope = Scope.new()
        self.limits = AzureLimits()
        self.certificate = certificate
        self.faults = Faults()
        self.traffic = Traffic()
        self.tokens = Tokens()
        self.identity = Identity(self.tokens)
        self.manager = ResourceManager(self.scope)
        self.blobs = BlobStore()
        self.artifacts = Artifacts(self.blobs)
        self.front = MlflowFront(self.scope, backend_url)
        self.problems: list[BaseException] = []
        self._gone = threading.Event()
        self._plain = Listener(self)
        self._secure = Listener(self, certificate)
        self._old: dict[Listener, int | None] = {}

    def close(self) -> None:
        """Cut all connections and end all threads."""
        self._gone.set()
        for listener in (self._plain, self._secure, *self._old):
            listener.close(wait=True)
        self.front.close()

    # --- where it is ---

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``; Azure Resource Manager answers there too."""
        return self._secure.url

    @property
    def plain_url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self._plain.url

    @property
    def tracking_uri(self) -> str:
        """What the resource manager gives as mlFlowTrackingUri."""
        return self.manager.tracking_uri(self.manager.host or self.url.partition("://")[2])

    def tracking_uri_with_token(self, life_s: float | None = None) -> str:
        """An old-style URI that carries its own token."""
        token = self.tokens.issue("aad", life_s=life_s).text
        uri = self.tracking_uri.partition("?")[0]
        return f"{uri}?auth-type=AzureCliAuthentication&auth={quote(token, safe='')}"

    @property
    def config(self) -> dict[str, str]:
        """The fields of a config.json."""
        fields = asdict(self.scope)
        return {
            "subscription_id": fields["subscription"],
            "resource_group": fields["resource_group"],
            "workspace_name": fields["workspace"],
        }

    def environ(self) -> dict[str, str]:
        """What lets azure-identity get tokens here, and clients trust the certificate."""
        return {
            "IDENTITY_ENDPOINT": f"{self.plain_url}/msi/token",
            "IDENTITY_HEADER": self.identity.header,
            "REQUESTS_CA_BUNDLE": str(self.certificate.bundle),
            "SSL_CERT_FILE": str(self.certificate.bundle),
            "AZUREML_CURRENT_CLOUD": "AzureCloud",
        }

    def job_environ(self, experiment_id: str, run_id: str, *, life_s: float | None = None) -> dict[str, str]:
        """What a job finds in its environment when it is run in this workspace; both ids as Azure gives them."""
        return {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_TRACKING_TOKEN": self.tokens.issue("run", life_s=life_s).text,
            "MLFLOW_EXPERIMENT_ID": experiment_id,
            "MLFLOW_RUN_ID": run_id,
            "REQUESTS_CA_BUNDLE": str(self.certificate.bundle),
            "SSL_CERT_FILE": str(self.certificate.bundle),
        }

    # --- larger misfortunes ---

    def move(self, old: int | None = 401) -> None:
        """Serve from other ports from now on, as the resource manager then says.

        The old ones answer ``old`` to all but the resource manager and the identity endpoint; with None they cut.
        """
        self._old[self._secure] = old
        self._secure = Listener(self, self.certificate)

    def leave(self) -> None:
        """Serve from another port from now on; the old one cuts and refuses connections. Fit for ``Do``.

        Not for the first port, where clients know the resource manager to be: ``move`` before.
        """
        left = self._secure
        self.move()
        left.close()

    def unplug(self) -> None:
        """The network is gone: connections are cut, new ones refused. Fit for ``Do``, in the middle of a request."""
        self._gone.set()
        for listener in (self._plain, self._secure, *self._old):
            listener.close()

    def plug_in(self) -> None:
        """The network is back, at the same ports."""
        self._gone = threading.Event()
        for listener in (self._plain, self._secure, *self._old):
            listener.open()

    # --- what clients must not do ---

    def points_twice(self) -> list[tuple[str, str, int, int, str]]:
        """Points that were taken more than once: (run id, metric, step, time in ms, value)."""
        return [point for point, count in self.front.points.items() if count > 1]

    def secrets(self) -> list[str]:
        """All that must not be written down or shown: tokens, signatures of SAS URLs, the identity header."""
        found = [token.text for token in self.tokens.issued] + list(self.blobs.signatures) + [self.identity.header]
        return found + [quoted for secret in found if (quoted := quote(secret, safe="")) != secret]

    def secrets_in(self, *texts: str | bytes) -> list[str]:
        """The secrets that occur in these."""
        data = b"\n".join(text.encode() if isinstance(text, str) else text for text in texts)
        return [secret for secret in self.secrets() if secret.encode() in data]

    # --- requests ---

    def failed(self, error: BaseException) -> None:
        """The emulator itself went wrong; the fixture fails the test."""
        self.problems.append(error)

    def handle(self, incoming: Incoming, listener: Listener) -> Reply:
        """What becomes of a request."""
        target = urlsplit(incoming.target)
        route = find_route(incoming.method, target.path, target.query)
        seen = self.traffic.arrived(route.kind, incoming.method, target.path, target.query, incoming.headers)
        request = Request(incoming.method, target.path, target.query, incoming.headers, b"", listener.url)
        fault = self.faults.pick(request, route.kind)
        seen.fault = type(fault).__name__ if fault else ""
        if isinstance(fault, Cut):
            incoming.read(fault.body_bytes)
            return Reply(None)
        body = incoming.read()
        seen.body_bytes = len(body)
        if route.part != "blob":
            seen.body = body
        request = Request(incoming.method, target.path, target.query, incoming.headers, body, listener.url)
        response = self._respond(request, route, listener, fault)
        if response is None:
            return Reply(None)
        if isinstance(fault, LoseAnswer):
            return Reply(response, fault.bytes_sent)
        seen.status = response.status
        return Reply(response)

    def _respond(self, request: Request, route: Route, listener: Listener, fault: Fault | None) -> Response | None:
        if isinstance(fault, Slow):
            self._wait(fault.before_s)
        if isinstance(fault, Do):
            fault.action()
        if isinstance(fault, Answer):
            return self._scripted(fault, route)
        if listener in self._old and route.part not in ("arm", "identity"):
            status = self._old[listener]
            if status is None:
                return None
            return _in_shape(Refused(status, "EndpointMoved", "This endpoint is not used any more."), route)
        try:
            response = self._answer(request, route)
        except Refused as error:
            response = _in_shape(error, route)
        if isinstance(fault, Slow):
            self._wait(fault.after_s)
        return response

    def _wait(self, seconds: float) -> None:
        if self._gone.wait(seconds):
            raise Gone

    @staticmethod
    def _scripted(fault: Answer, route: Route) -> Response:
        made = _in_shape(Refused(fault.status, fault.code, fault.message), route)
        headers: Mapping[str, str] = {**made.headers, **fault.headers}
        if fault.retry_after is not None:
            headers = {**headers, "Retry-After": f"{fault.retry_after}"}
        return Response(fault.status, made.body if fault.body is None else fault.body, headers)

    def _answer(self, request: Request, route: Route) -> Response:
        if "transfer-encoding" in request.headers:
            raise Refused(411, "MissingContentLengthHeader", "Content-Length was not specified.")
        if route.part in _TOKEN_KINDS:
            self.tokens.check(request.headers.get("authorization", ""), _TOKEN_KINDS[route.part])
        names = route.names
        mine = (self.scope.subscription, self.scope.resource_group, self.scope.workspace)
        if route.workspace and route.workspace != tuple(name.lower() for name in mine):
            raise Refused(404, "ResourceNotFound", f"The workspace {names['workspace']!r} was not found.")
        match route.part:
            case "arm":
                return self.manager.answer(request, self.url)
            case "identity":
                return self.identity.answer(request)
            case "run-token":
                return self.identity.renew(request)
            case "mlflow":
                return self.front.answer(request, names["call"], names["version"], self.limits)
            case "artifacts":
                return self.artifacts.answer(request, names.get("action", ""), self._container(names), self.limits)
            case "blob":
                return self.blobs.answer(request, route.kind)
        raise Refused(404, "NotFound", f"There is nothing at {request.path}.")

    def _container(self, names: Mapping[str, str]) -> Container:
        if "origin" in names:
            return Container(names["origin"], names["container"])
        experiment = names["experiment"]
        if names["by"].lower() == "experimentids" or self.scope.experiment_id(experiment) is not None:
            self.front.experiment_id(experiment)
        else:
            self.front.experiment_named(experiment)
        return run_container(names["run"])


def run_container(run_id: str) -> Container:
    """Where a run's artifacts are kept."""
    return Container("ExperimentRun", f"dcid.{run_guid(run_id)}")


def _in_shape(error: Refused, route: Route) -> Response:
    shapes: dict[str, Any] = {"blob": azure_errors.xml, "mlflow": azure_errors.upper_case}
    made: Response = shapes.get(route.part, azure_errors.lower_case)(error)
    if error.status == 401:
        made = azure_errors.lower_case(error)
        return Response(401, made.body, {**made.headers, "WWW-Authenticate": "Bearer"})
    return made
