"""The same runs in our store and in MLflow's SQL store: every filter and order gives the same runs, or both refuse."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mltrack.disk.layout import Layout
from mltrack.entities import Dataset, DatasetInput
from mltrack.errors import FilterError
from mltrack.store import Store
from tests.support.written_runs import START_MS, write_run

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

RUNS = 40
DATASETS = ["train", "Train", "a%b", "it's", "größe", "a b"]
VALUES = ["1", "2", "10", "Adam", "adam", "ADAM", "a%b", "a_b", "axb", "it's", 'say "x"', "größe", "日本", "", "a b"]


class Both(NamedTuple):
    """The two stores."""

    ours: Store
    mlflow: Any

    def find(self, text: str, order: list[str], view: int, size: int) -> tuple[list[str] | None, list[str] | None]:
        """The run ids each gives, page by page; None where it refuses."""
        return self._ours(text, order, view, size), self._mlflow(text, order, view)

    def _ours(self, text: str, order: list[str], view: int, size: int) -> list[str] | None:
        found: list[str] = []
        token = None
        try:
            while True:
                page = self.ours.search_runs(["0"], text, view, size, order, token)
                found += [run.run_id for run in page]
                token = page.token
                if token is None:
                    return found
                assert len(page) == size
        except FilterError:
            return None

    def _mlflow(self, text: str, order: list[str], view: int) -> list[str] | None:
        from mlflow.exceptions import MlflowException

        try:
            return [run.info.run_id for run in self.mlflow.search_runs(["0"], text, view, 1000, order)]
        except MlflowException:
            return None


def drawn_datasets(draw: random.Random) -> list[DatasetInput]:
    """Up to three; those of one name and digest are the same in all runs, as MLflow keeps them once for all."""
    found = []
    for _ in range(draw.randrange(4)):
        name, digest = draw.choice(DATASETS), draw.choice(["1", "2"])
        known = {"schema": "{}", "profile": None} if digest == "1" else {"schema": None, "profile": '{"rows": 5}'}
        tags = {key: draw.choice(VALUES) for key in ("mlflow.data.context", "k") if draw.random() < 0.7}
        found.append(DatasetInput(Dataset(name, digest, "local", f"/{name}", **known), tags))
    return found


def as_mlflow(used: DatasetInput) -> Any:
    from mlflow.entities import Dataset as TheirDataset
    from mlflow.entities import DatasetInput as TheirInput
    from mlflow.entities import InputTag

    return TheirInput(TheirDataset(**asdict(used.dataset)), [InputTag(*tag) for tag in used.tags.items()])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    from mlflow.entities import Metric, Param, RunStatus, RunTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("both")
    make: Any = SqlAlchemyStore
    theirs = make(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    ours = Store(Layout.open_or_create(folder / "store", now_ns=0))
    draw = random.Random(3)
    for number in range(RUNS):
        start = START_MS + draw.randrange(5)  # many runs start at once
        name = draw.choice(["alpha", "beta", "Beta", "run %"]) + str(number % 4)
        params = {key: draw.choice(VALUES) for key in ("opt", "p q", "x.y") if draw.random() < 0.7}
        tags = {key: draw.choice(VALUES) for key in ("team", "mlflow.note") if draw.random() < 0.7}
        tags |= {"mlflow.user": draw.choice(["ann", "bob"]), "mlflow.runName": name}
        numbers = [0.0, -1.5, 0.25, 1e-7, 3.0, float("nan"), float("inf"), float("-inf")]
        keys = ("loss", "val loss", "a.b")
        metrics = {key: [(draw.randrange(3), draw.choice(numbers)) for _ in range(3)] for key in keys}
        metrics = {key: points for key, points in metrics.items() if draw.random() < 0.8}
        metrics = {key: [(step, v) for step, v in enumerate(value for _, value in p)] for key, p in metrics.items()}
        end = None if draw.random() < 0.3 else start + draw.randrange(10)
        status = draw.choice(["FINISHED", "FAILED", "KILLED"])
        params = {key: value or "-" for key, value in params.items()}  # MLflow keeps no empty param
        run = theirs.create_run("0", tags["mlflow.user"], start, [RunTag(k, v) for k, v in tags.items()], name)
        run_id = run.info.run_id
        theirs.log_batch(
            run_id,
            [Metric(key, value, start + step, step) for key, points in metrics.items() for step, value in points],
            [Param(key, value) for key, value in params.items()],
            [],
        )
        datasets = drawn_datasets(draw)
        theirs.log_inputs(run_id, [as_mlflow(used) for used in datasets])
        theirs.update_run_info(run_id, RunStatus.from_string(status), end, name)
        stage = "active" if draw.random() < 0.8 else "deleted"
        if stage == "deleted":
            theirs.delete_run(run_id)
        write_run(
            ours, run_id=run_id, name=name, params=params, tags=tags, metrics=metrics, datasets=datasets,
            start_ms=start, end_ms=end, status=status, stage=stage,
        )  # fmt: skip
    yield Both(ours, theirs)
    theirs.engine.dispose()


FILTERS = [
    "",
    "metrics.loss > 0",
    "metric.loss>=0.25",
    "metrics.loss<-1",
    "metrics.loss <= 1e-7",
    "metrics.loss = 3",
    "metrics.loss != 3",
    "metrics.loss = 0",
    "metrics.loss > -.5",
    "metrics.loss < 5.",
    "metrics.`val loss` > 0 AND metrics.loss < 3",
    'metrics."val loss" > 0 and metrics.loss != 0.25',
    "metrics.a.b > 0",
    "metrics.`a.b` > 0",
    "metrics.missing > 0",
    "params.opt = 'adam'",
    'param.opt = "adam"',
    "parameters.opt != 'adam'",
    "parameter.opt LIKE 'a%'",
    "params.opt ilike 'ADAM'",
    "params.opt LIKE 'a_b'",
    "params.opt LIKE '%b'",
    "params.opt LIKE '日_'",
    "params.opt LIKE 'adam'",
    "params.`p q` = 'a b'",
    "params.x.y != 'Adam'",
    'params.opt = "it\'s"',
    "params.opt = 'it''s'",
    "params.opt = 'say \"x\"'",
    "params.opt IS NULL",
    "params.opt IS NOT NULL and tags.team is null",
    "tags.team = ''",
    "tag.team != 'größe'",
    "tags.mlflow.note LIKE '%'",
    "tags.`mlflow.note` = 'adam'",
    "tags.`mlflow.runName` LIKE 'beta%'",
    "attributes.status = 'FINISHED'",
    "attribute.status != 'FAILED'",
    "attr.status ILIKE 'f%'",
    "run.status = 'finished'",
    "status = 'KILLED'",
    "run_name LIKE 'Beta%'",
    "attributes.`run name` = 'alpha0'",
    "attributes.\"Run Name\" ILIKE 'BETA%'",
    "`Run name` = 'run %0'",
    "user_id = 'ann'",
    f"start_time > {START_MS + 2}",
    f"attributes.created <= {START_MS + 2}",
    f"Created = {START_MS}",
    f"end_time != {START_MS + 5}",
    "end_time > 1.5",
    "run_id IN ('a', 'b')",
    "run_id NOT IN ('a')",
    "attributes.run_id != 'a' and metrics.loss > -2 and params.opt LIKE '%a%' and status = 'FINISHED'",
    "metrics.loss > 0\n\tAND\n params.opt IS NOT NULL",
    "dataset.name = 'train'",
    "datasets.name != 'train'",
    "dataset.name LIKE 'tr%'",
    "dataset.name ilike 'TRAIN'",
    "dataset.name IN ('train', 'größe')",
    "dataset.name IN ('a b')",
    "dataset.name IN ('train',)",
    'dataset.name IN ("it\'s")',
    "`dataset`.name = 'train'",
    "dataset.name NOT IN ('train', 'Train', 'a%b')",
    'dataset.name = "it\'s"',
    "dataset.`name` = 'Train'",
    "dataset.\"digest\" = '1'",
    "dataset.digest != '1'",
    "dataset.digest IN ('2', '3')",
    "dataset.name = 'train' AND dataset.digest = '1'",
    "dataset.name = 'train' AND dataset.name = 'a b'",
    "dataset.context = 'adam'",
    "dataset.context != 'adam'",
    "dataset.context LIKE '%a%'",
    "dataset.context ILIKE 'ADAM'",
    "datasets.context IN ('adam', '', '日本')",
    "dataset.context NOT IN ('adam', '1')",
    "dataset.context = 'Adam' AND dataset.name LIKE '%t%' AND metrics.loss < 5 AND status != 'KILLED'",
    "dataset.name IN ('train') AND dataset.digest = '1' AND params.opt IS NOT NULL",
    "artifact_uri LIKE 'nowhere%'",
    "attributes.artifact_uri != 'nowhere'",
    "attributes.run_id LIKE '%a%'",
    "run_id ILIKE 'A%'",
    "attributes.run_id NOT IN ('a', 'b') AND dataset.name != 'train'",
    "attr.user_id ILIKE 'AN%'",
    "attribute.`Run Name` != 'alpha0'",
    "tags.mlflow.user = 'bob'",
    "tags.`mlflow.user` != 'bob' AND user_id LIKE 'a%'",
    "attributes.end_time >= 0",
    # refused
    "metrics.loss == 1",
    "dataset.schema = '{}'",
    "DATASET.name = 'train'",
    "dataset.name IN 'train'",
    "dataset.name NOT LIKE 'a'",
    "dataset.source LIKE '%'",
    "dataset.Name = 'train'",
    "dataset.name = train",
    "dataset.name > 'a'",
    "dataset.name IS NULL",
    "dataset.name IS NOT NULL",
    "dataset.name = 1",
    "dataset.digest = ('1')",
    "dataset.digest IN (1)",
    "dataset.digest IN ()",
    "dataset.context RLIKE 'a'",
    "dataset = 'train'",
    "dataset.tags.k = 'a'",
    "artifact_uri IN ('a')",
    "run_name IN ('alpha0')",
    "user_id NOT IN ('ann')",
    "run_id IS NULL",
    "run_id > 'a'",
    "tags.team IN ('a')",
    "tags.team = 5",
    "source_name = 'x'",
    "metrics.loss <> 1",
    "metrics.loss > '1'",
    "metrics.loss > one",
    "metrics.loss LIKE '1'",
    "metrics.loss IS NULL",
    "metrics.loss",
    "metrics.loss >",
    "> 1",
    "params.opt > 'a'",
    "params.opt = 1",
    "params.opt = adam",
    "params.opt = `adam`",
    "params.opt = 'adam",
    "params.opt IN ('adam')",
    "params.opt NOT LIKE 'a%'",
    "params.opt RLIKE 'a.*'",
    "status IN ('FINISHED')",
    "status > 'A'",
    "status IS NULL",
    "start_time = '1'",
    "start_time LIKE '1'",
    "run_id IN ()",
    "run_id IN (1)",
    "run_id = 5",
    "experiment_id = '0'",
    "lifecycle_stage = 'active'",
    "loss > 1",
    "model.loss > 1",
    "Metrics.loss > 1",
    "metrics.loss/x > 1",
    "metrics.loss > 1; drop table runs",
    "NOT metrics.loss > 1",
]

ORDERS = [
    [],
    ["metrics.loss"],
    ["metrics.loss DESC"],
    ["metrics.`val loss` asc", "metrics.loss desc"],
    ["params.opt"],
    ["params.`p q` DESC", "start_time ASC"],
    ["tags.team DESC"],
    ["attributes.end_time"],
    ["end_time DESC"],
    ["start_time"],
    ["attribute.start_time DESC", "run_id DESC"],
    ["status", "run_name DESC", "user_id"],
    ["Created"],
    ["metrics.missing"],
    ["tags.mlflow.note", "attributes.status ASC"],
    ["artifact_uri DESC"],
    ["metrics.loss ASC", "params.loss Desc"],
    ["attributes.user_id DESC", "attributes.run_name"],
    ["params.x.y", "tags.`mlflow.user` DESC", "metrics.a.b"],
    ["run_id desc"],
    # refused
    ["dataset.name"],
    ["datasets.context DESC"],
    ["attributes.nothing"],
    ["lifecycle_stage"],
    ["metrics.loss", "metric.loss DESC"],
    ["created", "start_time"],
    ["loss"],
    ["metrics.loss upwards"],
    ["metrics.loss DESC NULLS FIRST"],
    ["experiment_id"],
    ["metrics.loss, params.opt"],
]


@pytest.mark.slow
@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_gives_what_mlflow_gives(both: Both, text: str) -> None:
    ours, theirs = both.find(text, [], 1, 15)
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("view", [1, 2, 3])
def test_an_order_gives_what_mlflow_gives(both: Both, order: list[str], view: int) -> None:
    ours, theirs = both.find("", order, view, 15)
    assert ours == theirs


@pytest.mark.slow
def test_the_lists_hold_filters_that_find_some_runs_and_filters_that_are_refused(both: Both) -> None:
    found = [both._mlflow(text, [], 1) for text in FILTERS]
    assert sum(ids is None for ids in found) == len(FILTERS) - FILTERS.index("metrics.loss == 1")
    assert sum(0 < len(ids or []) < RUNS for ids in found) > 30


@pytest.mark.slow
def test_lists_of_run_ids_give_what_mlflow_gives(both: Both) -> None:
    some = [run.run_id for run in both.ours.search_runs(["0"], max_results=5)]
    listed = ", ".join(f"'{run_id}'" for run_id in some)
    for text in (f"run_id IN ({listed})", f"attributes.run_id NOT IN ({listed})", f'run_id = "{some[0]}"'):
        ours, theirs = both.find(text, [], 3, 2)
        assert ours == theirs
        assert 0 < len(ours or []) < RUNS


def test_a_record_has_the_inputs_that_mlflow_finds(both: Both) -> None:
    def shown(dataset: Any, tags: Any) -> Any:
        return dataset.name, dataset.digest, dataset.source, dataset.schema, dataset.profile, sorted(tags)

    ours = {run.run_id: run.datasets for run in both.ours.search_runs(["0"], run_view_type=3)}
    for run in both.mlflow.search_runs(["0"], "", 3, 1000):
        theirs = [shown(i.dataset, [(t.key, t.value) for t in i.tags]) for i in run.inputs.dataset_inputs]
        assert sorted(map(repr, theirs)) == sorted(
            repr(shown(used.dataset, used.tags.items())) for used in ours[run.info.run_id]
        )
    assert any(len(datasets) > 1 for datasets in ours.values())


def quoted(text: str) -> st.SearchStrategy[str]:
    marks = [mark for mark in "'\"" if mark not in text]
    return st.sampled_from([f"{mark}{text}{mark}" for mark in marks])


def keys(entity: str, names: list[str]) -> st.SearchStrategy[str]:
    def written(name: str) -> st.SearchStrategy[str]:
        bare = [name] if " " not in name else []
        return st.sampled_from([f"{entity}.{text}" for text in (*bare, f"`{name}`", f'"{name}"')])

    return st.sampled_from(names).flatmap(written)


NUMBERS = ["0", "-1.5", "0.25", "1e-7", "3", "3.0", ".5", "100", str(START_MS + 2)]
SIGNS = ["=", "!=", "<", "<=", ">", ">="]
texts = st.sampled_from(
    [*(value for value in VALUES if "\\" not in value), "FINISHED", "beta1", "train", "%", "a%", "_dam"]
)
names = st.one_of(
    keys("metrics", ["loss", "val loss", "a.b", "none"]),
    keys("params", ["opt", "p q", "x.y", "none"]),
    keys("tags", ["team", "mlflow.note", "mlflow.runName"]),
    keys("attributes", ["status", "run_name", "user_id", "start_time", "end_time", "Created", "nothing"]),
    keys("dataset", ["name", "digest", "context", "schema"]),
    st.sampled_from(["status", "run_name", "start_time", "end_time", "run_id", "user_id"]),
)
values = st.one_of(
    st.builds(lambda sign, number: f"{sign} {number}", st.sampled_from(SIGNS), st.sampled_from(NUMBERS)),
    texts.flatmap(quoted).flatmap(
        lambda text: st.sampled_from(["=", "!=", "LIKE", "ilike", "<"]).map(lambda sign: f"{sign} {text}")
    ),
    st.sampled_from(["IS NULL", "is not null", "IN ('train', 'adam', '1')", "NOT IN ('Train')", "not in ('1', '2')"]),
)
comparisons = st.builds(lambda name, value: f"{name} {value}", names, values)
filters = st.lists(comparisons, max_size=3).flatmap(
    lambda parts: st.sampled_from([" AND ", " and ", "  And\n"]).map(lambda joint: joint.join(parts))
)
orders = st.lists(st.builds(str.__add__, names, st.sampled_from(["", " ASC", " desc"])), max_size=3)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=filters, order=orders, view=st.sampled_from([1, 2, 3]), size=st.sampled_from([2, 5, 100]))
@example(text="metrics.loss != 0 AND metrics.loss != 3", order=["metrics.loss DESC"], view=3, size=2)
def test_any_filter_and_order_give_what_mlflow_gives(
    both: Both, text: str, order: list[str], view: int, size: int
) -> None:
    ours, theirs = both.find(text, order, view, size)
    assert ours == theirs
