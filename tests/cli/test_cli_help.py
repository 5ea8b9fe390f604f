"""Help: fast, complete, and without anything heavy."""

import json
import resource
import subprocess
import sys

import pytest
from typer.main import get_command

from ssdet_cli.cli.app import Root, app

HEAVY = ("torch", "numpy", "av", "decord", "pydantic", "matplotlib", "PIL")
COMMANDS = [
    *([name] for name in Root.table),
    *(["data", name] for name in ("convert", "generate", "list")),
    *(["configs", name] for name in ("list", "show", "copy")),
    *(["weights", name] for name in ("convert", "inspect")),
]


def loaded_by_help(*commands: list[str]) -> set[str]:
    """Heavy packages that a new process holds once it has shown the help of these commands."""
    code = (
        "import json, sys\n"
        "from ssdet_cli.__main__ import carry_out\n"
        f"codes = [carry_out([*words, '--help']) for words in {commands!r}]\n"
        f"print(json.dumps([codes, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    codes, loaded = json.loads(answer.stdout.splitlines()[-1])
    assert codes == [0] * len(commands)
    return set(loaded)


def test_help_imports_nothing_heavy():
    assert loaded_by_help([]) == set()


def test_help_of_every_command_imports_nothing_heavy():
    # newer Typer checks parameters with pydantic, so a command that has some may load it
    assert loaded_by_help(*COMMANDS) <= {"pydantic"}


def test_help_costs_less_than_half_a_second_of_the_processor():
    # Not by the clock: on a busy machine that says what the others do.
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    best = float("inf")
    for _ in range(3):
        before = spent()
        answer = subprocess.run(
            [sys.executable, "-m", "ssdet_cli", "--help"], capture_output=True, text=True, check=True
        )
        best = min(best, spent() - before)
    assert "pretrain" in answer.stdout
    assert best < 0.5, f"ssdet --help took {best:.2f} s of the processor"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_one_sentence_of_help(words):
    command = get_command(app)
    for word in words:
        context = command.make_context("ssdet", [], resilient_parsing=True)
        command = command.get_command(context, word)
    context = command.make_context("ssdet", [], resilient_parsing=True)
    for param in command.get_params(context):
        assert param.help and param.help.rstrip().endswith("."), f"{' '.join(words)}: {param.opts}"
    assert command.help


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    root = get_command(app)
    context = root.make_context("ssdet", [], resilient_parsing=True)
    for name, (_, sentence) in Root.table.items():
        own = " ".join(root.get_command(context, name).help.split())
        assert own.startswith(sentence.rstrip(".")), name


def test_no_words_and_a_group_alone_show_help(ssdet):
    assert ssdet().code == 0
    assert "copy" in ssdet("configs").out


def test_version_is_the_package_s(ssdet):
    from ssdet_cli import __version__

    assert ssdet("--version").out == f"ssdet {__version__}\n"
