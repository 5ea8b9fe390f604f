import subprocess
import sys

import pytest
import torch

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model, list_models
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.detectors import COARSE_FINE
from ssdet_cli.models.heads import HEADS
from ssdet_cli.models.heads.linear import LinearHead


def test_tables_are_read_without_torch():
    code = (
        "import sys; from ssdet_cli.models.backbones.info import INFO\n"
        "from ssdet_cli.models.backbones import BACKBONES\n"
        "import ssdet_cli.models.heads; assert BACKBONES.names() and INFO; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_entry_resolves_and_keeps_the_contract():
    assert set(INFO) == set(BACKBONES.names()) == {name for name in list_models() if not name.startswith(COARSE_FINE)}
    assert all(callable(HEADS.get(name)) for name in HEADS.names())
    for name in BACKBONES.names():
        with torch.device("meta"):
            backbone = BACKBONES.get(name)()
        assert len(backbone.stage_names) == len(backbone.stage_channels)
        assert backbone.stage_channels[-1] == backbone.num_features
        assert backbone.default_clip == INFO[name].clip
        assert INFO[name].weights
        assert [len(part) for part in backbone.normalization] == [3, 3]


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ConfigError, match="Unknown backbone 'x3d_n'. Did you mean 'x3d_"):
        create_model("x3d_n", 4)
    with pytest.raises(ConfigError, match="Unknown head 'liner'. Did you mean 'linear'?"):
        create_model("x3d_tiny", 4, head="liner")
    with pytest.raises(ConfigError, match="Unknown option 'dropuot' .* Did you mean 'dropout'?"):
        create_model("x3d_tiny", 4, dropuot=0.1)


def test_options_reach_backbone_and_head():
    model = create_model("x3d_tiny", 4, dropout=0.25, norm_momentum=0.01)
    assert model.head.dropout.p == 0.25
    assert model.backbone.conv5.norm.momentum == 0.01


def test_options_of_the_wrong_type_are_refused_and_text_of_the_right_one_is_taken():
    assert create_model("x3d_tiny", 4, norm_momentum="0.01").backbone.conv5.norm.momentum == 0.01
    with pytest.raises(ConfigError, match="Option norm_momentum='fast': input should be a valid number"):
        create_model("x3d_tiny", 4, norm_momentum="fast")


def somebody_s_head(
    in_features,
    num_classes,
    *,
    hidden=None,
    gain: "Known.to.a.checker.only" = 1,  # noqa: F821 - such annotations must not break the factory
    plain=2,
):
    head = LinearHead(in_features, num_classes, hidden=hidden)
    head.gain, head.plain = gain, plain
    return head


def test_somebody_s_head_needs_no_types():
    model = create_model("x3d_tiny", 2, head=f"{__name__}:somebody_s_head", gain=[3], plain="x")
    assert (model.head.gain, model.head.plain) == ([3], "x")


@pytest.mark.parametrize(("options", "message"), [({"num_classes": 0}, "num_classes"), ({"dropout": 1.0}, "dropout")])
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"{message} must be"):
        create_model("x3d_tiny", **{"num_classes": 3, **options})


def test_head_without_hidden_layer_is_one_linear_map():
    head = LinearHead(6, 4).eval()
    features = torch.randn(2, 6, 3)
    expected = torch.einsum("bct,kc->bkt", features, head.fc2.weight) + head.fc2.bias[:, None]
    torch.testing.assert_close(head(features), expected)
    assert head.fc1 is None


def test_an_unknown_attribute_of_the_package_is_an_attribute_error():
    import ssdet_cli.models

    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = ssdet_cli.models.create_modle
    assert "create_model" in dir(ssdet_cli.models)
