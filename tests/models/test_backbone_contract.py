"""What every backbone of the catalogue keeps, two of timm's, and the documentation's plug-in: see
`ssdet_cli.models.backbones`.

Crops and clips are small, the networks are whole. Only tracing (compile, export), whose time grows with the number of
blocks, goes by one network of each kind, and leaves blocks out that repeat one before them: see `TRACED_AS`, `shallow`.
The others go through at the size that they are made for, without memory for numbers.
"""

import copy
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones import BACKBONES, REQUIRED
from ssdet_cli.models.layers.time_axis import steps

CLASSES, SIZE = 3, 32
PLUGIN = "documented_plugin:TinyFrames"
NAMES = [*BACKBONES.names(), "timm/test_resnet", "timm/test_vit", PLUGIN]
#: Entries that are the same modules as another one and differ in `default_clip` alone.
SAME = {"x3d_xs": "x3d_m", "x3d_s": "x3d_m"}
DISTINCT = [name for name in NAMES if name not in SAME]
#: Networks of the same kinds of modules, more or wider of them, and the one that is traced for them.
TRACED_AS = {
    "x3d_m": "x3d_tiny",
    "x3d_l": "x3d_tiny",
    "x3d_xl": "x3d_tiny",
    "slowfast_r50_4x16": "slowfast_r50_8x8",
    "torchvision/swin3d_s": "torchvision/swin3d_t",
    "torchvision/swin3d_b": "torchvision/swin3d_t",
}
#: torch.export takes any batch for all of them, and any length (that needs as much padding) but for these: why.
ONE_LENGTH = {
    "torchvision/mvit_v2_s": "torchvision looks relative positions up for the length it is traced with",
    "torchvision/mvit_v1_b": "it can, but tracing attention with a length that is not known is slow",
    "torchvision/swin3d_t": "it can, but tracing attention with a length that is not known is slow",
}

#: Pixels of a clip that is a batch of its own: maps of one pixel would leave batch norm a single value per channel.
ALONE = {"torchvision/s3d": 65, "timm/test_vit": SIZE}
#: What an exported program says of a length that it was not traced with.
OTHER_LENGTH = r"Guard failed.*frames\.size\(\)\[2\]|frames\.shape\[2\]"

_built: dict[str, nn.Module] = {}


@pytest.fixture(scope="module", autouse=True)
def documented_plugin():
    """The module of docs/plugins.md, to be found by its import path."""
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    module = ModuleType(PLUGIN.partition(":")[0])
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], vars(module))
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


def built(name: str) -> nn.Module:
    """The network in evaluation, made once; parameters that begin at zero are drawn, so that nothing is off."""
    name = SAME.get(name, name)
    if name not in _built:
        _built.clear()  # tests run network by network: one is kept
        torch.manual_seed(0)
        model = create_model(name, CLASSES, dropout=0.0)
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        _built[name] = model.eval()
    return _built[name]


def clips(batch: int = 2, frames: int = 4, seed: int = 0, size: int = SIZE) -> Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed))


def shallow(name: str) -> nn.Module:
    """A copy without the blocks that are like an earlier one of their row."""
    model = copy.deepcopy(built(name))
    for row in [module for module in model.modules() if isinstance(module, (nn.Sequential, nn.ModuleList))]:
        blocks: dict[str, nn.Module] = {}
        for index, block in enumerate(row):
            shift = getattr(getattr(block, "attn", None), "shift_size", None)  # of Swin, which its name does not show
            kind = re.sub(r"StochasticDepth\(p=[^,]+", "", f"{block} {shift}")
            blocks.setdefault(kind if any(block.children()) else str(index), block)
        if len(blocks) < len(row):
            row._modules = {str(index): block for index, block in enumerate(blocks.values())}
    return model


def test_entries_that_are_said_to_be_the_same_are():
    for name, other in SAME.items():
        with torch.device("meta"):
            one, two = create_model(name, 4), create_model(other, 4)
        assert repr(one) == repr(two)
        assert one.backbone.default_clip != two.backbone.default_clip


def test_networks_that_are_traced_for_others_have_the_same_kinds_of_modules():
    for name, other in TRACED_AS.items():
        with torch.device("meta"):
            kinds = [{type(module) for module in create_model(one, 4).modules()} for one in (name, other)]
        assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", TRACED_AS)
