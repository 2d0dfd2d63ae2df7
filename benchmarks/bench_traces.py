"""Traces by MLflow's own API on the mltrack store, beside MLflow's SQLite store; and pushed, beside MLflow's client.

    python benchmarks/bench_traces.py [--traces 10000] [--spans 2000] [--pushed 1000] [--only log|search|long|push]

Each figure is from a fresh process, the median of several. The goal is that searches over 10,000 traces take a fifth
of SQLite's time, and that the first one of a process, which reads the saved index, takes no longer than SQLite's. A
search for a text in spans is measured on our store only: MLflow's takes minutes.

A trace is made by functions with ``@mlflow.trace``; what the traced function waits is the time its outermost call
takes. Long traces are logged span by span, as MLflow does it while a program runs. For the push a server is started on
loopback (SQLite, four workers, which is MLflow's default); MLflow's client logs the same number of traces to it
directly, the way it is set up to: by threads in the background, waited for at the end. It is done for small traces, and
for longer ones of which every other span counts tokens, as those of calls of a language model do. The server is the
limit of both: its API takes the info of one trace in a request, so a push sends one for each trace, and the spans of a
hundred in one; where the server rounds the duration of a trace otherwise, which it does not do where tokens are
counted, one more sets it back. What no push can be faster than is measured as well: a bare HTTP client sends as many
infos, and no spans.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_mlflow import seconds, uri_of
from measure import ROUNDS, fresh_folder, heading, in_fresh_process, median_of, row

START_MS = 1_700_000_000_000
CALLS = 100
SEARCHES = 5
PUSHED_SPANS = (5, 20)
INFO_SENDERS = 4
SEARCH_MIN = 5
"""How many times faster than SQLite a search is to be."""
ORDER = ["attributes.execution_time_ms DESC"]
DEEP_PAGE = 50
QUERIES: dict[str, tuple[str | None, list[str] | None]] = {
    "the latest": (None, None),
    f"page {DEEP_PAGE}": (None, None),
    "a tag and a duration, sorted": ("tag.kind = 'kind-3' AND attributes.execution_time_ms >= 50", ORDER),
    "a tag and a duration, rare": ("tag.kind = 'kind-3' AND attributes.execution_time_ms = 50", None),
    "a text in a tag, rare": ("tag.kind LIKE '%rare%'", None),
    "all of a tag, sorted": (None, ["tag.kind ASC"]),
    "a session": ("metadata.`mlflow.trace.session` = 's-77'", None),
    "a run": ("run_id = 'run-7'", None),
    "feedback": ("feedback.good = 'false'", None),
    "a status": ("attributes.status = 'OK'", ["timestamp_ms ASC"]),
    "a time": (f"attributes.timestamp_ms > {START_MS + 9_000}", None),
    "a span's name": ("span.name = 'step'", None),
    "a text in spans": ("trace.text LIKE '%\"n\": 3%'", None),
}
OURS_ONLY = "a text in spans"
SLOW = "a span's name"


def traced(spans: int, counts_tokens: bool = False) -> Any:
    """A function that makes a trace of so many spans, none within another but the first."""
    import mlflow

    @mlflow.trace(name="step")
    def step(number: int) -> int:
        if counts_tokens and number % 2 and (span := mlflow.get_current_active_span()):
            usage = {"input_tokens": number, "output_tokens": 2, "total_tokens": number + 2}
            span.set_attribute("mlflow.chat.tokenUsage", usage)
        return number + 1

    @mlflow.trace(name="root")
    def root(question: str) -> str:
        for number in range(spans - 1):
            step(number)
        return question

    return root


def made_spans(trace: int, count: int) -> list[Any]:
    """The spans of a trace as a client logs them, without a clock."""
    import json

    from mlflow.entities import SpanStatus, SpanStatusCode
    from mlflow.entities.span import create_mlflow_span
    from mlflow.tracing.utils import build_otel_context
    from opentelemetry.sdk.trace import ReadableSpan

    trace_id = f"tr-{trace:032x}"
    start = (START_MS + trace) * 1_000_000
    found = []
    for number in range(1, count + 1):
        own = {"mlflow.traceRequestId": trace_id, "mlflow.spanType": "TOOL", "mlflow.spanInputs": {"n": number}}
        if number == 1:
            own["mlflow.traceTag.kind"] = f"kind-{trace % 10}"
        made = ReadableSpan(
            name="root" if number == 1 else "step",
            context=build_otel_context(trace, number),
            parent=build_otel_context(trace, 1) if number > 1 else None,
            start_time=start + number,
            end_time=start + trace % 97 * 1_000_000 + count,
            attributes={key: json.dumps(value) for key, value in own.items()},
            status=SpanStatus(SpanStatusCode.OK).to_otel_status(),
        )
        found.append(create_mlflow_span(made, trace_id))
    return found


def tracking_store(uri: str) -> Any:
    """The store that a tracking URI stands for."""
    from mlflow.tracking._tracking_service.utils import _get_store

    return _get_store(uri)


# --- the parts, each in a process of its own ---


def log(uri: str, spans: str, asynchronous: str) -> None:
    """Seconds that a traced function waits, and seconds a trace until all are stored."""
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = asynchronous
    import mlflow

    mlflow.set_tracking_uri(uri)
    call = traced(int(spans))
    call("the first makes what there is to make")
    mlflow.flush_trace_async_logging()
    waits: list[float] = []

    def calls() -> None:
        waits.extend(seconds(lambda: call("what is it?")) for _ in range(CALLS))
        mlflow.flush_trace_async_logging()

    took = seconds(calls)
    print(statistics.median(waits), took / CALLS)


def fill(uri: str, traces: str) -> None:
    """Traces of three spans, many in a call; one in a hundred as a client makes it, with metadata, and judged."""
    from mlflow.entities import AssessmentSource, Feedback, TraceInfo, TraceLocation, TraceState

    store = tracking_store(uri)
    judge = AssessmentSource(source_type="HUMAN", source_id="me")
    for number in range(int(traces) // 100):
        trace_id, tag = f"tr-{10**12 + number:032x}", "rare" if number == 5 else f"kind-{number % 10}"
        metadata = {"mlflow.trace.session": f"s-{number // 2}", "mlflow.sourceRun": f"run-{number % 20}"}
        info = TraceInfo(
            trace_id=trace_id,
            trace_location=TraceLocation.from_experiment_id("0"),
            request_time=START_MS + 100 * number,
            execution_duration=number % 97,
            state=TraceState.OK,
            tags={"kind": tag},
            trace_metadata=metadata,
        )
        store.start_trace(info)
        store.create_assessment(Feedback(trace_id=trace_id, name="good", value=number % 2 == 0, source=judge))
    for first in range(1, int(traces) + 1, 500):
        spans = [made_spans(trace, 3) for trace in range(first, min(first + 500, int(traces) + 1))]
        store.log_spans("0", [span for some in spans for span in some])
    print(traces)


def searcher(uri: str, query: str) -> tuple[Any, Callable[[], None]]:
    """The store, and a search in it."""
    from mlflow.utils.search_utils import SearchTraceUtils

    store = tracking_store(uri)
    filter_string, order_by = QUERIES[query]
    token = SearchTraceUtils.create_page_token(100 * (DEEP_PAGE - 1)) if query == f"page {DEEP_PAGE}" else None

    def call() -> None:
        store.search_traces(["0"], filter_string=filter_string, order_by=order_by, max_results=100, page_token=token)

    return store, call


def first_search(uri: str, query: str) -> None:
    """Seconds of the first search of a process."""
    print(seconds(searcher(uri, query)[1]))


def search(uri: str, query: str) -> None:
    """Seconds of a search like the one before, and of one after a trace was added."""
    store, call = searcher(uri, query)
    call()
    again = min(seconds(call) for _ in range(SEARCHES))
    added = []
    for number in range(SEARCHES):
        store.log_spans("0", made_spans(10**9 + os.getpid() * 1000 + 10 * number, 3))
        added.append(seconds(call))
    print(again, statistics.median(added))


def get(uri: str, trace: str) -> None:
    """Seconds to get a trace with its spans: the first of a process, and one like it."""
    store = tracking_store(uri)

    def call() -> None:
        found = store.get_trace(f"tr-{int(trace):032x}", allow_partial=True)
        found.data.spans[-1].to_dict()

    print(seconds(call), min(seconds(call) for _ in range(SEARCHES)))


def log_long(uri: str, spans: str) -> None:
    """Seconds to log one trace span by span."""
    store = tracking_store(uri)
    made = made_spans(1, int(spans))
    store.log_spans("0", made_spans(2, 1))

    def singly() -> None:
        for span in made:
            store.log_spans("0", [span])

    print(seconds(singly))


def pushed_function(spans: str) -> Any:
    """What makes the traces that are pushed, or logged to a server."""
    return traced(int(spans), counts_tokens=int(spans) > min(PUSHED_SPANS))


def push(folder: str, url: str, traces: str, spans: str) -> None:
    """Seconds to push a store of traces, and the requests it took."""
    import importlib

    import mlflow

    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    mlflow.set_tracking_uri(f"mltrack://{folder}")
    mlflow.set_experiment("pushed")
    call = pushed_function(spans)
    for _ in range(int(traces)):
        call("what is it?")

    import mltrack
    from mltrack_sync import Remote
    from mltrack_sync import push as push_store

    for module in ("mltrack.catalog.catalog", "mltrack_sync.mlflow.push.sending"):
        importlib.import_module(module)
    reports: list[Any] = []
    took = seconds(lambda: reports.append(push_store(mltrack.Store.open(folder), Remote("bench", url))))
    assert reports[0].complete and reports[0].traces == int(traces), reports
    print(took, reports[0].requests)


def log_to_server(url: str, traces: str, spans: str) -> None:
    """Seconds that MLflow's client takes to log traces to a server."""
    import mlflow

    mlflow.set_tracking_uri(url)
    mlflow.set_experiment("direct")
    call = pushed_function(spans)
    call("the first makes what there is to make")
    mlflow.flush_trace_async_logging()

    def calls() -> None:
        for _ in range(int(traces)):
            call("what is it?")
        mlflow.flush_trace_async_logging()

    print(seconds(calls))


