"""Errors in the shapes that Azure gives them: two kinds of JSON, and the blob store's XML."""

from __future__ import annotations

import datetime
import uuid
from xml.sax.saxutils import escape

from .exchange import Refused, Response, as_json


def lower_case(error: Refused) -> Response:
    """``{"error": {"code", "message"}}``: Azure Resource Manager, run history, and anything about tokens."""
    fields = {"error": {"code": error.code, "message": error.message, "details": []}, "correlation": _correlation()}
    return as_json(fields, error.status)


def upper_case(error: Refused) -> Response:
    """``{"Error": {"Code", "Message"}, "statusCode", "error_code"}``: the MLflow front."""
    unused = dict.fromkeys(["MessageFormat", "MessageParameters", "ReferenceCode", "DetailsUri", "Target"])
    fields = {
        "Error": {"Code": error.code, "Severity": None, "Message": error.message, **unused, "Details": []},
        "Correlation": _correlation(),
        "Environment": "westeurope",
        "Location": "westeurope",
        "Time": datetime.datetime.now(datetime.UTC).isoformat(),
        "ComponentName": "mlflow",
        "statusCode": error.status,
        "error_code": error.error_code or "BAD_REQUEST",
    }
    return as_json(fields, error.status)


def xml(error: Refused) -> Response:
    """The blob store's."""
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    return Response(error.status, body.encode(), {"Content-Type": "application/xml", "x-ms-error-code": error.code})


def expired(message: str) -> Refused:
    return Refused(401, "ExpiredAuthenticationToken", message, error_code="UNAUTHENTICATED")


def _correlation() -> dict[str, str]:
    return {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]}
