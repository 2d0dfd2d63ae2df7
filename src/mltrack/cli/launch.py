"""`mltrack run`, `logs` and `reproduce`: run a program and record it, show its output, recreate it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.errors import UsageError
from mltrack.text.printing import say, show_output

if TYPE_CHECKING:
    from mltrack.guards.rules import Guard
    from mltrack.recording.run import Run

__all__ = ["logs", "reproduce", "run"]


MLFLOW_SYSTEM_METRICS = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""Not forwarded if we log system metrics: MLflow in the program would log them again, into the same run."""


def _refuse_go_on(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        raise UsageError("--go-on has a new name", hint="use --resume-if-exists")


@command(
    "run",
    "Run a program and record it.",
    "mltrack run -- python train.py --lr 0.1",
    "mltrack run --experiment spirals --param lr=0.1 python train.py",
    "mltrack run --resume spirals-1 -- python train.py",
    'mltrack run --name "job-$SLURM_JOB_ID" --resume-if-exists -- python train.py',
)
@click.option("-e", "--experiment", metavar="NAME", help="The run's experiment, created if it does not exist.")
@click.option("-n", "--name", metavar="NAME", help="The run's name.")
@click.option("-p", "--param", "params", metavar="KEY=VALUE", multiple=True, help="A param to log; may be repeated.")
@click.option("-t", "--tag", "tags", metavar="KEY=VALUE", multiple=True, help="A tag to set; may be repeated.")
@click.option("--resume", type=RUN, metavar="RUN", help="Record into this run instead of a new one.")
@click.option("--resume-if-exists", is_flag=True, help="Resume the run called --name if it exists, for requeued jobs.")
@click.option("--go-on", is_flag=True, hidden=True, expose_value=False, callback=_refuse_go_on)
@click.option("--sync", metavar="REMOTE", help="Push while it runs, to a remote's name or URL.")
@click.option(
    "--watch",
    metavar="FOLDER",
    multiple=True,
    default=("outputs", "logs"),
    show_default=True,
    help="Store the files the program writes to it as artifacts; may be repeated.",
)
@click.option("--no-watch", is_flag=True, help="Watch no folder.")
@click.option("--no-snapshot", is_flag=True, help="Don't record source files, packages and the machine.")
@click.option("--no-system-metrics", is_flag=True, help="Don't log system metrics.")
@click.option("--redact", metavar="NAME", multiple=True, help="Another name whose values are secret; may be repeated.")
@click.option("--no-redact", is_flag=True, help="Record secrets unchanged.")
@click.option(
    "--log-max", metavar="MIB", type=click.IntRange(min=1), default=256, show_default=True, help="Output to keep."
)
@click.option(
    "--guards",
    "guards_file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file with guards; by default the nearest mltrack.toml from the working folder upward.",
)
@click.option("--no-guards", is_flag=True, help="Run it without guards.")
@click.option("-q", "--quiet", is_flag=True, help="Keep the program's output, but don't show it.")
@click.argument("words", metavar="[--] COMMAND...", nargs=-1, type=click.UNPROCESSED)
@pass_session
def run(
    session: Session,
    experiment: str | None,
    name: str | None,
    params: tuple[str, ...],
    tags: tuple[str, ...],
    resume: str | None,
    resume_if_exists: bool,
    sync: str | None,
    watch: tuple[str, ...],
    no_watch: bool,
    no_snapshot: bool,
    no_system_metrics: bool,
    redact: tuple[str, ...],
    no_redact: bool,
    log_max: int,
    guards_file: Path | None,
    no_guards: bool,
    quiet: bool,
    words: tuple[str, ...],
) -> int:
    """Run COMMAND and record it as a run: its output, code, machine and files, along with what it logs itself.

    In the program, `import mltrack` and `import mlflow` log to this run by themselves. Signals are forwarded, and the
    exit code is the program's.
    """
    from mltrack.launch.collectors import collectors_for
    from mltrack.launch.launcher import Launch, launch
    from mltrack.process.secret_patterns import Redactor

    redactor = Redactor(on=False) if no_redact else Redactor.from_environment(redact)
    what = Launch(
        command=words,
        experiment=experiment,
        name=name,
        params=_pairs("--param", params),
        tags=_pairs("--tag", tags),
        resume=resume,
        resume_if_exists=resume_if_exists,
        sync=sync,
        env={key: value for key, value in os.environ.items() if no_system_metrics or key != MLFLOW_SYSTEM_METRICS},
        log_bytes_max=log_max << 20,
        quiet=quiet,
        collectors=collectors_for(
            words,
            environment=os.environ,
            redactor=redactor,
            watch=() if no_watch else watch,
            snapshot=not no_snapshot,
            system_metrics=not no_system_metrics,
        ),
        redactor=redactor,
        guards=() if no_guards else _guards(guards_file),
        on_stop=lambda reason: say(f"mltrack: ending the program: {reason}", err=True),
    )
    done = launch(what, session.store_path, on_run=_announce)
    if done.status != "FINISHED":
        say(f"mltrack: run {done.run_id[:8]} {done.status.lower()}, exit code {done.exit_code}", err=True)
    if done.output_lost:
        say(f"mltrack: {done.output_lost:,} bytes of its output could not be written to disk", err=True)
    if done.interrupted:  # end as the program did, so that Ctrl-C also ends a shell loop of launches
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    return done.exit_code


run.allow_interspersed_args = False  # options after the first word of the command are the command's


def _guards(path: Path | None) -> list[Guard]:
    from mltrack.guards.project_file import project_guards

    found = project_guards(path)
    if found is None:
        return []
    for words in found.left_out:
        say(f"mltrack: not used: {words}", err=True)
    return found.guards


def _announce(made: Run) -> None:
    say(f"mltrack: run {made.run_id[:8]} {made.name}", err=True)


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise UsageError(f"{option} {text!r} is not KEY=VALUE", hint=f"write {option} lr=0.1")
        if pairs.get(key, value) != value:
            raise UsageError(f"{option} {key} is given twice: {pairs[key]} and {value}", hint="give one value")
        pairs[key] = value
    return pairs


@command("logs", "Show the output of a launched program.", "mltrack logs spirals-1", "mltrack logs -f spirals-1")
@click.argument("name", type=RUN, metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Continue as the program prints more, until it ends.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option(
    "--part",
    "number",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="The Nth additional log, if several launches recorded into the run at once.",
)
@pass_session
def logs(session: Session, name: str, follow: bool, lines: int | None, number: int) -> None:
    """Show the output of RUN, as `mltrack run` records it; also while it runs.

    In a terminal, colors work and other escape sequences are shown as text; a pipe or a file gets every byte
    unchanged.
    """
    from mltrack.launch.log_reader import follow_output, last_lines, output_numbers, output_of

    store = session.store()
    stored = store.run(name)
    if follow:
        pieces = follow_output(stored, number=number, lines=lines)
    else:
        pieces = output_of(stored, number=number)
        pieces = pieces if lines is None else iter([last_lines(pieces, lines)])
    show_output(pieces)
    others = [other for other in output_numbers(stored) if other != number]
    if others:
        say(f"mltrack: this run has more logs: --part {', '.join(map(str, others))}", err=True)


@command("reproduce", "Recreate a launched run.", "mltrack reproduce spirals-3 --to again")
@click.argument("name", type=RUN, metavar="RUN")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new folder.")
@json_option
@pass_session
def reproduce(session: Session, name: str, folder: Path, as_json: bool) -> int:
    """Write RUN's source files to FOLDER, with the files to rebuild its environment, and its command as a script."""
    from dataclasses import asdict

    from mltrack.cli.exit_codes import PARTIAL
    from mltrack.cli.formatting import plural
    from mltrack.launch.reproduce import reproduce as recreate
    from mltrack.text.printing import print_json

    store = session.store()
    done = recreate(store, store.run(name), folder)
    if as_json:
        print_json(asdict(done))
    else:
        say(f"{plural(done.files, 'file')} in {folder}; the command was: {done.command}")
        for missing, reason in done.missing.items():
            say(f"missing: {missing}: {reason}")
        say("to run it again:")
        for step in done.steps:
            say(f"  {step}")
    return PARTIAL if done.missing else 0
