"""X3D weights of other repositories: every layout gives the network that they describe."""

import copy
import pickle

import foreign_layouts as foreign
import pytest
import torch

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.weights import accelerator, authors, pytorchvideo, slowfast

CLASSES = 5


@pytest.fixture
def net():
    return foreign.random_x3d(foreign.TINY, CLASSES)


def detector(name="x3d_tiny", classes=CLASSES, **options):
    torch.manual_seed(1)
    return create_model(name, classes, **options).eval()


def assert_same_function(model, net, side=32, num_frames=4):
    torch.manual_seed(2)
    clips = torch.randn(2, 3, num_frames, side, side)
    with torch.no_grad():
        expected = foreign.x3d_stages(net, clips)
        stages = model.eval().backbone.forward_stages(clips, model.backbone.stage_names)
        logits = model(clips)
    for name, found in stages.items():
        torch.testing.assert_close(found, expected[name], atol=1e-4, rtol=1e-4, msg=name)
    torch.testing.assert_close(logits, expected["logits"], atol=1e-4, rtol=1e-4)


def saved(path, state, container="model_state"):
    torch.save({container: state, "epoch": 3, "cfg": "TRAIN: {}"}, path)
    return path


@pytest.mark.parametrize(("layout", "count"), [("slowfast", 568), ("accelerator", 568), ("pytorchvideo", 563)])
def test_writers_have_as_many_tensors_as_the_repositories(layout, count):
    net = foreign.random_x3d(foreign.M, 400)
    net = foreign.without_first_shortcut_norm(net) if layout == "pytorchvideo" else net
    assert len(foreign.write_x3d(net, layout)) == count
    assert len(foreign.write_authors(net, 4)) == (820 if layout != "pytorchvideo" else 812)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize(
    ("layout", "name"), [("slowfast", slowfast.NAME), ("accelerator", accelerator.NAME), ("authors", authors.NAME)]
)
def test_layouts_with_every_norm(net, tmp_path, layout, name, prefix):
    state = foreign.write_authors(net) if layout == "authors" else foreign.write_x3d(net, layout)
    state = {prefix + key: value for key, value in state.items()}
    model = detector()
    report = load_weights(model, saved(tmp_path / "x3d.pyth", state))
    assert report.layout == name and not report.missing and not report.unexpected
    assert any("tensors reshaped" in phrase for phrase in report.adapted)
    assert_same_function(model, net)


def test_pytorchvideo_stem_names_are_swapped_and_its_first_shortcut_has_no_norm(net, tmp_path):
    net = foreign.without_first_shortcut_norm(net)
    model = detector()
    state = {f"model.{key}": value for key, value in foreign.write_x3d(net, "pytorchvideo").items()}
    report = load_weights(model, saved(tmp_path / "X3D_M.pyth", state))
    assert report.layout == pytorchvideo.NAME and not report.missing and not report.unexpected
    assert "first stage's shortcut" in report.adapted[0]
    norm = model.backbone.layer1[0].shortcut.norm
    assert torch.equal(norm.running_var + norm.eps, torch.ones(16))
    assert_same_function(model, net)


def test_names_of_the_stem_do_not_decide(net, tmp_path):
    state = foreign.write_x3d(foreign.without_first_shortcut_norm(net), "pytorchvideo")
    right, wrong = "blocks.0.conv.conv_xy.weight", "blocks.0.conv.conv_t.weight"
    state[right], state[wrong] = state[wrong], state[right]
    model = detector()
    load_weights(model, saved(tmp_path / "x.pyth", state))
    assert_same_function(model, foreign.without_first_shortcut_norm(net))


@pytest.mark.parametrize("target_splits", [1, 2, 3])
@pytest.mark.parametrize("splits", [1, 4])
def test_authors_statistics_for_evaluation_are_the_truth_whatever_the_splits(net, tmp_path, splits, target_splits):
    path = tmp_path / "x3d_charades.pt"
    torch.save({"model_state_dict": foreign.write_authors(net, splits), "long_ind": torch.tensor(3)}, path)
    model = detector(norm_splits=target_splits)
    report = load_weights(model, path)
    assert not report.missing and not report.unexpected
    assert any("norm splits left out" in phrase for phrase in report.adapted) == (splits > 1)
    assert_same_function(model, net)
    assert_same_function(model.train().eval(), net)


