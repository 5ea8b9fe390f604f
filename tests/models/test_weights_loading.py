import json

import pytest
import torch
from safetensors.torch import save_file

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.weights.guess import guess_backbone, on_meta
from ssdet_cli.models.weights.load import plan

CLASSES = ["left", "right", "spin"]


class Marker:
    """Something that only an unsafe loader would build."""


def tiny(classes=3, seed=0):
    torch.manual_seed(seed)
    return create_model("x3d_tiny", classes)


def randomise(model):
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def save(path, model, **meta):
    torch.save({"model": model.state_dict(), "meta": meta, "step": 7}, path)
    return path


def test_a_saved_model_comes_back_bit_for_bit(tmp_path):
    source = randomise(tiny())
    target = tiny(seed=1)
    report = load_weights(target, save(tmp_path / "w.pt", source))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())
    assert (report.missing, report.unexpected, report.adapted) == ((), (), ())
    assert set(report.matched) == set(source.state_dict())
    assert "\n" not in report.summary() and report.summary().startswith(f"{len(report.matched)} tensors loaded from")


@pytest.mark.parametrize("container", [None, "model", "model_state", "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_layout_is_told_by_names_whatever_wraps_them(tmp_path, container, prefix):
    source = randomise(tiny())
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(state if container is None else {"epoch": 3, container: state}, tmp_path / "w.pth")
    target = tiny(seed=1)
    assert load_weights(target, tmp_path / "w.pth").layout == "ssdet"
    assert torch.equal(target.backbone.conv5.weight, source.backbone.conv5.weight)


def test_safetensors_are_read_with_their_meta(tmp_path):
    source = randomise(tiny(4))
    meta = {"meta": json.dumps({"background": True, "classes": CLASSES})}
    save_file(source.state_dict(), tmp_path / "w.safetensors", metadata=meta)
    target = tiny(3, seed=1)
    report = load_weights(target, tmp_path / "w.safetensors", class_names=CLASSES)
    assert torch.equal(target.head.fc2.weight, source.head.fc2.weight[1:])
    assert report.adapted == ("background row of head.fc2 dropped, its 3 classes kept",)


@pytest.mark.parametrize("names", [CLASSES, ["background", *CLASSES]])
def test_background_row_is_dropped_where_the_classes_are_ours(tmp_path, names):
    source = randomise(tiny(4))
    target = tiny(3, seed=1)
    report = load_weights(target, save(tmp_path / "w.pt", source, background=True, classes=names), class_names=CLASSES)
    assert torch.equal(target.head.fc2.weight, source.head.fc2.weight[1:])
    assert torch.equal(target.head.fc2.bias, source.head.fc2.bias[1:])
    assert "background row" in report.summary()


@pytest.mark.parametrize(
    ("rows", "meta"),
    [
        (4, {"background": True, "classes": ["a", "b", "c"]}),
        (5, {}),
        (3, {"background": True, "classes": ["left", "right"]}),
        (3, {"background": False, "classes": ["left", "spin", "right"]}),
    ],
)
def test_classifier_for_other_classes_stays_as_initialised(tmp_path, rows, meta):
    source = randomise(tiny(rows))
    target = tiny(3, seed=1)
    before = target.head.fc2.weight.clone()
    report = load_weights(target, save(tmp_path / "w.pt", source, **meta), class_names=CLASSES)
    assert torch.equal(target.head.fc2.weight, before)
    assert torch.equal(target.head.fc1.weight, source.head.fc1.weight)
    assert report.adapted[0].startswith("head.fc2 newly initialised")
    assert report.missing == report.unexpected == ("head.fc2.weight", "head.fc2.bias")
    summary = report.summary()
    assert "kept as initialised" not in summary and "not used" not in summary
    assert "kept as initialised: head.fc2.weight" in report.details()


def test_model_with_background_takes_back_its_own_classifier(tmp_path):
    source = randomise(tiny(4))
    target = tiny(4, seed=1)
    path = save(tmp_path / "w.pt", source, background=True, classes=CLASSES)
    assert load_weights(target, path, class_names=CLASSES).adapted == ()
    assert torch.equal(target.head.fc2.weight, source.head.fc2.weight)


@pytest.mark.parametrize("head", ["super_event", "tgm_super_event"])
def test_all_that_belongs_to_classes_is_replaced_together(tmp_path, head):
    source = randomise(create_model("x3d_tiny", 5, head=head))
    target = create_model("x3d_tiny", 3, head=head)
    before = {name: tensor.clone() for name, tensor in target.head.classes.state_dict().items()}
    report = load_weights(target, save(tmp_path / "w.pt", source))
    assert report.adapted == ("head.classes newly initialised (5 classes in the file, 3 here)",)
    assert set(report.missing) == set(report.unexpected) == {f"head.classes.{name}" for name in before}
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.head.classes.state_dict().items())
    assert torch.equal(target.head.super_events.kernels.centre, source.head.super_events.kernels.centre)


@pytest.mark.parametrize("head", ["super_event", "tgm_super_event"])
def test_background_is_dropped_from_all_that_belongs_to_classes(tmp_path, head):
    source = randomise(create_model("x3d_tiny", 4, head=head))
    target = create_model("x3d_tiny", 3, head=head)
    load_weights(target, save(tmp_path / "w.pt", source, background=True, classes=CLASSES), class_names=CLASSES)
    for name, tensor in source.head.classes.state_dict().items():
        assert torch.equal(target.head.classes.state_dict()[name], tensor[1:]), name


def test_another_head_keeps_what_fits_and_is_said_to_be_new(tmp_path):
    path = save(tmp_path / "w.pt", randomise(tiny(5)))
    target = create_model("x3d_tiny", 3, head="tgm")
    report = load_weights(target, path)
    assert report.adapted == ("head newly initialised but for fc1.weight (another in the file)",)
    kept = {name for name in target.state_dict() if name.startswith("head.")} - {"head.fc1.weight"}
    assert set(report.missing) == kept and set(report.unexpected) == {"head.fc2.weight", "head.fc2.bias"}
    assert "kept as initialised" not in report.summary() and "not used" not in report.summary()
    assert {name.partition(".")[0] for name in report.matched} == {"backbone", "head"}
    events = create_model("x3d_tiny", 3, head="super_event")
    assert load_weights(events, save(tmp_path / "t.pt", target)).adapted == report.adapted


def test_create_model_starts_from_a_file(tmp_path):
    source = randomise(tiny())
    model = create_model("x3d_tiny", 3, pretrained=save(tmp_path / "w.pt", source))
    assert torch.equal(model.head.fc2.weight, source.head.fc2.weight)


def test_weights_of_another_backbone_are_refused_and_change_nothing(tmp_path):
    target = tiny()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    path = save(tmp_path / "w.pt", create_model("x3d_xs", 3))
    with pytest.raises(CheckpointError, match="fills only .* tensors of this model; .* and is .* in the file"):
        load_weights(target, path)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def deeper(model, part, index):
    """The state dict of `model`, and behind one of its blocks as many others as make it a much deeper network."""
    state = model.state_dict()
    block = {name: value for name, value in state.items() if name.startswith(f"{part}.{index}.")}
    for number in range(index + 1, index + 4):
        state |= {name.replace(f"{part}.{index}.", f"{part}.{number}."): value for name, value in block.items()}
    return state


@pytest.mark.parametrize("target", ["x3d_tiny", "coarse_fine_x3d_tiny"])
def test_weights_of_a_deeper_network_are_refused_and_change_nothing(tmp_path, target):
    torch.save(deeper(randomise(tiny()), "backbone.layer4", 1), tmp_path / "w.pt")
    model = create_model(target, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"has \d+ tensors of its backbone, of \d+, that .* no place for, as '.*"
    ) as no:
        load_weights(model, tmp_path / "w.pt")
    assert "backbone.layer4.2." in str(no.value) and "\n" not in str(no.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    report = load_weights(model, tmp_path / "w.pt", allow_partial=True)
    assert not report.missing or target.startswith("coarse")
    assert all("backbone.layer4." in name for name in report.unexpected)


def test_x3d_l_does_not_go_into_x3d_m():
    with torch.device("meta"):
        large, middle = create_model("x3d_l", 3), create_model("x3d_m", 3)
    told = {"source": "l.pt", "layout": "ssdet"}
    with pytest.raises(CheckpointError, match="Is it for a deeper backbone"):
        plan(middle, large.state_dict(), {}, **told)
    assert plan(middle, large.state_dict(), {}, allow_partial=True, **told)[0].missing == ()


@pytest.mark.parametrize(
    "name", ["x3d_tiny", "x3d_m", "x3d_l", "x3d_xl", "torchvision/swin3d_t", "torchvision/swin3d_s"]
)
def test_the_network_of_a_file_is_told_from_its_shallower_siblings(name):
    state = {f"backbone.{key}": tensor for key, tensor in on_meta(name).state_dict().items()}
    assert guess_backbone(state) == name


def test_few_tensors_that_the_backbone_lacks_are_reported_only(tmp_path):
    torch.save({**tiny().state_dict(), "backbone.extra.weight": torch.zeros(2)}, tmp_path / "w.pt")
    assert load_weights(tiny(), tmp_path / "w.pt").unexpected == ("backbone.extra.weight",)


def test_a_head_alone_takes_its_part_of_a_detector(tmp_path):
    source = randomise(create_model("x3d_tiny", 3, head="tgm"))
    path = save(tmp_path / "w.pt", source)
    head = create_model("tgm", 3, in_channels=source.backbone.num_features, hidden=source.backbone.head_hidden)
    assert not load_weights(head, path).missing
    assert all(torch.equal(value, source.head.state_dict()[name]) for name, value in head.state_dict().items())


@pytest.mark.parametrize("of", ["detector", "backbone"])
def test_a_backbone_alone_takes_the_backbone_of_a_file(tmp_path, of):
    source = randomise(tiny())
    path = save(tmp_path / "w.pt", source if of == "detector" else source.backbone)
    target = tiny(seed=1).backbone
    report = load_weights(target, path)
    assert set(report.matched) == set(target.state_dict()) and report.missing == ()
    assert all(torch.equal(value, source.backbone.state_dict()[name]) for name, value in target.state_dict().items())
    assert all(name.startswith("head.") for name in report.unexpected)
    with pytest.raises(CheckpointError, match="w.pt fills only"):
        load_weights(create_model("x3d_xs", 3).backbone, path)


def test_part_of_a_model_is_refused_unless_allowed(tmp_path):
    source = randomise(tiny())
    part = {name: value for name, value in source.state_dict().items() if "layer1" in name}
    torch.save({"model": {**part, "head.extra": torch.zeros(1)}}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="absent from the file"):
        load_weights(tiny(), tmp_path / "w.pt")
    report = load_weights(tiny(), tmp_path / "w.pt", allow_partial=True)
    assert set(report.matched) == set(part)
    assert report.unexpected == ("head.extra",)
    assert "backbone.conv5.weight" in report.missing
    assert "kept as initialised" in report.summary()


def write_truncated(path):
    save(path, tiny())
    path.write_bytes(path.read_bytes()[:5000])


def write_truncated_safetensors(path):
    save_file(tiny().state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pt", lambda path: None, "does not exist; give a run folder or a file"),
        ("b.pt", lambda path: path.mkdir(), "is it a run folder"),
        ("c.pt", write_truncated, "cannot be read as weights: it is truncated or damaged"),
        ("d.pt", lambda path: path.write_text("hello, this is no checkpoint\n"), "as weights: it is a text file"),
        ("e.pt", lambda path: path.write_bytes(b""), "is empty"),
        (
            "f.pt",
            lambda path: torch.save({"model": Marker()}, path),
            r"cannot be read as weights: it holds a Python object \(.*Marker\)",
        ),
        ("g.pt", lambda path: torch.save([1, 2], path), "holds no weights"),
        ("h.pt", lambda path: torch.save({"epoch": 3, "model": {}}, path), "holds no weights"),
        ("i.pt", lambda path: torch.save({"stem.weight": torch.zeros(2)}, path), "names of no known layout"),
        ("j.safetensors", write_truncated_safetensors, "cannot be read as weights"),
        ("k.safetensors", lambda path: path.write_text("hello"), "cannot be read as weights"),
    ],
)
def test_files_that_are_no_weights_get_one_line_with_their_path(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(tiny(), path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Command:
    """What an attacker would pickle."""

    def __reduce__(self):
        return print, ("executed",)


def test_a_file_that_would_execute_code_is_refused_before_it_does(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"model": tiny().state_dict(), "other": Command()}, path)
    with pytest.raises(
        CheckpointError, match=r"evil.pt cannot be read as weights: it holds a Python object \(print\), which only code"
    ):
        load_weights(tiny(), path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_of_a_run_that_diverged_are_refused_and_change_nothing(tmp_path, value):
    state = {name: tensor.clone() for name, tensor in randomise(tiny()).state_dict().items()}
    state["backbone.conv5.weight"] = state["backbone.conv5.weight"].double().index_fill(0, torch.tensor([2]), value)
    torch.save(state, tmp_path / "w.pt")
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for target in (model, model.backbone):
        with pytest.raises(CheckpointError, match=r"w\.pt: 'backbone.conv5.weight' holds values that are infinite or"):
            load_weights(target, tmp_path / "w.pt", allow_partial=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.backbone.normalization == tiny().backbone.normalization


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_taken_as_the_network_has_them(tmp_path, dtype):
    source = randomise(tiny()).state_dict()
    torch.save({n: t.to(dtype) if t.is_floating_point() else t for n, t in source.items()}, tmp_path / "w.pt")
    report = load_weights(model := tiny(), tmp_path / "w.pt")
    assert not report.missing and all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, source[name], atol=1e-2, rtol=1e-2)