def infos(url: str, traces: str) -> None:
    """Seconds that a bare HTTP client takes to send the infos of so many traces, several at a time."""
    import secrets
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    info = {
        "trace_location": place,
        "request_time": "2026-01-01T00:00:00Z",
        "execution_duration": "0.009s",
        "state": "OK",
        "request_preview": "what is it?",
        "response_preview": "what is it?",
        "trace_metadata": {f"mlflow.key {number}": "value" for number in range(6)},
        "tags": {"mlflow.traceName": "root"},
    }

    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(INFO_SENDERS) as senders:

        def send(_: int) -> None:
            named = info | {"trace_id": f"tr-{secrets.token_hex(16)}"}
            client.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": named}}).raise_for_status()

        print(seconds(lambda: list(senders.map(send, range(int(traces))))))


PARTS = {part.__name__: part for part in (log, fill, first_search, search, get, log_long, push, log_to_server, infos)}


# --- the table ---


def compare(what: list[str], part: str, folder: Path, *arguments: str, rounds: int = ROUNDS) -> None:
    """The figures of one part on both stores, one in a line."""
    ours = median_of(lambda: in_fresh_process(__file__, part, uri_of("mltrack", folder), *arguments), rounds)
    theirs = median_of(lambda: in_fresh_process(__file__, part, uri_of("sqlite", folder), *arguments), min(3, rounds))
    for name, mine, other in zip(what, ours, theirs, strict=True):
        row(name, f"{mine * 1e3:,.2f} ms", f"{other * 1e3:,.2f} ms", f"{other / mine:.1f}x")


