import os
import re
import subprocess
from pathlib import Path

import pytest

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_without_output_gets_a_folder_that_tells_command_model_and_time():
    folder = rundir.run_folder(load_config(PretrainConfig, None, ["model.backbone=my.lab:net"]))
    assert folder.parent == rundir.ROOT
    assert folder.name.startswith("pretrain-my.lab-net-20")
    assert rundir.run_folder(EvaluateConfig()).name.startswith("evaluate-charades-localize-20")


def test_two_runs_in_one_second_get_two_folders():
    folders = set()
    for _ in range(3):
        folders.add(rundir.prepare(PretrainConfig(), rundir.run_folder(PretrainConfig())))
    assert len(folders) == 3


def test_output_is_taken_as_given(tmp_path):
    assert rundir.run_folder(load_config(PretrainConfig, flags={"run.output": tmp_path})) == tmp_path


def test_the_written_configuration_is_complete_and_names_its_folder(tmp_path):
    cfg = load_config(FinetuneConfig, None, ["optim.lr=1e-4"])
    folder = rundir.prepare(cfg, tmp_path / "deep/run")
    again = load_config(FinetuneConfig, str(folder / "config.yaml"))
    assert again == rundir.with_output(cfg, folder)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("trace", ["metrics.jsonl", "checkpoints/last.pt"])
def test_a_folder_that_holds_a_run_is_refused_unless_it_is_resumed(tmp_path, trace):
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).touch()
    with pytest.raises(ConfigError, match="already holds a run"):
        rundir.prepare(PretrainConfig(), tmp_path)
    assert not (tmp_path / "config.yaml").exists()
    rundir.prepare(PretrainConfig(), tmp_path, resume=True)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(ConfigError, match="holds no run to continue"):
        rundir.prepare(PretrainConfig(), tmp_path, resume=True)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        rundir.prepare(PretrainConfig(), tmp_path / "file")


def finished(root, name, cfg, files, age):
    """A run folder whose files are `age` seconds old."""
    folder = rundir.prepare(cfg, root / name)
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
        os.utime(folder / file, (1e9 - age, 1e9 - age))
    return folder


def test_the_newest_run_of_a_command_is_found_by_its_checkpoint(tmp_path):
    best = "checkpoints/best.pt"
    finished(tmp_path, "old", FinetuneConfig(), [best], age=20)
    newer = finished(tmp_path, "any-name", FinetuneConfig(), [best], age=10)
    finished(tmp_path, "other", PretrainConfig(), [best], age=5)
    finished(tmp_path, "empty", FinetuneConfig(), [], age=1)
    assert rundir.newest(tmp_path, "finetune", need=best) == newer
    assert rundir.newest(tmp_path, "evaluate", need=best) is None
    assert rundir.newest(tmp_path / "nowhere", "finetune", need=best) is None


def test_an_evaluation_is_never_taken_for_the_run_that_it_scored(tmp_path):
    best = "checkpoints/best.pt"
    tuned = finished(tmp_path, "tuned", FinetuneConfig(), [best], age=20)
    finished(tmp_path, "evaluate-frame-map-20990101-000000", EvaluateConfig(), ["metrics.json"], age=1)
    finished(tmp_path, "tuned/evaluate", EvaluateConfig(), ["metrics.json"], age=1)
    assert rundir.newest(tmp_path, "finetune", need=best) == tuned


def test_an_unfinished_run_is_found_by_any_of_its_checkpoints(tmp_path):
    only_best = finished(tmp_path, "a", PretrainConfig(), ["checkpoints/best.pt"], age=1)
    assert rundir.newest(tmp_path, "pretrain", need="checkpoints/*.pt") == only_best


def test_a_run_that_is_done_is_not_the_newest_unfinished_one(tmp_path):
    last, done = "checkpoints/last.pt", "summary.json"
    finished(tmp_path, "done", PretrainConfig(), [last, done], age=1)
    stopped = finished(tmp_path, "stopped", PretrainConfig(), [last], age=9)
    assert rundir.newest(tmp_path, "pretrain", need=last, without=done) == stopped


def test_the_command_of_a_folder_is_known_from_its_configuration(tmp_path):
    for name, cfg in {"p": PretrainConfig(), "f": FinetuneConfig(), "e": EvaluateConfig()}.items():
        assert rundir.command_of(rundir.prepare(cfg, tmp_path / name)) == cfg.command
    assert rundir.command_of(tmp_path) is None


@pytest.mark.parametrize(
    "word",
    ["loop.save_every=7", "loop.keep_every=7", "loop.log_every=7", "data.file_timeout=7", "data.workers=7"],
)
def test_what_computes_nothing_else_may_change_on_resume(tmp_path, word):
    rundir.prepare(PretrainConfig(), tmp_path)
    rundir.refuse_other_config(load_config(PretrainConfig, None, [word]), tmp_path)


@pytest.mark.parametrize("word", ["loop.validate_every=7", "data.cache=copies", "data.backend=decord", "run.seed=7"])
def test_what_changes_a_number_may_not_change_on_resume(tmp_path, word):
    rundir.prepare(PretrainConfig(), tmp_path)
    with pytest.raises(ConfigError, match=f"differs in {word.partition('=')[0]}: "):
        rundir.refuse_other_config(load_config(PretrainConfig, None, [word]), tmp_path)


@pytest.mark.parametrize("guide", ["training.md", "distributed.md"])
@pytest.mark.parametrize(
    ("left", "goes_on"),
    [([], False), (["config.yaml"], False), (["metrics.jsonl"], True), (["checkpoints"], True)],
    ids=["nothing", "no line yet", "no checkpoint yet", "stopped before the first line"],
)
def test_the_script_for_a_queue_goes_on_from_whatever_a_killed_job_leaves(tmp_path, guide, left, goes_on):
    text = (Path(__file__).parents[2] / "docs" / guide).read_text(encoding="utf-8")
    choice = re.search(r"^if \[.*?; fi$", text, re.MULTILINE | re.DOTALL)[0]
    folder = rundir.prepare(PretrainConfig(), tmp_path / "run")
    for name in left:
        (folder / name).mkdir() if name == "checkpoints" else (folder / name).touch()
    said = subprocess.run(["bash", "-c", f"run={folder}\n{choice}\necho $words"], capture_output=True, text=True)
    assert said.stdout == ("--resume" if goes_on else "--config my.yaml") + f" --output {folder}\n"
    rundir.check_folder(PretrainConfig(), folder, resume=goes_on)  # and that is no error


def test_the_guide_names_every_key_that_may_change_on_resume():
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    table = guide.partition("These may change:")[2].partition("`loop.validate_every` stays")[0]
    assert sorted(re.findall(r"`(\w+\.\w+)`", table)) == sorted(rundir._FREE_ON_RESUME)
