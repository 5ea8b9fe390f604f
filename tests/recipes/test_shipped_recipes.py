"""Every shipped configuration, by the command in its own first lines, and its other values that they name."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from ssdet_cli.__main__ import carry_out
from ssdet_cli.cli.checks import check_names
from ssdet_cli.config.commands import COMMANDS, TrainingConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.locate import shipped
from ssdet_cli.data.multigrid import build_plan
from ssdet_cli.models import create_model

SHIPPED = shipped()
#: What makes a dry run small; the networks keep their size.
SMALL = ["data.workers=0", "clip.frames=8", "clip.stride=1", "clip.size=32", "run.device=cpu", "loop.batch_size=2"]
#: Backbone -> names of the recipes that it must have, beside those that are for one network only.
BACKBONES = ("x3d_s", "x3d_m", "x3d_l", "slowfast")
#: Options whose values are the user's own.
REPLACED = ("--init", "--gpus", "--data", "--videos", "--annotations", "--output", "--checkpoint", "--features")


def head_of(path):
    """The comment lines that a configuration begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return lines[:first]


def commands_of(path):
    """Every command line in the head of a configuration that uses it, and one more for every alternative it names."""
    head = head_of(path)
    own = [line.removeprefix("#").strip() for line in head if re.match(r"#   ssdet ", line)]
    own = [line for line in own if f"--config {path.stem}" in line and line.split()[1] == path.parent.name]
    others = re.findall(r"(--\w+) (\w+(?:\|\w+)+)", " ".join(line for line in head if not line.startswith("#   ")))
    return own + [f"{own[0]} {option} {value}" for option, values in others for value in values.split("|")]


#: Building the alternatives of every network takes minutes and shows nothing new: one does it, the others parse.
CASES = [
    pytest.param(name, command, id=f"{name} {' '.join(command.split()[-2:] if number else [])}".strip())
    for name, path in SHIPPED.items()
    for number, command in enumerate(commands_of(path))
    if number == 0 or name in ("pretrain/x3d_m_volume", "finetune/x3d_m_charades")
]


@pytest.fixture(scope="module")
def places(data, tmp_path_factory):
    """Where the words of the command lines lead: tiny videos under the names that each dataset wants."""
    root = tmp_path_factory.mktemp("places")
    videos = sorted((data.dense / "videos").glob("*.mp4"))[:4]
    ids = {"charades": ["AB12C", "00607", "83654", "150E6"], "multithumos": []}
    ids["multithumos"] = [f"video_{part}_000000{number}" for number, part in enumerate(("validation", "test") * 2)]
    for name, names in ids.items():
        (root / name / "videos").mkdir(parents=True)
        for video_id, video in zip(names, videos, strict=True):
            (root / name / "videos" / f"{video_id}.mp4").symlink_to(video)
    columns = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    for split, chosen in (("train", ids["charades"][:2]), ("test", ids["charades"][2:])):
        rows = [f"{video_id},S001,Kitchen,6,7,Yes,x,x,x,c092 0.10 0.90;c147 0.00 1.00,1.50" for video_id in chosen]
        (root / "charades" / f"Charades_v1_{split}.csv").write_text("\r\n".join([columns, *rows]) + "\r\n")
    actions = [[1, 0.1, 0.9], [65, 0.0, 1.0]]
    told = {
        video_id: {"subset": subset, "duration": 1.5, "actions": actions}
        for video_id, subset in zip(ids["multithumos"], ("training", "testing") * 2, strict=True)
    }
    (root / "multithumos" / "multithumos.json").write_text(json.dumps(told))
    torch.save(create_model("x3d_m", num_classes=157).state_dict(), root / "x3d_m.pt")
    torch.save(create_model("x3d_tiny", num_classes=5).state_dict(), root / "x3d_tiny.pt")
    return {
        "weak": data.weak,
        "dense": data.dense,
        "charades": root / "charades",
        "multithumos": root / "multithumos" / "multithumos.json",
        "root": root,
    }


def videos_of(dataset, places):
    return places["dense"] if dataset == "generated" else places["root"] / dataset / "videos"


def words_of(command, cfg, places, tmp_path):
    """The words of a command line with real places for those that it only names."""
    dataset = cfg.data.dataset
    words, dropping = [], False
    for word in shlex.split(command)[1:]:
        dropping = word in REPLACED or (dropping and not word.startswith("--"))
        if not dropping:
            words.append(word)
    if cfg.command == "pretrain":
        words += ["--data", places["weak"]]
    elif dataset is not None:
        words += ["--videos", videos_of(dataset, places)]
    else:
        words += ["--videos", places["dense"] / "videos"]
    if dataset in ("charades", "multithumos"):
        words += ["--annotations", places[dataset]]
    return [str(word) for word in [*words, "--output", tmp_path / "out"]]


@pytest.fixture(scope="module")
def features(places, tmp_path_factory):
    """Stored features of the fine stream by dataset, made by the recipes for them."""
    made = {}

    def of(dataset):
        if dataset not in made:
            folder = tmp_path_factory.mktemp("features") / dataset
            small = ["data.workers=0", "run.device=cpu", "inference.stride=1", "inference.size=32"]
            network = "x3d_tiny" if dataset == "generated" else "x3d_m"
            words = ["--output", folder, "--init", places["root"] / f"{network}.pt", "--backbone", network]
            if dataset == "generated":
                words += ["--videos", places["dense"] / "videos"]
            else:
                words += ["--config", f"x3d_m_{dataset}", "--videos", videos_of(dataset, places)]
                words += ["--annotations", places[dataset]]
            assert carry_out(["extract-features", *map(str, words), *small]) == 0
            made[dataset] = folder
        return made[dataset]

    return of


