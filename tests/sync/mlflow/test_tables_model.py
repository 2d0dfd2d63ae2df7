"""Two stores that push to one server, and pull from it, while all three edit: each holds what the model says."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from tests.support.server import MlflowServer
from tests.support.tables import client_of
from tests.support.tables_model import Edits, Model, Shared, Side, differences

KINDS = ("record", "tag", "version", "schema")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_two_stores_and_a_server_hold_what_the_model_says(
    store: Store, server: MlflowServer, experiment: str, mine: Selection, tmp_path: Path, seed: int, steps: int = 60
) -> None:
    other = Store.create(tmp_path / "other" / ".mltrack")
    stores = {"first": store, "second": other}
    remotes = {name: Remotes(each).add("lab", server.url) for name, each in stores.items()}
    sides = {name: Side(TrackingStore(f"mltrack://{each.path}"), experiment) for name, each in stores.items()}
    sides["server"] = Side(client_of(server), experiment)
    sides["first"].fill()
    assert push(store, remotes["first"]).complete
    assert pull(other, remotes["second"], selection=mine).complete
    start = sides["server"].held()
    model = Model(copy.deepcopy(start), {name: Shared(copy.deepcopy(start), is_scorer_sent=True) for name in stores})
    for name, mark in (("first", "+"), ("second", "=")):
        model.stores[name].both = {kind: {key: (mark, text) for key, text in start[kind].items()} for kind in KINDS}
    edits = Edits(seed)
    done: list[str] = []
    for step in range(steps):
        name = edits.choose(sorted(sides))
        what = (
            edits.choose(["edit", "edit", "edit", "push", "pull"]) if step < steps - 4 else ("push", "pull")[step % 2]
        )
        if what == "edit":
            held = model.server if name == "server" else model.stores[name].held
            kind, key, value = edits.next(held)
            done.append(f"{name}: {kind} {key} becomes {value}")
            if value is None:
                sides[name].remove(kind, key)
            else:
                sides[name].put(kind, key, value)
            model.changed(name, kind, key, value)
            continue
        name = name if name != "server" else "first"
        done.append(f"{name}: {what}")
        if what == "push":
            assert push(stores[name], remotes[name]).rejected == ()
            model.push(name)
        else:
            assert pull(stores[name], remotes[name], selection=mine).problems == ()
            model.pull(name)
        for side, shown in sides.items():
            expected = model.server if side == "server" else model.stores[side].held
            assert differences(side, shown.held(), expected, done) == ""
