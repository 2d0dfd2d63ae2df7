"""`mltrack models`: the registered models of the store, their versions and aliases."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Command, Session, json_option, pass_session
from mltrack.cli.names import wanted_tags
from mltrack.environment import PROMPT_TAG
from mltrack.text.figures import with_times
from mltrack.text.printing import Column, heading, note, print_json, print_table, say

if TYPE_CHECKING:
    from mltrack.entities import ModelVersion, RegisteredModel

__all__ = ["models"]

"""The tag of a registered model that is a prompt."""


@click.group("models", short_help="List, register and promote models.")
def models() -> None:
    """List registered models, register versions, and move aliases such as champion."""


@models.command(
    "ls",
    short_help="List registered models.",
    cls=Command,
    examples=["mltrack models ls", "mltrack models ls 'spiral*' --tag team=vision"],
)
@click.argument("pattern", metavar="[NAME]", required=False)
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only with this tag; may be repeated.")
@click.option("--prompts", is_flag=True, help="Prompts instead, which MLflow keeps as registered models.")
@json_option
@pass_session
def ls(session: Session, pattern: str | None, tags: tuple[str, ...], prompts: bool, as_json: bool) -> None:
    """List registered models with their latest version and aliases, by name; of those that match NAME, as 'spiral*'."""
    from mltrack.cli.formatting import moment

    registry = session.store().registry
    wanted = wanted_tags(tags, "mltrack models ls --tag KEY=VALUE")
    every = [model for model in registry.models() if (model.tags.get(PROMPT_TAG) == "true") == prompts]
    found = [
        model for model in every if fnmatchcase(model.name, pattern or "*") and wanted.items() <= model.tags.items()
    ]
    versions = {model.name: registry.versions(model.name) for model in found}
    if as_json:
        print_json([{**_facts(model), "versions": len(versions[model.name])} for model in found])
        return
    if not found and every:
        note("no prompt matches" if prompts else "no model matches")
        return
    if not found:
        note("there are none yet" if prompts else "there are none yet: mltrack models register RUN PATH NAME")
        return
    rows = []
    for model in found:
        newest = max(versions[model.name], key=lambda version: version.version, default=None)
        rows.append(
            (
                model.name,
                "" if newest is None else str(newest.version),
                ", ".join(f"{alias}={number}" for alias, number in sorted(model.aliases.items())),
                moment(model.last_update_time),
                model.description,
            )
        )
    columns = [Column("name", style="cyan", cut=True), Column("latest", right=True), Column("aliases", cut=True)]
    print_table([*columns, Column("changed", drop=1), Column("description", cut=True, drop=2)], rows)


@models.command("show", short_help="Show a model's versions.", cls=Command, examples=["mltrack models show spiral"])
@click.argument("name")
@json_option
@pass_session
def show(session: Session, name: str, as_json: bool) -> None:
    """Show a registered model with all its versions, the newest first."""
    from mltrack.cli.formatting import moment

    registry = session.store().registry
    model, versions = registry.get_model(name), registry.versions(name)
    versions.sort(key=lambda version: -version.version)
    if as_json:
        print_json({**_facts(model), "versions": [_facts(version) for version in versions]})
        return
    pairs = [("name", model.name), ("description", model.description), ("created", moment(model.creation_time))]
    pairs += [(f"tag {key}", value) for key, value in sorted(model.tags.items())]
    print_table([Column("", style="dim"), Column("", wrap=True)], [pair for pair in pairs if pair[1]], headings=False)
    if versions:
        say()
        heading("Versions")
        rows = [
            (
                str(version.version),
                ", ".join(version.aliases),
                "" if version.stage == "None" else version.stage,
                moment(version.creation_time),
                version.source,
                version.description,
            )
            for version in versions
        ]
        columns = [Column("version", right=True), Column("aliases", style="cyan"), Column("stage", drop=3)]
        columns += [Column("created", drop=2), Column("source", cut=True), Column("description", cut=True, drop=1)]
        print_table(columns, rows)


@models.command(
    "register",
    short_help="Register a run's files.",
    cls=Command,
    examples=["mltrack models register spirals-1 arms.txt spiral"],
)
@click.argument("run", type=RUN)
@click.argument("path")
@click.argument("name")
@click.option("-d", "--description", default="", help="The version's description.")
@click.option("-a", "--alias", help="An alias that points to it from now on.")
@json_option
@pass_session
def register(
    session: Session, run: str, path: str, name: str, description: str, alias: str | None, as_json: bool
) -> None:
    """Add PATH, an artifact of RUN (a model's folder), as the next version of the model NAME, made if it is new."""
    store = session.store()
    stored = store.run(run)
    made = store.registry.create_version_of_run(name, stored.folder, path, description=description)
    if alias is not None:
        store.registry.set_alias(name, alias, made.version)
    _print_version(store.registry.get_version(name, made.version), as_json, f"is {made.source}")


@models.command(
    "promote",
    short_help="Point an alias to a version.",
    cls=Command,
    examples=["mltrack models promote spiral 1 champion"],
)
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.argument("alias")
@json_option
@pass_session
def promote(session: Session, name: str, version: int, alias: str, as_json: bool) -> None:
    """Let ALIAS point to VERSION of the model NAME, and no longer to the version it pointed to."""
    registry = session.store().registry
    before = registry.get_model(name).aliases.get(alias)
    registry.set_alias(name, alias, version)
    moved = f" (before: version {before})" if before not in (None, version) else ""
    _print_version(registry.get_version(name, version), as_json, f"is {alias} now{moved}")


@models.command("demote", short_help="Remove an alias.", cls=Command, examples=["mltrack models demote spiral best"])
@click.argument("name")
@click.argument("alias")
@json_option
@pass_session
def demote(session: Session, name: str, alias: str, as_json: bool) -> None:
    """Remove ALIAS from the model NAME; its versions stay."""
    registry = session.store().registry
    version = registry.by_alias(name, alias).version
    registry.delete_alias(name, alias)
    _print_version(registry.get_version(name, version), as_json, f"is no longer {alias}")


def _facts(entry: RegisteredModel | ModelVersion) -> dict[str, Any]:
    """A model or a version for --json."""
    return with_times(asdict(entry), ms=("creation_time", "last_update_time"))


def _print_version(version: ModelVersion, as_json: bool, words: str) -> None:
    if as_json:
        print_json(_facts(version))
    else:
        say(f"{version.name} version {version.version} {words}")