def test_every_file_begins_with_its_command_and_what_it_aims_at():
    for name, path in SHIPPED.items():
        head = " ".join(line.lstrip("# ") for line in head_of(path))
        assert commands_of(path), f"{name} does not say how it is used"
        if path.parent.name != "extract-features":
            assert re.search(r"Aims (?:, for tgm,)?at |Aims, for tgm, at |No table has|From nothing the mixed", head), (
                name
            )


def test_every_backbone_has_every_kind_of_recipe():
    for backbone in BACKBONES:
        assert f"pretrain/{backbone}_volume" in SHIPPED
        assert {f"finetune/{backbone}_charades", f"finetune/{backbone}_multithumos"} <= SHIPPED.keys()
    assert {f"pretrain/{backbone}_kinetics400" for backbone in BACKBONES} <= SHIPPED.keys()
    for dataset in ("charades", "multithumos"):
        assert f"finetune/fine_x3d_m_{dataset}" in SHIPPED and f"train-coarse-fine/x3d_m_{dataset}" in SHIPPED
    for command in ("pretrain", "finetune", "train-coarse-fine"):
        assert f"{command}/generated" in SHIPPED


def test_recipes_for_kinetics_have_its_name_and_so_see_when_classes_are_missing():
    named = {name: load_config(COMMANDS["pretrain"], name).data.dataset for name in SHIPPED if "kinetics400" in name}
    assert set(named.values()) == {"kinetics400"} and len(named) == len(BACKBONES) + 1


def test_every_method_and_head_is_named_by_a_recipe_of_every_backbone():
    for backbone in BACKBONES:
        pretraining = " ".join(commands_of(SHIPPED[f"pretrain/{backbone}_volume"]))
        assert all(f"--augment {method}" in pretraining for method in ("freeze", "mixup", "cutmix", "none"))
        tuning = " ".join(commands_of(SHIPPED[f"finetune/{backbone}_charades"]))
        assert all(f"--head {head}" in tuning for head in ("super_event", "tgm", "tgm_super_event"))


def test_multigrid_recipes_have_the_lengths_that_they_name():
    plans = {}
    for name in SHIPPED:
        cfg = load_config(COMMANDS[name.split("/")[0]], name)
        if isinstance(cfg, TrainingConfig) and cfg.multigrid.on:
            sizes = {"clips": cfg.loop.batch_size, "frames": cfg.clip.frames, "size": cfg.clip.size}
            plans[name.removeprefix("pretrain/")] = build_plan(cfg.multigrid, steps=cfg.loop.steps, **sizes)
    assert plans.keys() == {"x3d_m_kinetics400_multigrid", "x3d_m_volume_multigrid", "slowfast_kinetics400"}
    assert [turn.shape.frames for turn in plans["x3d_m_kinetics400_multigrid"].turns[::3]] == [2, 4, 4, 8]
    slowfast = plans["slowfast_kinetics400"]
    assert slowfast.clips_before(slowfast.steps) * 8 / 220_000 == pytest.approx(358.5, abs=0.05)
    assert {leg.phase: leg.first for leg in reversed(plans["x3d_m_volume_multigrid"].legs)}[4] == 143_667


def test_every_command_and_alternative_is_understood(tmp_path):
    for name, path in SHIPPED.items():
        for command in commands_of(path):
            words = [word for word in shlex.split(command)[1:] if word not in ("DIR", "run>")]
            values = dict(zip(words[1:-1], words[2:], strict=True))
            request = {"augment.methods": values.get("--augment"), "model.head": values.get("--head")}
            given = {key: value for key, value in request.items() if value is not None}
            cfg = load_config(COMMANDS[words[0]], name, flags=given)
            check_names(cfg)
            assert values["--config"] == path.stem


@pytest.mark.parametrize(("name", "command"), CASES)
def test_a_dry_run_of_the_command_builds_it(name, command, places, features, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    kind = COMMANDS[name.split("/")[0]]
    cfg = load_config(kind, name)
    words = words_of(command, cfg, places, tmp_path)
    if issubclass(kind, TrainingConfig):
        if kind.command == "train-coarse-fine":
            words += ["--features", str(features(cfg.data.dataset))]
        words += SMALL
    else:
        network = words[words.index("--backbone") + 1] if "--backbone" in words else "x3d_m"
        if network == "x3d_m":
            words += ["--init", str(places["root"] / "x3d_m.pt"), "--backbone", "x3d_m"]
        words += ["data.workers=0", "run.device=cpu", "inference.stride=1", "inference.size=32"]
    code = carry_out([*words, "--dry-run"])
    said = capfd.readouterr().err
    assert code == 0, said
    assert not Path("runs").exists() and not (tmp_path / "out").exists()
    if issubclass(kind, TrainingConfig):
        assert re.search(r"Dry run of .*, loss \d", said) and "Estimate from these steps, not a promise: " in said
