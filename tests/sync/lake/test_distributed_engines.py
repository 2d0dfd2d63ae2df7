"""The examples of docs/lake/engines.md for engines of many machines are run: on a Ray cluster, and in Spark."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine_page import code_of, make_small_lake

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

RAY_CLUSTER = """
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
ray.init(address=cluster.address, log_to_driver=False)
CLUSTER = cluster.address
"""
"""Two workers; the head does nothing but lead them. Ray can't be kept to loopback: it hangs."""

RAY_END = """
points = means.to_pydict()["points"]
workers = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_lake(tmp_path_factory.mktemp("engines"))


def run(code: str, result: str) -> Any:
    """What an expression is after some code, in a process of its own."""
    whole = f"import json\n{code}\nprint()\nprint(json.dumps({result}))"
    env = os.environ | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=500, env=env)
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.skipif(importlib.util.find_spec("daft") is None, reason="no daft: pip install '.[engines]'")
def test_daft_on_a_ray_cluster(lake: Path) -> None:
    code = code_of("Daft on a Ray cluster", str(lake)).replace('"ray://HEAD:10001"', "CLUSTER")
    workers, points = run(RAY_CLUSTER + code + RAY_END, "[len(workers), points]")
    assert workers == 2
    assert points == [10, 10, 10]


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="no pyspark: pip install '.[engines]'")
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java, in which Spark runs")
def test_spark_without_delta_s_jar(lake: Path) -> None:
    code = code_of("Spark without Delta's jar", str(lake))
    counts = run(code + "\nfound = [row['count'] for row in counts.collect()]\nspark.stop()", "found")
    assert counts == [10, 10, 10]
