"""Named options: what each stands for, and which command has which."""

from pathlib import Path

import pytest
from typer.main import get_command

from ssdet_cli.cli.app import app
from ssdet_cli.cli.carry_out import configure
from ssdet_cli.cli.options import KEYS
from ssdet_cli.cli.request import Request
from ssdet_cli.config.commands import COMMANDS
from ssdet_cli.config.load import all_keys, to_yaml

#: Parameters that stand for no key.
WITHOUT_KEY = {"overrides", "config", "resume", "dry_run", "print_config", "help"}


def parameters(command: str) -> dict[str, str]:
    """Parameter -> help of a command."""
    root = get_command(app)
    context = root.make_context("ssdet", [], resilient_parsing=True)
    found = root.get_command(context, command)
    return {param.name: param.help for param in found.get_params(context)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_named_option_stands_for_a_key_that_the_command_has_and_its_help_names_it(command):
    own = all_keys(COMMANDS[command])
    for name, sentence in parameters(command).items():
        if name not in WITHOUT_KEY:
            assert KEYS[name] in own, f"{command} --{name}"
            assert f"({KEYS[name]})" in sentence, f"{command} --{name}: {sentence}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_configured_command_can_be_distributed(command):
    held = parameters(command)
    assert {"config", "output", "gpus", "device", "nproc", "nnodes", "node_rank", "rdzv_endpoint"} <= held.keys()
    if command not in ("evaluate", "predict"):  # which have nothing to continue, and nothing to try out
        assert "dry_run" in held
    if command not in ("evaluate", "predict", "extract-features"):  # which draw nothing, and the last always continues
        assert {"seed", "resume"} <= held.keys()


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (
            "pretrain",
            Request(
                "generated",
                ("clip.size=32", "loop.accumulate=2"),
                {"backbone": "x3d_s", "output": Path("a b"), "nproc": 2, "batch_size": 3, "augment": "freeze,mixup"},
            ),
        ),
        ("finetune", Request(None, (), {"gpus": "0,1", "node_rank": 0, "seed": 0, "annotations": Path("a.csv")})),
        ("evaluate", Request(None, ("split=val",), {"checkpoint": [Path("a"), Path("b")], "allow_missing": True})),
        (
            "extract-features",
            Request(
                None, ("pool=2",), {"trained": Path("a"), "stages": "layer1,conv5", "exact": True, "dtype": "float32"}
            ),
        ),
    ],
    ids=["pretrain", "finetune", "evaluate", "extract-features"],
)
def test_the_words_of_a_request_ask_for_the_same_again(ssdet, command, request_):
    again = ssdet(command, *request_.words(), "--print-config")
    assert again.out == to_yaml(configure(command, request_)[0])


def test_zero_is_a_value_like_any_other(ssdet, tmp_path):
    (tmp_path / "seven.yaml").write_text("run: {seed: 7}\n")
    assert "seed: 0 " in ssdet("finetune", "--config", "seven.yaml", "--seed", 0, "--print-config").out
