"""What the commands print and write without training anything."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import COMMANDS, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.locate import shipped
from ssdet_cli.data import DATASETS
from ssdet_cli.models.backbones import BACKBONES


def test_print_config_is_a_valid_config_that_says_the_same(ssdet, tmp_path):
    words = ("pretrain", "--data", "clips", "--augment", "freeze", "--lr", "1e-4", "clip.frames=8", "--print-config")
    outcome = ssdet(*words)
    assert (outcome.code, outcome.err) == (0, "")
    (tmp_path / "mine.yaml").write_text(outcome.out)
    again = ssdet("pretrain", "--config", "mine.yaml", "--print-config")
    assert again.out == outcome.out
    cfg = load_config(PretrainConfig, str(tmp_path / "mine.yaml"))
    assert (cfg.optim.lr, cfg.augment.methods, cfg.clip.frames) == (1e-4, ("freeze",), 8)


def test_every_named_flag_of_pretrain_reaches_its_key(ssdet, tmp_path):
    outcome = ssdet(
        *("pretrain", "--backbone", "x3d", "--data", "d", "--dataset", "folder", "--init", "w.pt", "--augment", "none"),
        *("--steps", 7, "--batch-size", 3, "--lr", 0.5, "--output", "o", "--device", "cpu", "--nproc", 2, "--seed", 5),
        *("--nnodes", 2, "--node-rank", 1, "--rdzv-endpoint", "a:1", "--print-config", "-v", "--allow-partial"),
        *("--deterministic", "--precision", "tf32", "--max-time", "3h50m"),
        *("--wandb", "mine"),
    )
    got = yaml.safe_load(outcome.out)
    assert (got["model"]["backbone"], got["model"]["init"], got["model"]["allow_partial"]) == ("x3d", "w.pt", True)
    assert (got["data"]["videos"], got["data"]["dataset"], got["augment"]["methods"]) == ("d", "folder", [])
    assert (got["loop"]["steps"], got["loop"]["batch_size"], got["optim"]["lr"]) == (7, 3, 0.5)
    assert (got["loop"]["precision"], got["loop"]["max_time"]) == ("tf32", 13800.0)
    assert got["run"] == {
        **{"output": "o", "seed": 5, "device": "cpu", "gpus": None, "nproc": 2, "deterministic": True},
        **{"nnodes": 2, "node_rank": 1, "rdzv_endpoint": "a:1", "verbose": True, "wandb": "mine"},
    }


def test_every_named_flag_of_finetune_reaches_its_key(ssdet):
    outcome = ssdet(
        *("finetune", "--init", "w.pt", "--dataset", "json", "--annotations", "a.json", "--videos", "v"),
        *(
            "--head",
            "linear",
            "--backbone",
            "x3d_s",
            "--protocol",
            "charades-localize",
            "--gpus",
            "1",
            "--print-config",
        ),
    )
    got = yaml.safe_load(outcome.out)
    assert (got["model"]["init"], got["model"]["head"], got["model"]["backbone"]) == ("w.pt", "linear", "x3d_s")
    assert (got["data"]["dataset"], got["data"]["annotations"], got["data"]["videos"]) == ("json", "a.json", "v")
    assert (got["protocol"], got["run"]["gpus"]) == ("charades-localize", "1")


def test_every_named_flag_of_evaluate_reaches_its_key(ssdet):
    outcome = ssdet(
        *("evaluate", "--protocol", "frame-map", "--checkpoint", "a", "--checkpoint", "b", "--annotations", "t.csv"),
        *("--videos", "v", "--dataset", "charades", "--split", "val", "--allow-missing", "--print-config"),
        *("--predictions", "p.npz", "--weights", "2,1,0.5", "--average", "logits", "--smooth", "1.5"),
        *("--save-predictions", "s.npz", "inference.shifts=2"),
    )
    got = yaml.safe_load(outcome.out)
    assert (got["predictions"], got["weights"], got["average"]) == (["p.npz"], [2.0, 1.0, 0.5], "logits")
    assert (got["smooth"], got["save_predictions"], got["inference"]["shifts"]) == (1.5, "s.npz", 2)
    assert (got["protocol"], got["checkpoints"], got["split"], got["allow_missing"]) == (
        *("frame-map", ["a", "b"]),
        *("val", True),
    )
    assert (got["data"]["annotations"], got["data"]["videos"], got["data"]["dataset"]) == ("t.csv", "v", "charades")
    assert yaml.safe_load(ssdet("evaluate", "--print-config").out)["data"] is None


def test_pretrain_without_data_uses_the_generated_configuration(ssdet):
    outcome = ssdet("pretrain", "--backbone", "x3d_s", "--print-config")
    got = yaml.safe_load(outcome.out)
    assert (got["data"]["dataset"], got["model"]["backbone"]) == ("generated", "x3d_s")
    given = yaml.safe_load(ssdet("pretrain", "data.videos=clips", "--print-config").out)
    assert given["data"]["dataset"] == "folder"


def test_every_shipped_configuration_is_listed_shown_and_loads(ssdet):
    listed = ssdet("configs", "list").out
    assert shipped()
    for name, path in shipped().items():
        assert name in listed
        said = next(line for line in listed.splitlines() if line.split()[0] == name).removeprefix(name).strip()
        assert said[0].isupper() and said.endswith("."), said  # a whole sentence
        assert ssdet("configs", "show", name).out == path.read_text()
        load_config(COMMANDS[name.split("/")[0]], name)


def test_copy_writes_a_file_that_loads_and_overwrites_nothing(ssdet, tmp_path):
    assert ssdet("configs", "copy", "pretrain/generated", "mine.yaml").code == 0
    load_config(PretrainConfig, str(tmp_path / "mine.yaml"))
    assert (
        "ssdet pretrain --config 'of mine.yaml'\n" in ssdet("configs", "copy", "pretrain/generated", "of mine.yaml").err
    )
    (tmp_path / "mine.yaml").write_text("kept: true\n")
    outcome = ssdet("configs", "copy", "pretrain/generated", "mine.yaml")
    assert (outcome.code, "mine.yaml exists already" in outcome.err) == (2, True)
    assert (tmp_path / "mine.yaml").read_text() == "kept: true\n"


def test_a_bare_name_that_two_commands_have_must_be_given_whole(ssdet):
    both = [name for name in shipped() if name.endswith("/generated")]
    outcome = ssdet("configs", "show", "generated")
    assert len(both) > 1
    assert (outcome.code, all(name in outcome.err for name in both)) == (2, True)


def test_backbones_lists_every_name(ssdet):
    outcome = ssdet("backbones")
    assert outcome.code == 0
    listed = [line.split()[0] for line in outcome.out.splitlines()[1:]]
    assert listed == BACKBONES.names()


def test_data_list_says_in_a_sentence_what_each_dataset_is_and_what_it_reads(ssdet):
    out = ssdet("data", "list").out
    assert "[[class, start, end], ...]" in " ".join(out.split())
    heads = {line.split()[0]: line for line in out.splitlines() if not line.startswith(" ")}
    assert list(heads) == sorted(DATASETS.entries)
    assert all(re.search(r"\(.*labels.*|\(one class for each clip", line) for line in heads.values())
    assert "Kinetics" in heads["kinetics"] and "official CSV or the authors' JSON" in out


def test_data_convert_writes_annotations_and_classes_and_says_what_comes_next(ssdet, tmp_path):
    (tmp_path / "own.csv").write_text("clip;action;begin;stop\na.mp4;run;0;1,5\nb.mp4;;;\n")
    outcome = ssdet("data", "convert", "own.csv", "--output", "out/own.json", "--subset", "val")
    assert outcome.code == 0
    assert "out/own.json: 2 videos, 1 actions of 1 classes." in outcome.out and "out/classes.txt" in outcome.out
    assert "own.csv is read as a table: video is 'clip', label is 'action'" in " ".join(outcome.err.split())
    assert "--dataset json --annotations out/own.json" in " ".join(outcome.err.split())
    written = json.loads((tmp_path / "out" / "own.json").read_text())
    assert written["a"] == {"subset": "validation", "actions": [[0, 0, 1.5]]} and written["b"]["actions"] == []
    for words, told in (
        ((), "out/own.json exists already"),
        (("--force", "--subset", "half"), "--subset half is unknown; use train, val or test."),
        (("--force", "--fps", "0"), "--fps must be above 0, got 0."),
    ):
        again = ssdet("data", "convert", "own.csv", "--output", "out/own.json", *words)
        assert (again.code, told in again.err) == (2, True)


def test_pretraining_takes_lists_apart_from_clips(ssdet):
    words = ("pretrain", "--dataset", "ucf101", "--data", "UCF-101", "--annotations", "lists", "--print-config")
    got = yaml.safe_load(ssdet(*words).out)["data"]
    assert (got["dataset"], got["videos"], got["annotations"]) == ("ucf101", "UCF-101", "lists")


def complete(line: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    answer = subprocess.run(
        [sys.executable, "-m", "ssdet_cli"],
        env={"_SSDET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ssdet fine", "finetune"),
        ("ssdet data ge", "generate"),
        ("ssdet pretrain --back", "--backbone"),
        ("ssdet pretrain --backbone x3d_", "x3d_tiny"),
        ("ssdet pretrain --config gen", "generated"),
        ("ssdet pretrain --debug --augment fr", "freeze"),
        ("ssdet pretrain optim.l", "optim.lr="),
        ("ssdet finetune --dataset char", "charades"),
        ("ssdet evaluate --protocol fra", "frame-map"),
        ("ssdet configs show pretrain/gen", "pretrain/generated"),
    ],
)
def test_the_shell_completes_commands_options_and_names(line, offered):
    assert offered in complete(line)


def test_data_generate_makes_a_set_and_says_where_it_is(ssdet, tmp_path):
    words = (
        "data",
        "generate",
        "made of it",
        "--size",
        32,
        "--classes",
        2,
        "--videos",
        4,
        "--seconds",
        0.5,
        "--fps",
        6,
    )
    outcome = ssdet(*words, "--workers", 1)
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "made of it/weak").rglob("*.mp4"))) == 6
    assert (tmp_path / "made of it/dense/charades.json").is_file()
    assert "made of it/weak: 4 training and 2 validation clips of 2 actions" in outcome.out
    assert "Next: ssdet pretrain --config generated --data 'made of it/weak'\n" in outcome.err
    assert "ssdet finetune --config generated --videos 'made of it/dense' --init RUN" in outcome.err
    assert "is complete already" in ssdet(*words, "--workers", 1).err
    other = ssdet(*words, "--seed", 1)
    assert (other.code, "seed 0 instead of 1" in other.err) == (2, True)


def test_an_empty_configuration_is_taken_and_said(ssdet, tmp_path):
    (tmp_path / "mine.yaml").write_text("# nothing yet\n")
    told = "mine.yaml is empty: everything else is at its default."
    assert told in ssdet("pretrain", "--config", "mine.yaml", "--data", ".", "--device", "cpu").err.splitlines()
    (tmp_path / "mine.yaml").write_text("loop:\n  steps: 5\n")
    assert told not in ssdet("pretrain", "--config", "mine.yaml", "--data", ".", "--device", "cpu").err


def test_doctor_finds_this_machine_usable(ssdet):
    outcome = ssdet("doctor")
    assert outcome.code == 0, outcome.out
    assert "H.264 written and read again" in outcome.out
    assert "ssdet can be used on this machine." in outcome.out
    assert "several processes gloo starts" in outcome.out


def test_pretrain_without_data_says_that_it_uses_the_generated_set(ssdet):
    told = "No dataset is configured: using the generated one"
    odd = "model.options.dropout=0.1"  # refused right after, before anything is generated
    assert told in ssdet("pretrain", odd).err
    assert told not in ssdet("pretrain", "--data", ".", odd).err


def unfinished_run(folder, command: str, checkpoint: str):
    """A run folder of `command` that stopped with a checkpoint that cannot be read."""
    cfg = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}[command]
    rundir.prepare(load_config(cfg, None, ["loop.steps=77"]), folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / checkpoint).touch()


def test_resume_takes_the_configuration_of_the_run_and_its_folder(ssdet, tmp_path):
    unfinished_run(tmp_path / "mine", "pretrain", "last.pt")
    got = yaml.safe_load(ssdet("pretrain", "--resume", "--output", "mine", "--print-config").out)
    assert (got["loop"]["steps"], got["run"]["output"]) == (77, "mine")


def test_resume_alone_takes_the_newest_unfinished_run_and_says_which(ssdet, tmp_path):
    unfinished_run(tmp_path / "runs/a", "pretrain", "last.pt")
    outcome = ssdet("pretrain", "--resume", "--print-config")
    assert outcome.err == "Continuing runs/a.\n"
    assert yaml.safe_load(outcome.out)["run"]["output"] == "runs/a"
    assert ssdet("finetune", "--resume", "--print-config").code == 2


def test_evaluate_alone_takes_the_newest_finetuned_run_and_says_which(ssdet, tmp_path):
    unfinished_run(tmp_path / "runs/tuned", "finetune", "best.pt")
    outcome = ssdet("evaluate")
    assert "evaluating the newest run, runs/tuned." in outcome.err
    assert (outcome.code, "best.pt cannot be read as a checkpoint" in outcome.err) == (2, True)