def searched(part: str, uris: tuple[str, str], query: str) -> list[list[float]]:
    """The figures of a search on both stores."""
    found = []
    for uri in uris if query != OURS_ONLY else uris[:1]:
        rounds = 1 if query == SLOW and uri.startswith("sqlite") else min(3, ROUNDS)
        found.append(median_of(lambda: in_fresh_process(__file__, part, uri, query), rounds))  # noqa: B023
    return found


def searching(traces: int) -> None:
    """Searches over many traces, and reading one."""
    with fresh_folder() as folder:
        uris = uri_of("mltrack", folder), uri_of("sqlite", folder)
        for uri in uris:
            in_fresh_process(__file__, "fill", uri, str(traces))
        in_fresh_process(__file__, "first_search", uris[0], "the latest")  # reads all facts, and saves the index
        for query in QUERIES:
            _compared([f"{query}: first"], searched("first_search", uris, query), 1)
        for query in QUERIES:
            _compared([f"{query}: again", f"{query}: one was added"], searched("search", uris, query), SEARCH_MIN)
        with_more = "the latest: first, with what was added since"
        _compared([with_more], searched("first_search", uris, "the latest"), None)
        compare([f"get_trace of {traces:,}: first", "get_trace: again"], "get", folder, str(traces // 2))


def _compared(what: list[str], found: list[list[float]], goal: float | None) -> None:
    for name, one, *others in zip(what, *found, strict=True):
        figures = [f"{one * 1e3:,.2f} ms", *(f"{other * 1e3:,.2f} ms" for other in others)]
        faster = others[0] / one if others else None
        figures += [f"{faster:.1f}x"] if faster is not None else []
        row(name, *figures, verdict=faster >= goal if faster is not None and goal is not None else None)


def pushing(traces: int, workers: int) -> None:
    """The push of a store, and MLflow's client, on one server in turns."""
    for spans in PUSHED_SPANS:
        _pushing(traces, spans, workers)


def _pushing(traces: int, spans: int, workers: int) -> None:
    from mltrack.demo.server import mlflow_server

    ours, theirs, floor = [], [], []
    of_all = [str(traces), str(spans)]
    for _ in range(min(3, ROUNDS)):
        with fresh_folder() as folder, mlflow_server(folder / "server", workers=workers) as url:
            in_fresh_process(__file__, "log_to_server", url, "20", str(spans))  # the server's own first time
            ours.append(in_fresh_process(__file__, "push", str(folder / ".mltrack"), url, *of_all))
            theirs.append(in_fresh_process(__file__, "log_to_server", url, *of_all)[0])
            floor.append(in_fresh_process(__file__, "infos", url, str(traces))[0])
    took, requests = (statistics.median(column) for column in zip(*ours, strict=True))
    faster = statistics.median(other / mine for (mine, _), other in zip(ours, theirs, strict=True))
    row(
        f"sync of {traces:,} traces of {spans} spans",
        f"{took:.2f} s",
        f"{statistics.median(theirs):.2f} s",
        f"{faster:.1f}x",
        f"{requests / traces:.2f} req. each",
    )
    at_most = statistics.median(other / mine for mine, other in zip(floor, theirs, strict=True))
    row("  the infos alone, bare HTTP", f"{statistics.median(floor):.2f} s", "", f"{at_most:.1f}x")


def main() -> None:
    """Run from the command line."""
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        PARTS[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--spans", type=int, default=2_000)
    parser.add_argument("--pushed", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=4, help="of the server; 4 is MLflow's default")
    parser.add_argument("--only", choices=("log", "search", "long", "push"))
    args = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    heading("Traces: the mltrack store, MLflow's SQLite store (of the push: MLflow's client), the ratio")
    parts: dict[str, Callable[[], None]] = {
        "log": logging,
        "search": lambda: searching(args.traces),
        "long": lambda: long_trace(args.spans),
        "push": lambda: pushing(args.pushed, args.workers),
    }
    for name, part in parts.items():
        if args.only in (None, name):
            part()


def logging() -> None:
    """What a traced function waits."""
    with fresh_folder() as folder:
        for spans in ("1", "10"):
            name = f"@mlflow.trace, {spans} span{'s' if spans != '1' else ''}"
            compare([f"{name}: the call waits", f"{name}: a trace"], "log", folder, spans, "false")
            compare([f"{name}, async: the call waits", f"{name}, async: a trace"], "log", folder, spans, "true")


def long_trace(spans: int) -> None:
    """One trace of many spans."""
    with fresh_folder() as folder:
        compare([f"{spans:,} spans of a trace, singly"], "log_long", folder, str(spans), rounds=1)
        compare([f"get_trace of {spans:,} spans: first", "  again"], "get", folder, "1", rounds=min(3, ROUNDS))


if __name__ == "__main__":
    main()
