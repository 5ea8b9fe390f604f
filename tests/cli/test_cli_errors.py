"""Wrong input: exit code 2, one line, the nearest right word."""

import errno
import os
import subprocess
import sys

import pytest

from ssdet_cli import telling
from ssdet_cli.cli.launch import gpu_numbers
from ssdet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrian"], "Did you mean 'pretrain'?"),
        (["data", "genrate"], "Did you mean 'generate'?"),
        (["pretrain", "--bakbone", "x3d"], "Unknown option --bakbone. Did you mean '--backbone'?"),
        (["--verison"], "Did you mean '--version'?"),
        (["pretrain", "--backbone", "x3d_n", "--data", "."], "Unknown backbone 'x3d_n'. Did you mean 'x3d_"),
        (["pretrain", "--augment", "", "--data", "."], "augment.methods='': it is empty; write none"),
        (
            ["pretrain", "--dataset", "hmdb51", "--data", "."],
            "'hmdb51' needs --annotations FILE (data.annotations): folder of",
        ),
        (["pretrain", "--dataset", "tsu"], "The dataset 'tsu' has labels in seconds"),
        (["finetune", "--dataset", "kinetics400", "--videos", "."], "'kinetics400' has one class for each clip"),
        (["pretrain", "--dataset", "charades"], "has labels in seconds, and `ssdet pretrain` needs one class for each"),
        (
            ["finetune", "--dataset", "folder", "--videos", "."],
            "and `ssdet finetune` needs labels in seconds: --dataset",
        ),
        (["data", "generate", "made", "--videos", "-1"], "videos (-1) must be between 12, one of each class, and"),
        (["data", "generate", "made", "--seconds", "0"], "seconds (0.0) must be between 0.5 and 60"),
        (["pretrain", "--augment", "freeze,cutmx", "--data", "."], "Did you mean 'cutmix'?"),
        (
            ["pretrain", "modl.backbone=x3d", "--data", "."],
            "unknown key 'modl'. Did you mean 'model.",
        ),
        (["pretrain", "--data", ".", "--lr", "fast"], "'--lr'"),
        (["pretrain", "--data", ".", "--lr", "0.1", "optim.lr=0.2"], "optim.lr is given as a flag and as optim.lr=..."),
        (["pretrain", "--data", ".", "loop.steps=few"], "loop.steps"),
        (["pretrain", "--data", "nowhere"], "data.videos: there is no nowhere."),
        (["pretrain", "--data", ".", "--init", "nowhere"], "--init (model.init): there is no nowhere."),
        (["pretrain", "--init", "."], ". holds no checkpoints/best.pt or checkpoints/last.pt; is it a run folder?"),
        (["evaluate", "--checkpoint", "."], ". holds no checkpoints/best.pt or checkpoints/last.pt; is it a run"),
        (["pretrain", "--device", "foo"], "command line: run.device=foo is not a device; choose auto, cpu, cuda"),
        (["pretrain", "--device", "cuda"], "run.device=cuda: GPU 0 is asked for and 0 can be used"),
        (["pretrain", "--gpus", "0"], "--gpus 0: there is no GPU here; use --device cpu"),
        (["pretrain", "--output", "/proc/no/run"], "run.output=/proc/no/run cannot be written ("),
        (["pretrain", "--steps", "-1"], "error: command line: loop.steps=-1: input should be greater"),
        (["pretrain", "--seed", "-4"], "error: command line: run.seed=-4: input should be greater"),
        (["pretrain", "optm.lr=3"], "error: command line: unknown key 'optm'. Did you mean 'optim."),
        (["evaluate", "--protocol", "fram-map"], "Unknown protocol 'fram-map'. Did you mean 'frame-map'?"),
        (["augment-preview", "."], ". is a folder of frames; say how many there are per second with --frame-rate X."),
        (["pretrain", "--data", ".", "--config", "generatd"], "Did you mean 'generated'?"),
        (["pretrain", "--data", ".", "--gpus", "0,x"], "run.gpus=0,x must be different numbers"),
        (["pretrain", "--data", ".", "--gpus", "0,1"], "--gpus 0,1: there is no GPU here; use --device cpu"),
        (["pretrain", "--data", ".", "--gpus", "0", "--device", "cpu"], "contradict each other"),
        (["pretrain", "--data", ".", "--nproc", "2", "--device", "cuda:0"], "give --gpus instead"),
        (["pretrain", "--data", ".", "--nnodes", "2", "--rdzv-endpoint", "a:1"], "needs --output DIR"),
        (["pretrain", "--resume"], "no unfinished pretrain run under runs/"),
        (["finetune"], "needs --annotations FILE"),
        (["finetune", "--protocol", "fram-map"], "Did you mean 'frame-map'?"),
        (["finetune", "--dataset", "charade"], "Did you mean 'charades'?"),
        (["finetune", "--head", "linea"], "Did you mean 'linear'?"),
        (["evaluate"], "no finetune run with a checkpoint under runs/"),
        (["evaluate", "--checkpoint", "nowhere"], "--checkpoint (checkpoints): there is no nowhere."),
        (["evaluate", "--predictions", "nowhere"], "--predictions (predictions): there is no nowhere."),
        (["configs", "show", "pretrain/generatd"], "Did you mean 'pretrain/generated'?"),
        (["configs", "show"], "Missing argument"),
        (["augment-preview", "nowhere.mp4"], "clip: there is no nowhere.mp4."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_line_with_the_remedy_and_exit_code_2(ssdet, words, expected):
    outcome = ssdet(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("ssdet: error: ")
    assert expected in outcome.err


def test_wrong_input_leaves_nothing(ssdet, tmp_path):
    """What only torch knows to be wrong, and what the dataset says, come before the run folder."""
    for words in (["--data", "."], ["--data", ".", "model.options.odd=1"], ["--device", "cuda"]):
        assert ssdet("pretrain", "--backbone", "x3d_tiny", *words).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--predictions", "p.txt", "--annotations", "a.json"),
        ("augment-preview", "p.txt"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("p.txt", "=p.txt is a file; give a folder."),
        ("p.txt/in", "below the file"),
        ("/proc/no", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(ssdet, tmp_path, words, output, expected):
    for name in ("p.txt", "a.json"):
        (tmp_path / name).touch()
    outcome = ssdet(*words, "--output", output)
    assert (outcome.code, outcome.err.count("\n"), expected in outcome.err) == (2, 1, True), outcome.err


def test_every_mistake_is_told_with_its_own_source(ssdet, tmp_path):
    (tmp_path / "mine.yaml").write_text("optim: {lr: -1}\nloop: {steps: 5}\n")
    told = ssdet("pretrain", "--config", "mine.yaml", "--seed", -4).err
    assert "mine.yaml: optim.lr=-1: " in told
    assert "command line: run.seed=-4: " in told
    both = ssdet("pretrain", "--config", "mine.yaml", "optim.lr=1", "optim.warmup_steps=9").err
    assert both.startswith("ssdet: error: command line: optim.warmup_steps (9) must be smaller than loop.steps (5).")


def test_a_gpu_beyond_the_visible_ones_is_refused(ssdet, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    outcome = ssdet("pretrain", "--data", ".", "--gpus", "1")
    assert (outcome.code, "there are 1 here (0 to 0)" in outcome.err) == (2, True)


@pytest.mark.parametrize("text", ["", "0,", "a", "0,0", "-1"])
def test_a_list_of_gpus_is_different_numbers(text):
    with pytest.raises(ConfigError, match="different numbers"):
        gpu_numbers(text)


@pytest.mark.parametrize("words", [["--debug", "pretrian"], ["pretrain", "--data", "nowhere", "--debug"]])
def test_debug_anywhere_shows_the_traceback_and_keeps_the_exit_code(words, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "ssdet_cli", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert answer.returncode == 2
    assert "Traceback" in answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("ssdet: error: ")


def run_with_dataset(tmp_path, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Call a command in a process where `shipped` does something unforeseen."""
    code = (
        "import sys, errno\nimport ssdet_cli.config.locate as locate\n"
        f"def shipped():\n    {body}\n"
        "locate.shipped = shipped\n"
        "from ssdet_cli.__main__ import main\n"
        f"sys.argv = ['ssdet', 'configs', 'list', *{list(words)!r}]\nmain()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)


def test_a_mistake_of_ours_is_one_line_and_exit_code_1(tmp_path):
    answer = run_with_dataset(tmp_path, "raise LookupError('two\\nlines')")
    assert answer.returncode == 1
    assert answer.stderr.startswith("ssdet: error: unexpected LookupError: two lines (")
    assert answer.stderr.endswith("run again with --debug for the traceback.\n")
    assert answer.stderr.count("\n") == 1


def test_a_mistake_of_ours_shows_its_traceback_with_debug(tmp_path):
    answer = run_with_dataset(tmp_path, "raise LookupError('odd')", "--debug")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, os.strerror(errno.EDQUOT))]
)
def test_a_full_disk_or_quota_is_one_line_and_exit_code_1(tmp_path, number, told):
    answer = run_with_dataset(tmp_path, f"raise OSError({number}, 'No space left', 'best.pt')")
    assert (answer.returncode, answer.stderr) == (
        1,
        f"ssdet: error: {told} (best.pt); make room and run again.\n",
    )


def test_an_interruption_is_exit_code_130(tmp_path):
    answer = run_with_dataset(tmp_path, "raise KeyboardInterrupt")
    assert (answer.returncode, answer.stderr) == (130, "ssdet: interrupted.\n")


def test_a_rank_records_its_line_where_the_launcher_looks(tmp_path, monkeypatch, capsys):
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.setenv("SSDET_LAUNCHED", "1")
    telling.tell("a clip\nis broken.", 2)
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(tmp_path / "error.json"))
    assert failure.message["message"] == "a clip is broken."
    assert capsys.readouterr().err == ""
