"""The whole path through the recipes on tiny generated video: real files, real decoding, a real X3D."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from tiny_runs import SMALL, configured, ssdet

from ssdet_cli.config.commands import EvaluateConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.recipes import evaluate, evaluate_checkpoints, finetune, pretrain
from ssdet_cli.recipes.scoring import whole_video_scores


def test_a_run_folder_holds_what_design_promises(pretrained):
    names = {path.name for path in pretrained.iterdir()}
    assert {"config.yaml", "env.json", "metrics.jsonl", "curves.png", "report.html", "checkpoints"} <= names
    assert {path.name for path in (pretrained / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    again = load_config(PretrainConfig, str(pretrained / "config.yaml"))
    assert again.run.output == pretrained
    summary = json.loads((pretrained / "summary.json").read_text())
    assert sum(summary["clips_read_by"].values()) == 16
    state = load_checkpoint(pretrained)
    assert state["meta"]["background"] is True
    assert state["meta"]["num_classes"] == 5
    assert torch.load(pretrained / "checkpoints" / "best.pt", weights_only=True)["meta"]["classes"][0] == "move-down"


def test_finetuning_takes_the_backbone_and_replaces_the_head(pretrained, tuned, capfd):
    source, state = load_checkpoint(pretrained), load_checkpoint(tuned)
    assert state["meta"]["num_classes"] == 5
    assert state["meta"]["background"] is False
    head = [name for name in state["model"] if name.startswith("head.") and "weight" in name][-1]
    assert state["model"][head].shape != source["model"][head].shape or not torch.equal(
        state["model"][head], source["model"][head]
    )
    lines = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    assert any("mAP" in line for line in lines if line["split"] == "val")
    assert all({"step", "epoch", "split", "loss", "lr"} <= line.keys() for line in lines)


def test_finetuning_says_in_one_line_what_became_of_the_head(data, pretrained, tmp_path, capfd):
    finetune.run(configured(FinetuneConfig, data.dense, tmp_path / "run", f"model.init={pretrained}", "loop.steps=2"))
    said = [line for line in capfd.readouterr().err.splitlines() if "newly initialised" in line]
    assert len(said) == 1
    assert "4 classes and background in the file, 5 others here" in said[0]


@pytest.mark.parametrize("protocol", ["charades-localize", "frame-map"])
def test_a_score_from_a_checkpoint_equals_the_score_of_the_file_it_wrote(data, tuned, tmp_path, protocol):
    first = evaluate.run(
        load_config(EvaluateConfig, flags={"protocol": protocol, "checkpoints": (tuned,), "run.output": tmp_path / "a"})
    )
    again = evaluate.run(
        load_config(
            EvaluateConfig,
            flags={
                "protocol": protocol,
                "predictions": (tmp_path / "a" / "submission.txt",),
                "data.annotations": data.annotations,
                "data.dataset": "json",
            },
        )
    )
    assert first.videos == 4
    np.testing.assert_allclose(
        np.array(first.per_class_AP, dtype=float), np.array(again.per_class_AP, dtype=float), atol=1e-6
    )
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert {"protocol", "mAP", "wAP", "per_class_AP", "classes", "videos", "frames", "missing"} <= metrics.keys()
    assert (tmp_path / "a" / "report.html").is_file()


def test_two_protocols_share_one_pass_over_the_videos_and_leave_the_files_of_two_evaluations(
    tuned, tmp_path, monkeypatch
):
    def configs(place):
        for protocol in ("frame-map", "charades-localize"):
            flags = {"protocol": protocol, "checkpoints": (tuned,), "run.output": tmp_path / place / protocol}
            yield load_config(EvaluateConfig, flags=flags)

    alone = [evaluate.run(cfg) for cfg in configs("alone")]
    passes = []

    def counted(*arguments, **options):
        passes.append(arguments)
        return whole_video_scores(*arguments, **options)

    monkeypatch.setattr(evaluate_checkpoints, "whole_video_scores", counted)
    together = evaluate_checkpoints.run_protocols(list(configs("together")))
    assert len(passes) == 1
    assert [result.mAP for result in together] == [result.mAP for result in alone]
    for protocol in ("frame-map", "charades-localize"):
        for name in ("metrics.json", "submission.txt"):
            files = [tmp_path / place / protocol / name for place in ("alone", "together")]
            assert files[0].read_bytes() == files[1].read_bytes(), (protocol, name)
        assert (tmp_path / "together" / protocol / "report.html").is_file()


def test_every_protocol_scores_its_own_file_as_it_scored_the_network(tuned, data, tmp_path):
    names = sorted(PROTOCOLS.entries)
    flags = {"checkpoints": (tuned,)}
    cfgs = [load_config(EvaluateConfig, flags={**flags, "protocol": n, "run.output": tmp_path / n}) for n in names]
    results = dict(zip(names, evaluate_checkpoints.run_protocols(cfgs), strict=True))
    assert len({result.mAP for result in results.values()}) == len(names) == 7
    for name, result in results.items():
        assert 0 < result.mAP <= 1 and not result.missing and result.videos == 4, name
        given = {"predictions": (tmp_path / name / "submission.txt",), "protocol": name}
        given |= {"data.dataset": "json", "data.annotations": data.dense / "charades.json"}
        again = evaluate.run(load_config(EvaluateConfig, flags=given))
        assert again.mAP == pytest.approx(result.mAP, abs=1e-12), name
        assert again.missing_frames == again.absent_frames == result.missing_frames == 0, name
        assert dict(again.measures) == pytest.approx(dict(result.measures), nan_ok=True), name


def test_evaluations_that_differ_in_more_than_the_protocol_share_no_pass(tuned):
    both = [load_config(EvaluateConfig, flags={"checkpoints": (tuned,), "split": split}) for split in ("val", "test")]
    with pytest.raises(ValueError, match="differ in their protocol and output only"):
        evaluate_checkpoints.run_protocols(both)


def test_scores_do_not_depend_on_which_videos_share_a_batch(tuned, tmp_path):
    def scores(batch_size):
        flags = {"protocol": "frame-map", "checkpoints": (tuned,), "inference.batch_size": batch_size}
        evaluate.run(load_config(EvaluateConfig, flags={**flags, "run.output": tmp_path / str(batch_size)}))
        lines = (tmp_path / str(batch_size) / "submission.txt").read_text().splitlines()
        return np.array([line.split()[1:] for line in lines], dtype=float)

    np.testing.assert_allclose(scores(1), scores(3), atol=1e-5)


def test_ctrl_c_saves_and_resuming_ends_with_the_weights_of_a_run_never_interrupted(data, tmp_path):
    words = [word for word in SMALL if not word.startswith(("loop.steps", "loop.validate"))]
    words += ["loop.steps=25", "loop.save_every=1", "loop.validate_every=25", "loop.ema=0.9"]
    command = ["pretrain", "--config", "generated", "--data", data.weak, *words]
    last = tmp_path / "a half" / "checkpoints" / "last.pt"
    with subprocess.Popen(ssdet(*command, "--output", tmp_path / "a half"), stderr=subprocess.PIPE, text=True) as run:
        while not last.exists():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
        assert run.wait(60) == 130, said
    hint = re.search(r"Interrupted at step (\d+) of 25; the state is saved. Resume with: ssdet (.*)", said)
    assert hint and "Traceback" not in said
    assert int(hint[1]) < 25
    subprocess.run(ssdet(*shlex.split(hint[2])), check=True, timeout=120)
    pretrain.run(
        load_config(PretrainConfig, "generated", words, {"data.videos": data.weak, "run.output": tmp_path / "whole"})
    )
    whole, resumed = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "a half"))
    for kind in ("model", "trained"):
        for name, value in whole[kind].items():
            assert torch.equal(value, resumed[kind][name]), name


def test_resuming_with_another_configuration_is_refused_with_the_difference(data, pretrained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(pretrained, folder)
    (folder / "summary.json").unlink()
    before = (folder / "config.yaml").read_text()
    cfg = configured(PretrainConfig, data.weak, folder, "optim.lr=0.5")
    with pytest.raises(ConfigError, match=r"differs in optim.lr: 0.004 -> 0.5"):
        pretrain.run(cfg, resume=True)
    assert (folder / "config.yaml").read_text() == before


def test_a_folder_that_holds_a_run_is_not_written_over(data, pretrained):
    with pytest.raises(ConfigError, match="already holds a run"):
        pretrain.run(configured(PretrainConfig, data.weak, pretrained))


def test_a_dry_run_leaves_nothing_behind(data, tmp_path, capfd):
    assert pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "no"), dry_run=True) is None
    assert not (tmp_path / "no").exists()
    said = capfd.readouterr().err
    assert "Estimate from these steps" in said and said.rstrip().endswith("No run was written.")


def corrupt(data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data.folder, copy)
    return copy


def test_training_survives_a_corrupt_video_and_names_it_once(data, tmp_path, capfd):
    copy = corrupt(data, tmp_path)
    broken = sorted((copy / "weak" / "train").rglob("*.mp4"))[:3]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    pretrain.run(configured(PretrainConfig, copy / "weak", tmp_path / "run", "loop.steps=6"))
    said = capfd.readouterr().err
    skipped = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert set(skipped) == {str(path) for path in broken}
    assert not [reason for path, reason in skipped.items() if path in reason]
    for path in broken:
        assert said.count(f"Skipped, another clip is drawn: {path}") == 1


def test_validation_survives_a_corrupt_video_and_names_it_once(data, tmp_path, capfd):
    copy = corrupt(data, tmp_path)
    broken = sorted((copy / "weak" / "val").rglob("*.mp4"))[0]
    broken.write_bytes(b"no video")
    pretrain.run(configured(PretrainConfig, copy / "weak", tmp_path / "run"))
    assert capfd.readouterr().err.count(f"the next clip stands in: {broken}") == 1
    assert (tmp_path / "run" / "checkpoints" / "best.pt").is_file()


def test_a_run_of_another_backbone_names_the_one_to_give(data, pretrained, tmp_path):
    words = [f"model.init={pretrained}", "model.backbone=x3d_s"]
    with pytest.raises(ConfigError, match="holds x3d_tiny and model.backbone is x3d_s; give --backbone x3d_tiny"):
        finetune.run(configured(FinetuneConfig, data.dense, tmp_path / "run", *words))


def test_ctrl_c_to_the_whole_process_group_saves_although_workers_hear_it_too(data, tmp_path):
    words = [word for word in SMALL if not word.startswith(("loop.steps", "loop.validate", "data.workers"))]
    words += ["loop.steps=5000", "loop.save_every=1", "data.workers=1"]
    command = ssdet("pretrain", "--config", "generated", "--data", data.weak, *words, "--output", tmp_path / "run")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        said = run.stderr.read()
        assert run.wait(60) == 130, said
    assert "the state is saved" in said


def test_evaluation_refuses_a_corrupt_video_unless_told_otherwise(data, tuned, tmp_path):
    copy = corrupt(data, tmp_path)
    broken = sorted((copy / "dense" / "videos").glob("T*.mp4"))[-1]
    broken.write_bytes(b"no video")
    flags = {"protocol": "charades-localize", "checkpoints": (tuned,), "data.videos": copy / "dense"}
    with pytest.raises(DataError, match=f"1 video.* cannot be scored, the first: .*{broken.name}.*--allow-missing"):
        evaluate.run(load_config(EvaluateConfig, flags=flags))
    result = evaluate.run(load_config(EvaluateConfig, flags={**flags, "allow_missing": True}))
    assert result.missing_videos == (broken.stem,)


def test_a_pretraining_checkpoint_is_no_detector_yet(pretrained):
    with pytest.raises(CheckpointError, match="pretrained is a checkpoint of `pretrain` .* `ssdet finetune --init"):
        evaluate.run(load_config(EvaluateConfig, flags={"checkpoints": (pretrained,)}))


def test_two_checkpoints_are_an_ensemble(data, tuned):
    one = evaluate.run(load_config(EvaluateConfig, flags={"protocol": "frame-map", "checkpoints": (tuned,)}))
    two = evaluate.run(load_config(EvaluateConfig, flags={"protocol": "frame-map", "checkpoints": (tuned, tuned)}))
    assert two.per_class_AP == pytest.approx(one.per_class_AP)


def test_predictions_without_annotations_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--predictions needs --annotations"):
        evaluate.run(load_config(EvaluateConfig, flags={"predictions": (tmp_path / "p.txt",)}))


@pytest.mark.needs_shared_data
def test_real_clips_train_and_the_corrupt_one_is_named(shared_data, tmp_path, capfd):
    for split in ("train", "val"):
        for name in ("arm_wrestling.mp4", "flipping_a_pancake.mkv", "test.avi", "fullhd_72frames.mp4"):
            folder = tmp_path / "clips" / split / name.split(".")[0]
            folder.mkdir(parents=True)
            (folder / name).symlink_to(shared_data / "clips" / name)
    broken = tmp_path / "clips" / "train" / "test" / "corrupted.mp4"
    broken.symlink_to(shared_data / "clips" / "corrupted.mp4")
    cfg = configured(
        PretrainConfig, tmp_path / "clips", tmp_path / "run", "data.dataset=folder", "clip.stride=3", "loop.steps=5"
    )
    pretrain.run(cfg)
    assert list(json.loads((tmp_path / "run" / "skipped.json").read_text())) == [str(broken)]
    assert load_checkpoint(tmp_path / "run")["meta"]["classes"] == [
        "arm_wrestling",
        "flipping_a_pancake",
        "fullhd_72frames",
        "test",
    ]