@pytest.mark.parametrize("counters", [True, False])
def test_authors_statistics_that_were_never_aggregated_are(net, tmp_path, counters):
    state = foreign.write_authors(net, 4, aggregated=False)
    state = {name: value for name, value in state.items() if counters or not name.endswith("num_batches_tracked")}
    report = load_weights(model := detector(), saved(tmp_path / "x.pt", state, "model_state_dict"))
    assert "statistics of 4 norm splits aggregated" in report.adapted[0]
    assert_same_function(model, net)


def test_old_files_of_matrices_and_norms_with_axes(net, tmp_path):
    state = foreign.write_authors(net, 2, flat=True)
    state["bn5.weight"] = state["bn5.weight"].view(-1, 1, 1, 1)
    load_weights(model := detector(), saved(tmp_path / "x.pt", state, "model_state_dict"))
    assert_same_function(model, net)


def test_full_size_of_the_family(tmp_path):
    net = foreign.without_first_shortcut_norm(foreign.random_x3d(foreign.M, 6))
    report = load_weights(
        model := detector("x3d_xs", 6), saved(tmp_path / "x.pyth", foreign.write_x3d(net, "pytorchvideo"))
    )
    assert len(report.matched) == len(model.state_dict()) - 1  # the added norm has no counter
    assert_same_function(model, net, num_frames=2)


@pytest.mark.parametrize(
    ("layout", "classes", "normalization"),
    [
        ("slowfast", 5, ((0.45,) * 3, (0.225,) * 3)),
        ("authors", 5, authors.KINETICS),
        ("authors", 157, authors.CHARADES),
    ],
)
def test_input_normalisation_follows_the_file(tmp_path, layout, classes, normalization):
    net = foreign.random_x3d(foreign.TINY, classes)
    state = foreign.write_authors(net) if layout == "authors" else foreign.write_x3d(net, layout)
    model = detector(classes=classes)
    report = load_weights(model, saved(tmp_path / "x.pt", state))
    assert report.normalization == normalization == model.backbone.normalization
    assert any("input normalised" in phrase for phrase in report.adapted) == (layout == "authors")
    assert detector().backbone.normalization == ((0.45,) * 3, (0.225,) * 3)  # of this model only


def test_classifier_of_other_size_is_replaced_and_the_hidden_layer_kept(net, tmp_path):
    model = detector(classes=CLASSES + 2)
    report = load_weights(model, saved(tmp_path / "x.pyth", foreign.write_x3d(net, "slowfast")))
    assert any("head.fc2 newly initialised (5 classes in the file, 7 here)" in phrase for phrase in report.adapted)
    torch.testing.assert_close(model.head.fc1.weight, net["fc1"]["weight"].flatten(1))
    assert set(report.missing) == set(report.unexpected) == {"head.fc2.weight", "head.fc2.bias"}


def test_caffe2_zoo_files_are_read_as_numbers_and_turned_to_rgb(net, tmp_path):
    path = tmp_path / "x3d.pkl"
    path.write_bytes(pickle.dumps(foreign.write_caffe2(net, foreign.caffe2_x3d_module, ("stem.space",)), protocol=2))
    report = load_weights(model := detector(), path)
    assert report.layout == "Caffe2" and not report.missing and not report.unexpected
    assert "input channels of the stem reversed, from BGR to RGB" in report.adapted
    assert_same_function(model, net)


def test_coarse_stream_is_named_for_what_it_is(net, tmp_path):
    state = {**foreign.write_authors(net), "pool_1.conv1.weight": torch.zeros(16, 16, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"c\.pt: This is a Coarse-Fine coarse network"):
        load_weights(detector(), saved(tmp_path / "c.pt", state))


def test_unknown_tensors_of_a_known_layout_are_reported(net, tmp_path):
    state = {**foreign.write_x3d(net, "slowfast"), "s3.pathway0_nonlocal3.conv_g.weight": torch.zeros(2)}
    before = copy.deepcopy(net)
    report = load_weights(detector(), saved(tmp_path / "x.pyth", state))
    assert report.unexpected == ("s3.pathway0_nonlocal3.conv_g.weight",)
    assert torch.equal(before["conv5"]["weight"], net["conv5"]["weight"])