def test_networks_that_are_traced_for_others_go_through_at_their_own_size(name):
    with torch.device("meta"):
        model = create_model(name, CLASSES).train()
        backbone = model.backbone
        frames, _, size = backbone.default_clip
        stages = backbone.forward_stages(torch.empty(1, 3, frames, size, size), backbone.stage_names)
        features = stages[backbone.stage_names[-1]].mean((3, 4))
        logits = model.at_input_frames(model.head(features), frames)
        logits.sum().backward()
    assert logits.shape == (1, CLASSES, frames)
    shapes = [(stage.shape[1], stage.shape[2] * backbone.temporal_stride) for stage in stages.values()]
    assert shapes == [(channels, frames) for channels in backbone.stage_channels]
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", DISTINCT, scope="module")
class TestContract:
    def test_it_has_what_every_backbone_has(self, name):
        backbone = built(name).backbone
        assert all(hasattr(backbone, attribute) for attribute in REQUIRED)
        assert backbone.stage_channels[-1] == backbone.num_features
        assert len(set(backbone.stage_names)) == len(backbone.stage_names) == len(backbone.stage_channels)
        assert [len(part) for part in backbone.normalization] == [3, 3]
        assert all(isinstance(part, int) and part > 0 for part in backbone.default_clip)

    @pytest.mark.parametrize("frames", [1, 4, 7])
    def test_a_logit_for_every_frame_of_any_number_of_clips(self, name, frames):
        model = built(name)
        pair = clips(2, frames)
        with torch.no_grad():
            together, alone = model(pair), model(pair[:1])
        assert together.shape == (2, CLASSES, frames) and alone.shape == (1, CLASSES, frames)
        assert together.isfinite().all()
        torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-3)

    def test_stages_have_their_names_channels_and_strides_and_the_last_ones_mean_is_the_features(self, name):
        backbone = built(name).backbone
        frames = clips(1, 5)
        strides = getattr(backbone, "stage_strides", (backbone.temporal_stride,) * len(backbone.stage_names))
        assert strides[-1] == backbone.temporal_stride
        with torch.no_grad():
            stages = backbone.forward_stages(frames, backbone.stage_names)
            features = backbone.forward_features(frames)
            one = backbone.forward_stages(frames, backbone.stage_names[:1])
        assert tuple(stages) == backbone.stage_names
        for stage, channels, stride in zip(stages.values(), backbone.stage_channels, strides, strict=True):
            assert stage.ndim == 5 and stage.shape[:3] == (1, channels, steps(5, stride))
        torch.testing.assert_close(stages[backbone.stage_names[-1]].mean((3, 4)), features, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one, {backbone.stage_names[0]: stages[backbone.stage_names[0]]})
        if name == PLUGIN:  # the commands look a name up before they ask for it
            return
        with pytest.raises(ConfigError, match=f"Unknown stage 'x'. Known: {backbone.stage_names[0]}"):
            backbone.forward_stages(frames, ("x",))

    @pytest.mark.parametrize(("batch", "frames", "bf16"), [(2, 5, False), (1, 3, True)], ids=["fp32", "alone in bf16"])
    def test_every_parameter_is_trained(self, name, batch, frames, bf16):
        model = built(name).train()
        size = SIZE if batch > 1 else ALONE.get(name, SIZE + 1)
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(clips(batch, frames, size=size))
            (logits * torch.randn(batch, CLASSES, frames)).sum().backward()
            for parameter in model.parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all()
            first = next(parameter for parameter in model.backbone.parameters() if parameter.ndim >= 4)
            assert first.grad.abs().max() > 1e-6  # the pixels' own convolution
        finally:
            model.zero_grad()
            model.eval()

    def test_bf16_autocast(self, name):
        model, frames = built(name), clips(1, 2)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            rough = model(frames)
        with torch.no_grad():
            exact = model(frames)
        assert rough.isfinite().all()
        scale = exact.abs().max().clamp(min=1e-3)
        assert (rough.float() - exact).abs().max() < 0.15 * scale

    def test_the_state_dict_comes_back(self, name):
        model, frames = built(name), clips(1)
        with torch.device("meta"):  # nothing but what the state dict holds can be in it
            other = create_model(name, CLASSES).eval()
        other.load_state_dict(model.state_dict(), assign=True)
        with torch.no_grad():
            torch.testing.assert_close(other(frames), model(frames), atol=1e-6, rtol=1e-5)

    def test_it_compiles_without_graph_break(self, name):
        if name in TRACED_AS:
            pytest.skip(f"{TRACED_AS[name]} is traced for it")
        torch.compiler.reset()
        model, frames = shallow(name), clips()
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, backend="eager")(frames)
            torch.testing.assert_close(compiled, model(frames), atol=1e-5, rtol=1e-4)

    def test_it_exports(self, name):
        if name in TRACED_AS:
            pytest.skip(f"{TRACED_AS[name]} is traced for it")
        # 12 frames: of a number of steps that is 1, tracing makes a constant
        model, frames = shallow(name), clips(2, 4 if name in ONE_LENGTH else 12)
        length = None if name in ONE_LENGTH else torch.export.Dim.AUTO
        sizes = ({0: torch.export.Dim("batch", min=1, max=8), 2: length},)
        with torch.no_grad():
            exported = torch.export.export(model, (frames,), dynamic_shapes=sizes).module()
            torch.testing.assert_close(exported(frames), model(frames), atol=1e-5, rtol=1e-4)
            others = clips(4, 4 if name in ONE_LENGTH else 20)
            torch.testing.assert_close(exported(others), model(others), atol=1e-5, rtol=1e-4)
            if name in ONE_LENGTH:
                with pytest.raises((AssertionError, RuntimeError), match=OTHER_LENGTH):
                    exported(clips(2, 8))
