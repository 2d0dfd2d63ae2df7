"""What is deleted, or made again, on one side of evaluation datasets, scorers and label schemas, and on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.genai.label_schemas import InputCategorical, InputPassFail, InputText, LabelSchemaType

from mltrack.mlflow_plugin.tables_reader import read_records, read_tables
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.ledger.tables import CAME, GONE, TableEntry, apply_records, records_lines
from mltrack_sync.mlflow.plan.tables import common_versions, deleted_versions, version_print
from tests.support.proxy import Answer, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer
from tests.support.tables import client_of, judge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow's own


class BothSides:
    """A dataset of three records, a scorer of two versions and a schema: made in a store, and pushed."""

    def __init__(self, store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
        self.store, self.remote, self.mine = store, remote, Selection(experiments=(experiment,))
        self.here, self.rest = TrackingStore(f"mltrack://{store.path}"), client_of(server)
        self.home = str(self.here.get_experiment_by_name(experiment).experiment_id)
        self.dataset = self.here.create_dataset("questions", tags={"a": "1"}, experiment_ids=[self.home]).dataset_id
        self.put(self.here, *range(3))
        for words in ("first", "second"):
            self.here.register_scorer(self.home, "short", judge(words))
        self.here.create_label_schema(self.home, name="good", type=LabelSchemaType.FEEDBACK, input=InputText())
        assert push(store, remote).complete
        self.there = str(self.rest.get_experiment_by_name(experiment).experiment_id)
        self.remote_dataset = self.rest.search_datasets(experiment_ids=[self.there])[0].dataset_id

    def put(self, api: Any, *questions: int, answer: str = "first") -> None:
        place = self.dataset if api is self.here else self.remote_dataset
        records = [{"inputs": {"q": n}, "expectations": {"a": answer}} for n in questions]
        api.upsert_dataset_records(place, records)

    def delete(self, api: Any, question: int) -> None:
        place = self.dataset if api is self.here else self.remote_dataset
        records, _ = api._load_dataset_records(place)
        ids = [each.dataset_record_id for each in records if each.inputs["q"] == question]
        assert api.delete_dataset_records(place, ids) == 1

    def answers(self) -> dict[int, str]:
        """On the server."""
        records, _ = self.rest._load_dataset_records(self.remote_dataset)
        return {each.inputs["q"]: (each.expectations or {})["a"] for each in records}

    def answers_here(self) -> dict[int, str]:
        return {row["inputs"]["q"]: row["expectations"]["a"] for row in read_records(self.store, self.dataset)}

    def pull(self) -> tuple[str, ...]:
        """Pull; the notes."""
        report = pull(self.store, self.remote, selection=self.mine)
        assert report.complete
        return report.notes

    def differences(self) -> list[str]:
        return [f"{each.kind}: {each.thing}" for each in verify(self.store, self.remote).differences]


@pytest.fixture
def both(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> BothSides:
    return BothSides(store, server, remote, experiment)


@pytest.mark.slow
def test_a_record_that_was_deleted_here_and_changed_on_the_server_stays_and_comes_back(both: BothSides) -> None:
    both.pull()
    for n in (0, 1):
        both.delete(both.here, n)
    both.put(both.rest, 1, answer="theirs")
    (problem,) = push(both.store, both.remote).problems
    assert problem.endswith('a record was deleted here and stays on the server, where it was changed: {"q": 1}')
    assert both.answers() == {1: "theirs", 2: "first"}
    assert push(both.store, both.remote).problems == ()
    both.pull()
    assert both.answers_here() == both.answers()
    assert both.differences() == []


@pytest.mark.slow
def test_a_record_that_came_from_the_server_and_is_deleted_here_stays_away(both: BothSides) -> None:
    both.put(both.rest, 7)
    both.pull()
    both.delete(both.here, 7)
    push(both.store, both.remote)
    both.put(both.rest, 8)
    both.pull()
    assert sorted(both.answers()) == [0, 1, 2, 7, 8]
    assert sorted(both.answers_here()) == [0, 1, 2, 8]


@pytest.mark.slow
def test_a_record_that_is_made_again_with_less_has_no_more_on_the_other_side(both: BothSides) -> None:
    for api, other in ((both.here, both.rest), (both.rest, both.here)):
        both.delete(api, 0)
        place = both.dataset if api is both.here else both.remote_dataset
        api.upsert_dataset_records(place, [{"inputs": {"q": 0}, "expectations": {"a": str(other)}, "outputs": "x"}])
        push(both.store, both.remote)
        both.pull()
        both.delete(api, 0)
        both.put(api, 0, answer="again")
        push(both.store, both.remote)
        both.pull()
        assert both.differences() == []
        assert both.answers() == both.answers_here() == {0: "again", 1: "first", 2: "first"}
        assert not any(each.get("outputs") for each in read_records(both.store, both.dataset))


@pytest.mark.slow
def test_what_was_deleted_on_the_server_is_named_once_and_stays_until_it_is_changed_or_repaired(
    both: BothSides,
) -> None:
    both.pull()
    both.delete(both.rest, 1)
    both.delete(both.rest, 2)
    both.rest.delete_scorer(both.there, "short", version=2)
    schema = both.rest.get_label_schema_by_name(both.there, "good")
    both.rest.delete_label_schema(schema.schema_id)
    assert sorted(both.pull()) == [
        "evaluation dataset 'questions': 2 records were deleted on the server: they stay here",
        "label schema good is gone from the server for good: it stays here",
        "scorer 'short': 1 version was deleted on the server: it stays here",
    ]
    assert both.pull() == ()
    assert (sorted(both.answers_here()), len(read_tables(both.store).schemas)) == ([0, 1, 2], 1)
    both.put(both.here, 2, answer="changed")
    assert push(both.store, both.remote).complete
    assert both.answers() == {0: "first", 2: "changed"}
    assert sorted(both.differences()) == [
        "evaluation dataset: records",
        "label schema: label schema",
        "scorer: versions",
    ]
    report = push(both.store, both.remote, repair=True)
    assert (report.complete, report.evaluation_items) == (True, 3)
    assert both.differences() == []
    assert both.answers() == both.answers_here()


@pytest.mark.slow
def test_datasets_and_scorers_that_are_gone_from_the_server_are_named_once(both: BothSides) -> None:
    both.rest.delete_dataset(both.remote_dataset)
    both.rest.delete_scorer(both.there, "short")
    assert sorted(both.pull()) == [
        "evaluation dataset questions is gone from the server for good: it stays here",
        "scorer short is gone from the server for good: it stays here",
    ]
    assert both.pull() == ()
    assert sorted(both.differences()) == ["evaluation dataset: evaluation dataset", "scorer: scorer"]
    assert push(both.store, both.remote, repair=True).evaluation_items == 2
    assert both.differences() == []


@pytest.mark.slow
def test_a_schema_that_is_made_again_with_another_type_has_it_on_the_other_side(both: BothSides) -> None:
    def make_again(api: Any, place: str, kind: LabelSchemaType, answers: Any) -> None:
        api.delete_label_schema(api.get_label_schema_by_name(place, "good").schema_id)
        api.create_label_schema(place, name="good", type=kind, input=answers)

    make_again(both.here, both.home, LabelSchemaType.EXPECTATION, InputText())
    assert push(both.store, both.remote).complete
    assert both.differences() == []
    make_again(both.rest, both.there, LabelSchemaType.FEEDBACK, InputCategorical(options=["yes", "no"]))
    assert both.pull() == ()
    assert both.differences() == []
    (schema,) = read_tables(both.store).schemas
    assert (schema.kind, schema.input["options"]) == ("feedback", ["yes", "no"])
    make_again(both.here, both.home, LabelSchemaType.EXPECTATION, InputText())
    make_again(both.rest, both.there, LabelSchemaType.FEEDBACK, InputPassFail(positive_label="a", negative_label="b"))
    report = push(both.store, both.remote)
    assert ["has another type here than on the server" in words for words in report.problems] == [True]
    assert both.rest.get_label_schema_by_name(both.there, "good").type is LabelSchemaType.FEEDBACK
    assert report.rejected == ()


@pytest.mark.slow
def test_a_pull_names_only_records_that_the_server_changed_as_well(both: BothSides) -> None:
    both.pull()
    both.put(both.here, 0, 1, answer="ours")
    both.put(both.rest, 1, 2, answer="theirs")
    (note,) = both.pull()
    assert note.endswith('it stays as it is: {"q": 1}')
    assert both.answers_here() == {0: "ours", 1: "ours", 2: "theirs"}
    push(both.store, both.remote)
    assert both.answers() == {0: "ours", 1: "ours", 2: "theirs"}
    assert both.pull() == ()


@pytest.mark.slow
def test_a_server_that_cannot_delete_records_keeps_them_and_this_is_said_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    both = BothSides(store, server, spoiled, experiment)

    def fault(seen: Seen) -> Fault:
        is_delete = seen.method == "DELETE" and seen.path.endswith("/records")
        return Answer(404, b"<!doctype html><title>404 Not Found</title>") if is_delete else None

    proxy.fault = fault
    both.delete(both.here, 1)
    (problem,) = push(store, spoiled).problems
    assert problem.endswith("1 record deleted here: the server has it still, as it can't delete records")
    both.put(both.here, 2, answer="later")
    assert push(store, spoiled).complete
    both.pull()
    assert (both.answers(), both.answers_here()) == ({0: "first", 1: "first", 2: "later"}, {0: "first", 2: "later"})


@pytest.mark.slow
def test_what_an_older_ledger_knows_without_fingerprints_is_neither_sent_again_nor_lost(
    both: BothSides, tmp_path: Path
) -> None:
    ledger = both.store.path / "remotes" / both.remote.name / "ledger.jsonl"
    lines = [line for line in ledger.read_text().splitlines() if '"table_records"' not in line]
    assert len(lines) < len(ledger.read_text().splitlines())
    ledger.write_text("".join(f"{line}\n" for line in lines))
    both.delete(both.rest, 2)
    both.put(both.rest, 1, answer="theirs")
    both.put(both.here, 0, answer="ours")
    assert push(both.store, both.remote).complete
    assert both.answers() == {0: "ours", 1: "theirs"}
    both.pull()
    assert both.answers_here() == {0: "ours", 1: "theirs", 2: "first"}
    push(both.store, both.remote)
    assert both.answers() == {0: "ours", 1: "theirs"}


def test_of_versions_with_one_content_the_one_is_deleted_that_stands_where_none_is() -> None:
    first, second = judge("first"), judge("second")
    known = [f"+{version_print(each)}" for each in (first, second, first)]
    there = {1: first, 2: second, 4: first}
    assert deleted_versions(known, [first, second], there) == [4]
    assert deleted_versions(known, [second, first], there) == [1]
    assert deleted_versions(known, [second], there) == [1, 4]
    assert deleted_versions(known, [first, second, first], there) == []
    assert deleted_versions([f"={each[1:]}" for each in known], [second], there) == []
    assert deleted_versions(known, [second], {2: second}) == []


def test_versions_that_both_sides_have_keep_their_marks() -> None:
    assert common_versions(["+a", "?b", "=c"], ["a", "b", "d"], ["a", "b", "c", "d"]) == ("+a", "+b", "=c", "=d")
    assert common_versions(["+a", "+a"], ["a"], ["a", "a"]) == ("+a", "+a")
    assert common_versions(["+a"], ["a", "x"], ["y"]) == ()


def test_a_ledger_that_is_rewritten_says_the_same_of_records() -> None:
    held = {"d-1": {str(n): CAME + str(n) for n in range(1201)}, "d-2": {"a": f"{GONE}b"}}
    lines = list(records_lines(held))
    again: dict[str, dict[str, str]] = {}
    for line in lines:
        apply_records(line, again)
    assert (again, len(lines)) == (held, 4)
    apply_records({"key": "d-2", "has": {"c": "+d"}, "lacks": ["a"]}, again)
    apply_records({"key": "d-1", "has": {}, "lacks": [], "reset": True}, again)
    assert again == {"d-1": {}, "d-2": {"c": "+d"}}
    assert TableEntry.of({"remote": "", "print": "", "sent": 0}) == TableEntry()
