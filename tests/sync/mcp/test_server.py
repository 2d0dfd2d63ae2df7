"""The server as a client of the SDK has it: in this process, and started by it as a program."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack_sync.mcp.server import make_server

READING = {
    "list_experiments",
    "search_runs",
    "group_runs",
    "sql",
    "get_run",
    "compare_runs",
    "metric_history",
    "logs",
    "sync_status",
}
WRITING = {"set_run_tag", "set_run_note", "stop_run"}


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    """What a tool answers; of an error its text."""
    result = await client.call_tool(tool, arguments)
    return result.content[0].text if result.is_error else result.structured_content  # type: ignore[union-attr]


def test_tools_answer_and_say_what_is_wrong(small_store: Store) -> None:
    async def talk() -> None:
        async with Client(make_server(small_store)) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == READING
            assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
            found = await called(client, "search_runs", columns=["min(loss)"], limit=1)
            assert found["runs"][0]["run_name"] == "spirals-3"
            assert "no run 'none'" in await called(client, "get_run", run="none")
            assert "mltrack ls" in await called(client, "get_run", run="none")
            resource = await client.read_resource("mltrack://runs/spirals-2")
            assert json.loads(resource.contents[0].text)["run_name"] == "spirals-2"  # type: ignore[union-attr]

    anyio.run(talk)


def test_runs_can_be_changed_only_where_that_is_allowed(small_store: Store) -> None:
    current_store.set_store(small_store.path)
    run = fluent.start_run(run_name="live")

    async def talk() -> None:
        async with Client(make_server(small_store)) as client:
            assert "Unknown tool" in await called(client, "stop_run", run="live", reason="no")
        async with Client(make_server(small_store, writes=True)) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING
            await called(client, "set_run_tag", run="live", key="seen", value="yes")
            await called(client, "set_run_note", run="live", text="a *note*")
            assert "not being recorded" in await called(client, "stop_run", run="spirals-1", reason="no")
            await called(client, "stop_run", run="live", reason="enough")

    anyio.run(talk)
    assert run.should_stop
    assert {"seen": "yes", "mlflow.note.content": "a *note*"}.items() <= run.data.tags.items()


@pytest.mark.slow
def test_a_client_starts_it_and_talks_to_it_on_standard_input_and_output(small_store: Store) -> None:
    words = ["-m", "mltrack", "--store", str(small_store.path), "mcp"]

    async def talk() -> None:
        async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING
            assert (await called(client, "list_experiments"))["experiments"][0]["name"] == "spirals"
            history = await called(client, "metric_history", run="spirals-1", metric="loss", max_points=5)
            assert (history["count"], history["sampled"], len(history["points"])) == (20, True, 5)
            assert await called(client, "logs", run="spirals-1", lines=1) is not None
            assert (await called(client, "sync_status")) == {"remotes": []}
            rows = await called(client, "sql", query="SELECT count(*) AS n FROM metrics")
            assert rows["rows"] == [[63]]
            compared = await called(client, "compare_runs", runs=["spirals-1", "spirals-3"])
            assert compared["params_that_differ"]["lr"] == ["0.1", "0.2"]

    anyio.run(talk)
