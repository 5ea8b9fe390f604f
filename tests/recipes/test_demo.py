"""`ssdet demo --tiny`: interrupted, continued, and refused before anything is made."""

import json
import os
import re
import shlex
import signal
import subprocess
import time

import pytest
from tiny_runs import ssdet

from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes import demo


def test_an_interrupted_demo_goes_on_where_it_was_and_ends_with_commands_that_can_be_pasted(tmp_path):
    output = tmp_path / "my demo"
    environment = {**os.environ, "COLUMNS": "40"}
    command = ssdet("demo", "--tiny", "--device", "cpu", "--seed", 3, "--output", output, "--coarse-fine")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as run:
        while not (output / "seed3" / "start" / "summary.json").exists():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=120)
    assert run.returncode == 130, said
    assert "Traceback" not in said
    hint = re.search(r"^ssdet: Interrupted; what is done is kept. Go on with: (.*)$", said, re.MULTILINE)
    assert shlex.split(hint[1])[1:] == [
        *("demo", "--output", str(output), "--tiny", "--coarse-fine", "--seed", "3", "--device", "cpu"),
    ]
    assert not (output / "demo.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (*output.rglob("*.mp4"), output / "seed3/start/summary.json")}
    assert len(kept) == 31

    words = ssdet(*shlex.split(hint[1])[1:])
    again = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    assert f"Going on with the demo in {output}." in again.stderr
    assert f"{output / 'seed3' / 'start'} is finished already." in again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    results = json.loads((output / "demo.json").read_text())["results"]
    assert [(result["arm"], result["seed"]) for result in results] == [
        *(("detection", 3), ("classification", 3), ("coarse-fine", 3)),
    ]
    assert "Coarse" in again.stdout and (output / "seed3" / "coarse-fine" / "features" / "index.json").is_file()
    for arm in ("detection", "classification", "coarse-fine"):
        for protocol in ("frame-map", "charades-localize"):
            folder = output / "seed3" / arm / f"evaluate-{protocol}"
            assert json.loads((folder / "metrics.json").read_text())["protocol"] == protocol
            assert {"submission.txt", "report.html", "config.yaml"} <= {path.name for path in folder.iterdir()}
    tuned = output / "seed3" / "detection" / "finetune"
    pasted = f"  ssdet evaluate --protocol frame-map --checkpoint {shlex.quote(str(tuned))}"
    assert pasted in again.stdout.splitlines()
    assert "since it was continued" in again.stdout

    with pytest.raises(ConfigError, match="holds a finished demo; give another --output"):
        demo.run(output, tiny=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "foo"], "run.device=foo is not a device; choose auto, cpu, cuda or cuda:N."),
        (["--device", "cuda:77"], "run.device=cuda:77: GPU 77 is asked for"),
        (["--seed", "-1"], "--seed"),
        (["--seeds", "0"], "--seeds"),
        (["--output", "taken"], "--output: taken is a file; give a folder."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path, monkeypatch, capfd, words, message):
    from ssdet_cli.__main__ import carry_out

    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    assert carry_out(["demo", "--tiny", *words]) == 2
    said = capfd.readouterr().err
    assert message in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "mine"


def test_the_command_that_continues_has_every_option_that_differs():
    assert demo.Demo(demo.Path("a b"), 0, 3, "auto", False).command() == "ssdet demo --output 'a b' --seeds 3"
