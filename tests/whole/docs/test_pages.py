"""The pages as a whole: each is listed, each block is run or said not to be, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mltrack.cli.app import cli
from tests.support.pages import FOLDER, Block, blocks

INDEX = FOLDER.with_name("examples.md")
PAGES = sorted(path.name for path in FOLDER.glob("*.md"))
NOT_RUN = {"console", "text"}


def source_of_tests(page: str) -> str:
    return (Path(__file__).parent / f"test_{Path(page).stem.replace('-', '_')}.py").read_text(encoding="utf-8")


def test_every_example_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(examples/([^)]+)\)", INDEX.read_text(encoding="utf-8")))
    assert linked == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_is_a_file_or_tested_or_marked_as_untested(page: str) -> None:
    typed = re.findall(r'commands\("([^"]+)"\)', source_of_tests(page))
    for block in blocks(FOLDER / page):
        if block.language == "sh":
            assert any(words in block.text for words in typed), block.text
        else:
            assert bool(block.file) != (block.language in NOT_RUN), block
        assert "\t" not in block.text


@pytest.mark.parametrize("page", [*PAGES, "../examples.md"])
def test_links_between_pages_have_targets(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (FOLDER / page).parent.joinpath(target).exists(), target


def commands_of(page: str) -> list[str]:
    """The mltrack commands of a page, also those that no test runs."""
    texts = [_joined(block) for block in blocks(FOLDER / page) if block.language in ("sh", "console")]
    lines = [line.removeprefix("$ ") for text in texts for line in text.splitlines()]
    return [line for line in lines if line.startswith("mltrack ") and line.count('"') % 2 == 0]


def _joined(block: Block) -> str:
    return block.text.replace("\\\n", "")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_pages_exist_with_their_options(page: str) -> None:
    for line in commands_of(page):
        words = shlex.split(line)[1:]
        command: click.Command = cli
        context = click.Context(cli, info_name="mltrack")
        while isinstance(command, click.Group):
            found = command.get_command(context, words[0])
            assert found is not None, line
            context = click.Context(found, parent=context, info_name=words[0])
            command, words = found, words[1:]
        command.parse_args(context, words)
