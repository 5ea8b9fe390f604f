"""Videos go through the networks once; what they said is scored again and again, alone and with others."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_runs import configured

from ssdet_cli.config.commands import EvaluateConfig, FinetuneConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.score_files import read_scores
from ssdet_cli.recipes import evaluate, evaluate_checkpoints, finetune

NAMES = sorted(PROTOCOLS.entries)


@pytest.fixture(scope="module")
def other(data, pretrained, tmp_path_factory):
    """A second detector, of another stride."""
    folder = tmp_path_factory.mktemp("other") / "run"
    words = (f"model.init={pretrained}", "run.seed=5", "clip.stride=2", "loop.steps=3")
    finetune.run(configured(FinetuneConfig, data.dense, folder, *words))
    return folder


@pytest.fixture(scope="module")
def saved(tuned, other, tmp_path_factory):
    """Scores of one network, of another, and of both, with what each protocol said of both."""
    folder = tmp_path_factory.mktemp("saved")

    def evaluated(name, *checkpoints, protocols=("frame-map",), **flags):
        given = {"checkpoints": checkpoints, "save_predictions": folder / f"{name}.npz", "run.device": "cpu", **flags}
        cfgs = [
            load_config(EvaluateConfig, flags={**given, "protocol": one, "run.output": folder / name / one})
            for one in protocols
        ]
        return dict(zip(protocols, evaluate_checkpoints.run_protocols(cfgs), strict=True))

    evaluated("one", tuned)
    evaluated("other", other)
    both = evaluated("both", tuned, other, protocols=NAMES, weights="2,1")
    return folder, both


def score(data, *files, **flags):
    given = {"predictions": files, "data.dataset": "json", "data.annotations": data.dense / "charades.json"}
    return evaluate.run(load_config(EvaluateConfig, flags={"protocol": "frame-map", **given, **flags}))


def alike(one, another):
    """Bit for bit, but for where the scores are from."""
    left, right = one.to_plain(), another.to_plain()
    for plain in (left, right):
        plain.pop("annotations"), plain.pop("members")
    assert left == right


@pytest.mark.parametrize("protocol", NAMES)
def test_saved_scores_give_the_same_result_under_every_protocol_to_the_bit(data, saved, tmp_path, protocol):
    folder, both = saved
    again = score(
        data, folder / "both.npz", **{"protocol": protocol, "weights": "2,1", "run.output": tmp_path / "again"}
    )
    alike(again, both[protocol])
    files = [place / "submission.txt" for place in (folder / "both" / protocol, tmp_path / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    # Two files are the ensemble that one file of both is.
    alike(score(data, folder / "one.npz", folder / "other.npz", protocol=protocol, weights="2,1"), again)


def test_the_metrics_say_what_they_are_a_score_of(data, saved, tuned, other, tmp_path):
    folder, _ = saved
    metrics = json.loads((folder / "both/frame-map/metrics.json").read_text())
    assert [member["file"] for member in metrics["members"]] == [
        str(run / "checkpoints" / "best.pt") for run in (tuned, other)
    ]
    assert [member["weight"] for member in metrics["members"]] == pytest.approx([2 / 3, 1 / 3])
    sampling = [member["sampling"] for member in metrics["members"]]
    assert [(one["stride"], one["size"], one["crops"], one["shifts"]) for one in sampling][1] == (2, 32, 1, 1)
    assert (metrics["average"], metrics["smooth"], metrics["videos_scored"]) == ("probabilities", 0.0, 4)
    assert metrics["classes_with_positives"] == sum(count > 0 for count in metrics["positives"]) > 0
    score(data, folder / "both.npz", **{"smooth": 0.5, "average": "logits", "run.output": tmp_path / "out"})
    again = json.loads((tmp_path / "out/metrics.json").read_text())
    for before, member in zip(metrics["members"], again["members"], strict=True):
        assert (member["kind"], member["file"]) == ("scores", str(folder / "both.npz"))
        assert (member["checkpoint"], member["checkpoint_sha256"]) == (before["file"], before["sha256"])
        assert member["sampling"] == before["sampling"] and len(member["sha256"]) == 64
    assert (again["average"], again["smooth"]) == ("logits", 0.5) and again["mAP"] != metrics["mAP"]
    page = (tmp_path / "out/report.html").read_text()
    assert "Scores: mean of the logits of 2 members; smoothed over 0.5 s." in page


def test_files_of_lines_saved_scores_and_checkpoints_make_one_ensemble(data, saved, tuned, other):
    folder, both = saved
    text = {}
    for name in ("one", "other"):
        score(data, folder / f"{name}.npz", **{"protocol": "charades-localize", "run.output": folder / f"{name}-text"})
        text[name] = folder / f"{name}-text" / "submission.txt"
    how = {"protocol": "charades-localize", "weights": "2,1"}
    whole = both["charades-localize"]
    for pair in (
        (text["one"], text["other"]),
        (folder / "one.npz", text["other"]),
        (text["one"], folder / "other.npz"),
    ):
        found = score(data, *pair, **how)
        assert found.per_class_AP == pytest.approx(whole.per_class_AP, abs=1e-12)
    flags = {"checkpoints": (tuned,), "predictions": (folder / "other.npz",), "run.device": "cpu", **how}
    found = evaluate.run(load_config(EvaluateConfig, flags=flags))
    alike(found, whole)
    assert [member.kind for member in found.scores_from.members] == ["checkpoint", "scores"]


def test_a_checkpoint_and_a_file_can_be_saved_together_and_files_of_lines_cannot(data, saved, tuned, tmp_path):
    folder, _ = saved
    flags = {"checkpoints": (tuned,), "predictions": (folder / "other.npz",), "run.device": "cpu"}
    flags |= {"protocol": "frame-map", "save_predictions": tmp_path / "new" / "both.npz"}
    evaluate.run(load_config(EvaluateConfig, flags=flags))
    merged, known = read_scores(tmp_path / "new" / "both.npz"), read_scores(folder / "both.npz")
    assert [one.sha256 for one in merged.networks] == [one.sha256 for one in known.networks]
    for one, before in zip(merged.networks, known.networks, strict=True):
        for a, b in zip(one.scores, before.scores, strict=True):
            np.testing.assert_array_equal(a.logits, b.logits)
    lines = folder / "both/frame-map/submission.txt"
    with pytest.raises(ConfigError, match=f"save_predictions keeps what networks said, and {lines} is a submission"):
        score(data, lines, save_predictions=tmp_path / "no.npz")
    assert not (tmp_path / "no.npz").exists()


def test_shifted_passes_are_recorded(other, saved, tmp_path):
    flags = {"checkpoints": (other,), "protocol": "frame-map", "run.device": "cpu", "inference.shifts": 2}
    result = evaluate.run(load_config(EvaluateConfig, flags={**flags, "save_predictions": tmp_path / "x.npz"}))
    (network,) = read_scores(tmp_path / "x.npz").networks
    assert network.sampling["shifts"] == 2 and result.scores_from.members[0].sampling["shifts"] == 2
    (before,) = read_scores(saved[0] / "other.npz").networks
    changed = [np.abs(a.logits - b.logits).max() for a, b in zip(network.scores, before.scores, strict=True)]
    assert 0 < min(changed) and max(changed) < 3


def test_what_was_computed_is_kept_though_a_video_cannot_be_read(data, tuned, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data.folder, copy)
    broken = sorted((copy / "dense" / "videos").glob("T*.mp4"))[1]
    broken.write_bytes(b"no video")
    flags = {"protocol": "frame-map", "checkpoints": (tuned,), "data.videos": copy / "dense", "run.device": "cpu"}
    flags |= {"save_predictions": tmp_path / "x.npz"}
    with pytest.raises(DataError, match=f"Use --allow-missing to score the rest. What could be is in {tmp_path}/x.npz"):
        evaluate.run(load_config(EvaluateConfig, flags=flags))
    result = score(data, tmp_path / "x.npz")
    assert result.missing_videos == (broken.stem,) and result.to_plain()["videos_scored"] == 3
    # What is there may be all of it, and stays.
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(DataError, match=f"What could be is in {tmp_path}/x.partial.npz"):
        evaluate.run(load_config(EvaluateConfig, flags=flags))
    assert (tmp_path / "x.npz").read_bytes() == before == (tmp_path / "x.partial.npz").read_bytes()


def test_a_member_without_a_video_is_refused_or_left_out_where_it_lacks(data, saved, tmp_path):
    folder, _ = saved
    lines = (folder / "other/frame-map/submission.txt").read_text().splitlines()
    gone = lines[0].split()[0]
    (tmp_path / "part.txt").write_text("\n".join(line for line in lines if line.split()[0] != gone))
    files = folder / "one.npz", tmp_path / "part.txt"
    with pytest.raises(ConfigError, match=f"hold different videos: 1 are in one of them only, such as {gone} in .*one"):
        score(data, *files)
    result = score(data, *files, allow_missing=True)
    assert result.missing == 0 and any("part.txt lacks 1 videos" in note for note in result.notes)


def test_a_second_checkpoint_is_looked_at_before_videos_go_through_the_first(tuned, other, pretrained, monkeypatch):
    monkeypatch.delattr(evaluate_checkpoints, "whole_video_scores")
    flags = {"protocol": "frame-map", "run.device": "cpu"}
    with pytest.raises(CheckpointError, match="pretrained is a checkpoint of `pretrain`"):
        evaluate.run(load_config(EvaluateConfig, flags={**flags, "checkpoints": (tuned, pretrained)}))
    assert [load_checkpoint(run)["meta"]["clip"]["stride"] for run in (other, tuned)] == [2, 1]
    with pytest.raises(
        ConfigError, match="inference.shifts=2: with one frame in 1 .* or give inference.stride=2 or more"
    ):
        evaluate.run(load_config(EvaluateConfig, flags={**flags, "checkpoints": (other, tuned), "inference.shifts": 2}))


def test_a_video_without_a_file_is_refused_before_the_others_are_read(data, tuned, other, tmp_path, monkeypatch):
    copy = tmp_path / "data"
    shutil.copytree(data.folder, copy)
    gone = sorted((copy / "dense" / "videos").glob("T*.mp4"))[-1]
    gone.unlink()
    flags = {"protocol": "frame-map", "data.videos": copy / "dense", "run.device": "cpu"}
    result = evaluate.run(load_config(EvaluateConfig, flags={**flags, "checkpoints": (tuned,), "allow_missing": True}))
    assert result.missing_videos == (gone.stem,)
    monkeypatch.delattr(evaluate_checkpoints, "whole_video_scores")
    wanted = rf"^1 video\(s\) of 4 cannot be scored, the first: {gone.stem}: no video file under .* Use --allow-missing"
    with pytest.raises(DataError, match=wanted):
        evaluate.run(load_config(EvaluateConfig, flags={**flags, "checkpoints": (tuned, other)}))


def test_a_generated_set_brings_its_truth(data, saved):
    folder, _ = saved
    flags = {"predictions": (folder / "one.npz",), "protocol": "frame-map", "data.dataset": "generated"}
    wanted = score(data, folder / "one.npz").mAP
    for key, place in (("data.videos", data.dense), ("data.annotations", data.dense / "charades.json")):
        assert evaluate.run(load_config(EvaluateConfig, flags={**flags, key: place})).mAP == wanted
    with pytest.raises(ConfigError, match="needs --videos DIR, or --annotations FILE, of the dataset 'generated'"):
        evaluate.run(load_config(EvaluateConfig, flags=flags))
    with pytest.raises(ConfigError, match="--predictions needs --annotations FILE: the truth to compare with"):
        evaluate.run(load_config(EvaluateConfig, flags={**flags, "data.dataset": "json", "data.videos": data.dense}))


def test_wrong_weights_and_places_are_told_before_a_video_is_read(data, saved, tuned, other, tmp_path, monkeypatch):
    folder, _ = saved
    weights = (tuned / "checkpoints/best.pt").read_bytes()
    monkeypatch.delattr(evaluate_checkpoints, "whole_video_scores")
    lines, wild = folder / "both/frame-map/submission.txt", tmp_path / "wild.txt"
    first, *rest = lines.read_text().splitlines(True)
    wild.write_text("".join([" ".join([*first.split()[:-1], "7.5\n"]), *rest]))
    for flags, text in (
        ({"weights": "1,2,3"}, "weights=1,2,3 must be 2 numbers, one for each of:"),
        ({"weights": "1,2,3", "predictions": ()}, "weights=1,2,3 must be 1 number"),
        ({"save_predictions": tmp_path / "x.npz", "predictions": (lines,)}, "submission.txt is a submission file"),
        ({"predictions": (wild,)}, "wild.txt holds scores outside 0 to 1, which cannot be averaged"),
        ({"predictions": (lines,), "protocol": "charades-localize"}, "submission.txt, line 1: frame '0.0' is not a"),
        (
            {"save_predictions": tuned / "checkpoints/best.pt"},
            r"best.pt is read here \(checkpoints\) and would be lost",
        ),
        ({"save_predictions": tuned / "summary.json"}, "summary.json is there already and holds no scores of"),
        (
            {"checkpoints": (tuned, other), "inference.shifts": 3, "inference.stride": 2},
            "shifts=3: with one frame in 2",
        ),
        ({"save_predictions": tmp_path}, "is a folder; give a file, such as"),
        ({"save_predictions": data.dense / "charades.json" / "x.npz"}, "the folder of save_predictions=.* is a file"),
    ):
        given = {"checkpoints": (tuned,), "predictions": (folder / "other.npz",), "protocol": "frame-map"}
        with pytest.raises((ConfigError, DataError), match=text):
            evaluate.run(load_config(EvaluateConfig, flags={**given, **flags, "run.device": "cpu"}))
    assert (tuned / "checkpoints/best.pt").read_bytes() == weights


def test_saved_scores_are_scored_without_torch(data, saved):
    folder, both = saved
    code = (
        "import sys\nfrom ssdet_cli.__main__ import carry_out\n"
        f"code = carry_out(['evaluate', '--protocol', 'segment-map', '--predictions', {str(folder / 'both.npz')!r}, "
        f"'--dataset', 'json', '--annotations', {str(data.dense / 'charades.json')!r}, '--weights', '2,1', '--smooth', "
        f"'0.4', '--output', {str(folder / 'no-torch')!r}])\n"
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "weighted mean of the probabilities of 2 members" in " ".join(done.stdout.split())
    metrics = json.loads((folder / "no-torch/metrics.json").read_text())
    assert metrics["videos_read_by"] == both["segment-map"].to_plain()["videos_read_by"]
