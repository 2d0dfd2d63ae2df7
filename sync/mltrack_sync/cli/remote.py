"""The commands ``status`` and ``remote``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import UsageError
from mltrack.text.printing import Column, note, print_json, print_table, say
from mltrack.text.redaction import hide
from mltrack_sync.cli.common import Command, json_option, open_store
from mltrack_sync.cli.status import status

if TYPE_CHECKING:
    from mltrack.disk.trust import Trust
    from mltrack_sync.remotes.kind import Remote

__all__ = ["commands", "remote", "status"]


SHARED_FOLDER = (
    "The folder in which the server keeps artifacts, if this machine has the same one: files are then written to it"
    " where the server says so. Without this, a server can't have anything written on this machine."
)


HISTORY = (
    "Send about N to 2N points of each metric, and the complete run as files (default: all points). At least 100; 2000"
    " draws charts as the whole history would."
)


@click.group(
    "remote",
    short_help="Add, change and list remotes.",
    epilog="Example:  mltrack remote add lab http://127.0.0.1:5000",
    context_settings={"help_option_names": ["-h", "--help"]},  # also where it is the whole program
)
def remote() -> None:
    """Manage remotes: servers, workspaces, other stores and lakes that runs are pushed to.

    Credentials are never stored: they come from environment variables, or from a cloud's own files.
    """


@remote.command(
    "add",
    short_help="Add a remote.",
    cls=Command,
    examples=[
        "mltrack remote add lab http://127.0.0.1:5000",
        "mltrack remote add prod azureml: --config config.json",
        "mltrack remote add usb /media/usb/.mltrack",
        "mltrack remote add cluster ssh://cluster/scratch/me/.mltrack",
        "mltrack remote add lake s3://bucket/prefix",
    ],
)
@click.argument("name")
@click.argument("url")
@click.option("--config", metavar="PATH", help="With azureml: the config.json to read (else it is searched for).")
@click.option("--token-file", default="", metavar="PATH", help="Azure: a file that holds a token, kept fresh by you.")
@click.option("--token-command", default="", metavar="CMD", help="Azure: a command that prints a token.")
@click.option("--shared-folder", default="", metavar="PATH", help=SHARED_FOLDER)
@click.option("--history", metavar="N", help=HISTORY)
@click.option("--workspace", metavar="W", help="One of an MLflow server's workspaces (default: $MLFLOW_WORKSPACE).")
@click.pass_context
def remote_add(
    ctx: click.Context,
    name: str,
    url: str,
    config: str | None,
    token_file: str,
    token_command: str,
    shared_folder: str,
    history: str | None,
    workspace: str | None,
) -> None:
    """Add the remote at URL as NAME.

    URL is that of an MLflow server, an Azure ML workspace, another store (a path, or ssh://) or a lake (delta:, s3://,
    abfss://, gs://). "azureml:" alone takes the workspace from Azure's config.json, searched for from this folder
    upward.
    """
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.kind import kind_of

    url = kind_of(url).full_url(url, config)
    if token_file:
        token_file = os.path.abspath(token_file)
    remotes = Remotes(open_store(ctx))
    added = remotes.add(name, url, token_file=token_file, token_command=token_command)
    if shared_folder:
        added = remotes.share_folder(name, shared_folder)
    given = {"history": history, "workspace": workspace}
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    if settings:
        added = remotes.configure(name, settings)
    say(f"{added.name}: {added.url}")


@remote.command(
    "set",
    cls=Command,
    examples=[
        "mltrack remote set lab history=2000",
        "mltrack remote set lab history=",
        "mltrack remote set usb max_artifact_size=10M",
        "mltrack remote set lab --shared-folder /mnt/mlruns",
        'mltrack remote set lab --shared-folder ""',
    ],
)
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--shared-folder", metavar="PATH", help=SHARED_FOLDER)
@click.pass_context
def remote_set(ctx: click.Context, name: str, settings: tuple[str, ...], shared_folder: str | None) -> None:
    """Change the settings of a remote.

    "history=2000" sends about 2,000 to 4,000 points of each metric, chosen so that no spike is lost, and the complete
    run as files; "history=whole" sends all points. "max_artifact_size=10M" leaves larger files out of a store, 0 all of
    them. "workspace=W" is one of an MLflow server's workspaces. "KEY=" removes a setting.
    """
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.kind import find_kind
    from mltrack_sync.remotes.settings import ConfigurableKind

    remotes = Remotes(open_store(ctx))
    if not settings and shared_folder is None:
        kind = find_kind(remotes.get(name).kind)
        known = ", ".join(sorted(kind.settings)) if isinstance(kind, ConfigurableKind) else "none"
        raise UsageError("nothing to set", hint=f"mltrack remote set {name} KEY=VALUE; its settings: {known}")
    changed = remotes.configure(name, settings)
    if shared_folder is not None:
        changed = remotes.share_folder(name, shared_folder)
        say(f"{changed.name}: {changed.url}, shared folder {changed.shared_folder or 'none'}")
    if settings:
        say(", ".join(_described(changed)))


def _described(one: Remote) -> list[str]:
    """Its name, URL and settings."""
    return [one.name, one.url, *_settings(one)]


def _settings(one: Remote) -> list[str]:
    shown = [f"history={one.history or 'whole'}"] if one.history is not None else []
    if one.max_artifact_size is not None:
        shown.append(f"max_artifact_size={one.max_artifact_size}")
    if one.mlflow_workspace:
        shown.append(f"workspace={one.mlflow_workspace}")
    return shown


@remote.command(
    "set-url",
    cls=Command,
    examples=[
        "mltrack remote set-url lab https://new.example.org",
        "mltrack remote set-url usb /mnt/usb/.mltrack --moved",
    ],
)
@click.argument("name")
@click.argument("url")
@click.option("--moved", is_flag=True, help="It is the same server or store, at another address.")
@click.pass_context
def remote_set_url(ctx: click.Context, name: str, url: str, moved: bool) -> None:
    """Give the remote NAME another URL.

    With --moved, what is known to have arrived still counts. Else the next sync compares all runs with what is at the
    new address and sends what is missing there; nothing arrives twice.
    """
    from mltrack_sync.engine.rename import set_remote_url

    changed = set_remote_url(open_store(ctx), name, url, moved=moved)
    say(f"{changed.name}: {changed.url}")


@remote.command("rename", cls=Command, examples=["mltrack remote rename 127.0.0.1-5000 lab"])
@click.argument("name")
@click.argument("new_name")
@click.pass_context
def remote_rename(ctx: click.Context, name: str, new_name: str) -> None:
    """Rename a remote; its settings and what it has acknowledged stay."""
    from mltrack_sync.engine.rename import rename_remote

    changed = rename_remote(open_store(ctx), name, new_name)
    say(f"{changed.name}: {changed.url}")


@remote.command(
    "trust",
    cls=Command,
    examples=["mltrack remote trust lab", "mltrack remote trust --list", "mltrack remote trust lab --remove"],
)
@click.argument("name", required=False)
@click.option("--token-file", default="", metavar="PATH", help="Azure: a file that holds a token, kept fresh by you.")
@click.option("--token-command", default="", metavar="CMD", help="Azure: a command that prints a token.")
@click.option("--list", "listing", is_flag=True, help="List what is trusted, in any store.")
@click.option("--remove", is_flag=True, help="Stop trusting NAME.")
@json_option
@click.pass_context
def remote_trust(
    ctx: click.Context,
    name: str | None,
    token_file: str,
    token_command: str,
    listing: bool,
    remove: bool,
    as_json: bool,
) -> None:
    """Trust the remote NAME of this store.

    Your credentials may then be sent to its URL, and its token command is run. Needed if another user may have written
    the store, and for any token command or file that a store names. Trust is kept in your own folder
    ($XDG_CONFIG_HOME/mltrack/trust.json), never in the store. When the URL or the command changes, trust ends.
    """
    from mltrack.disk.trust import Trust
    from mltrack_sync.remotes.config import Remotes

    if listing:
        _list_trusted(Trust(), as_json)
        return
    if name is None:
        raise UsageError("no remote was named", hint="mltrack remote trust NAME; see mltrack remote ls")
    remotes = Remotes(open_store(ctx))
    if remove:
        say(f"{name}: {'no longer trusted' if remotes.distrust(name) else 'was not trusted'}")
        return
    if token_file:
        token_file = os.path.abspath(token_file)
    found = remotes.trust(name, token_file=token_file, token_command=token_command)
    say(f"{name}: {found.url} is trusted and may get your credentials")
    if found.token_command or found.token_file:
        kind = "command" if found.token_command else "file"
        say(f"{name}: tokens come from the {kind} {hide(found.token_command or found.token_file)}")


def _list_trusted(trust: Trust, as_json: bool) -> None:
    found = trust.all()
    if as_json:
        print_json([_without_secrets(asdict(one)) for one in found])
        return
    if not found:
        note("no remote of a store of others is trusted")
        return
    rows = [(one.remote, one.url, one.store, hide(one.token_command or one.token_file)) for one in found]
    print_table(
        [Column("name", style="cyan"), *(Column(name, wrap=True) for name in ("url", "store", "token from"))], rows
    )


def _without_secrets(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: hide(value) if isinstance(value, str) else value for key, value in fields.items()}


@remote.command("ls", cls=Command, examples=["mltrack remote ls"])
@json_option
@click.pass_context
def remote_ls(ctx: click.Context, as_json: bool) -> None:
    """List the remotes."""
    from mltrack_sync.remotes.config import Remotes

    found = Remotes(open_store(ctx)).all()
    if as_json:
        print_json([_remote_fields(one) for one in found])
        return
    if not found:
        note("there are none yet: mltrack remote add NAME URL")
        return
    rows = [(one.name, hide(one.url), ", ".join(_settings(one))) for one in found]
    print_table([Column("name", style="cyan"), Column("url", wrap=True), Column("settings", wrap=True)], rows)
    for one in found:
        if one.refusal is not None:
            note(f"{one.name}: {one.refusal.message} ({one.refusal.hint})", style="yellow")


def _remote_fields(one: Remote) -> dict[str, Any]:
    fields = {**asdict(one), "refusal": one.refusal.message if one.refusal is not None else ""}
    return _without_secrets(fields)


@remote.command("rm", cls=Command, examples=["mltrack remote rm lab"])
@click.argument("name")
@click.pass_context
def remote_rm(ctx: click.Context, name: str) -> None:
    """Remove a remote; nothing on the remote is deleted."""
    from mltrack_sync.remotes.config import Remotes

    Remotes(open_store(ctx)).remove(name)
    say(f"{name}: removed")


commands: list[click.Command] = [status, remote]
"""What mltrack's CLI adds to its own."""
