"""Foreign weights for tests: random networks as plain dicts, each repository's names for them, and what they compute.

A network here is `{module: {entry: tensor}}` under neutral module names; a writer turns it into one repository's state
dict, from that repository's own names. `x3d_stages` and `slowfast_stages` run it with nothing but `F.conv3d` and
arithmetic, on (B, C, T, H, W).
"""

import torch
from torch.nn import functional as F

TINY = {"depths": (1, 2, 2, 2), "widths": (16, 24, 48, 96), "conv5": 216, "hidden": 256}
M = {"depths": (3, 5, 11, 7), "widths": (24, 48, 96, 192), "conv5": 432, "hidden": 2048}
SQUEEZE = {36: 8, 54: 8, 108: 8, 216: 16, 432: 32}


def conv(generator, outputs, inputs, *kernel):
    fan_in = inputs * torch.Size(kernel).numel()
    return {"weight": torch.randn(outputs, inputs, *kernel, generator=generator) * (2 / fan_in) ** 0.5}


def norm(generator, channels):
    def uniform(low, high):
        return torch.rand(channels, generator=generator) * (high - low) + low

    return {
        "weight": uniform(0.5, 1.2),
        "bias": uniform(-0.3, 0.3),
        "running_mean": uniform(-0.2, 0.2),
        "running_var": uniform(0.5, 1.5),
    }


def affine(generator, outputs, inputs, *ones):
    return {
        **conv(generator, outputs, inputs, *ones),
        "bias": torch.randn(outputs, generator=generator) * 0.1,
    }


def random_x3d(size, classes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    stem = size["widths"][0]
    net = {
        "stem.space": conv(draw, stem, 3, 1, 3, 3),
        "stem.time": conv(draw, stem, 1, 5, 1, 1),
        "stem.norm": norm(draw, stem),
    }
    before = stem
    for stage, (depth, width) in enumerate(zip(size["depths"], size["widths"], strict=True), start=1):
        inner = int(2.25 * width)
        for block in range(depth):
            here = f"block.{stage}.{block}"
            net[f"{here}.a"] = conv(draw, inner, width if block else before, 1, 1, 1)
            net[f"{here}.a.norm"] = norm(draw, inner)
            net[f"{here}.b"] = conv(draw, inner, 1, 3, 3, 3)
            net[f"{here}.b.norm"] = norm(draw, inner)
            if block % 2 == 0:
                net[f"{here}.reduce"] = affine(draw, SQUEEZE[inner], inner, 1, 1, 1)
                net[f"{here}.expand"] = affine(draw, inner, SQUEEZE[inner], 1, 1, 1)
            net[f"{here}.c"] = conv(draw, width, inner, 1, 1, 1)
            net[f"{here}.c.norm"] = norm(draw, width)
            if block == 0:
                net[f"{here}.shortcut"] = conv(draw, width, before, 1, 1, 1)
                net[f"{here}.shortcut.norm"] = norm(draw, width)
        before = width
    net["conv5"] = conv(draw, size["conv5"], before, 1, 1, 1)
    net["conv5.norm"] = norm(draw, size["conv5"])
    net["fc1"] = conv(draw, size["hidden"], size["conv5"], 1, 1, 1)
    net["fc2"] = affine(draw, classes, size["hidden"])
    return net


def normalised(net, module, x):
    entries = net.get(f"{module}.norm")
    if entries is None:
        return x
    weight, bias, mean, variance = (
        entries[name].view(-1, 1, 1, 1) for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def x3d_stages(net, clips):
    """Every stage's output of an X3D with its per-frame head, and the logits (B, K, T)."""
    x = F.conv3d(clips, net["stem.space"]["weight"], stride=(1, 2, 2), padding=(0, 1, 1))
    x = F.conv3d(x, net["stem.time"]["weight"], padding=(2, 0, 0), groups=x.shape[1])
    x = F.relu(normalised(net, "stem", x))
    outputs = {}
    for stage in range(1, 5):
        block = 0
        while f"block.{stage}.{block}.a" in net:
            x = x3d_block(net, f"block.{stage}.{block}", x, stride=1 if block else 2)
            block += 1
        outputs[f"layer{stage}"] = x
    outputs["conv5"] = x = F.relu(normalised(net, "conv5", F.conv3d(x, net["conv5"]["weight"])))
    hidden = F.relu(torch.einsum("bct,dc->bdt", x.mean((3, 4)), net["fc1"]["weight"].flatten(1)))
    outputs["logits"] = torch.einsum("bdt,kd->bkt", hidden, net["fc2"]["weight"]) + net["fc2"]["bias"][:, None]
    return outputs


def x3d_block(net, here, x, stride):
    space = (1, stride, stride)
    y = F.relu(normalised(net, f"{here}.a", F.conv3d(x, net[f"{here}.a"]["weight"])))
    y = F.conv3d(y, net[f"{here}.b"]["weight"], stride=space, padding=1, groups=y.shape[1])
    y = normalised(net, f"{here}.b", y)
    if f"{here}.reduce" in net:
        gate = F.conv3d(y.mean((2, 3, 4), keepdim=True), *net[f"{here}.reduce"].values())
        y = y * torch.sigmoid(F.conv3d(F.relu(gate), *net[f"{here}.expand"].values()))
    y = y * torch.sigmoid(y)
    y = normalised(net, f"{here}.c", F.conv3d(y, net[f"{here}.c"]["weight"]))
    if f"{here}.shortcut" in net:
        x = normalised(net, f"{here}.shortcut", F.conv3d(x, net[f"{here}.shortcut"]["weight"], stride=space))
    return F.relu(x + y)


X3D_NAMES = {
    "authors": (
        {
            "stem.space": "conv1_s",
            "stem.time": "conv1_t",
            "stem.norm": "bn1",
            "conv5": "conv5",
            "conv5.norm": "bn5",
            "fc1": "fc1",
            "fc2": "fc2",
        },
        lambda stage, block: f"layer{stage}.{block}",
        "conv1 bn1 conv2 bn2 fc1 fc2 conv3 bn3 downsample.0 downsample.1",
    ),
    "slowfast": (
        {
            "stem.space": "s1.pathway0_stem.conv_xy",
            "stem.time": "s1.pathway0_stem.conv",
            "stem.norm": "s1.pathway0_stem.bn",
            "conv5": "head.conv_5",
            "conv5.norm": "head.conv_5_bn",
            "fc1": "head.lin_5",
            "fc2": "head.projection",
        },
        lambda stage, block: f"s{stage + 1}.pathway0_res{block}",
        "branch2.a branch2.a_bn branch2.b branch2.b_bn branch2.se.fc1 branch2.se.fc2 branch2.c branch2.c_bn "
        "branch1 branch1_bn",
    ),
    "pytorchvideo": (
        {
            "stem.space": "blocks.0.conv.conv_t",  # the repository's names are the wrong way round
            "stem.time": "blocks.0.conv.conv_xy",
            "stem.norm": "blocks.0.norm",
            "conv5": "blocks.5.pool.pre_conv",
            "conv5.norm": "blocks.5.pool.pre_norm",
            "fc1": "blocks.5.pool.post_conv",
            "fc2": "blocks.5.proj",
        },
        lambda stage, block: f"blocks.{stage}.res_blocks.{block}",
        "branch2.conv_a branch2.norm_a branch2.conv_b branch2.norm_b.0 branch2.norm_b.1.block.0 "
        "branch2.norm_b.1.block.2 branch2.conv_c branch2.norm_c branch1_conv branch1_norm",
    ),
    "accelerator": (
        {
            "stem.space": "s1.pathway0_stem_conv_xy.kernel.conv",
            "stem.time": "s1.pathway0_stem_conv.kernel.conv",
            "stem.norm": "s1.pathway0_stem_conv.kernel.bn",
            "conv5": "head.conv_5.kernel.conv",
            "conv5.norm": "head.conv_5.kernel.bn",
            "fc1": "head.lin_5.kernel.conv",
            "fc2": "projection.model",
        },
        lambda stage, block: f"s{stage + 1}.pathway0_res{block}",
        "layers.conv_0.kernel.conv layers.conv_0.kernel.bn layers.conv_1.kernel.conv layers.conv_1.kernel.bn "
        "layers.se.se.block.0 layers.se.se.block.2 layers.conv_2.kernel.conv layers.conv_2.kernel.bn "
        "_res_proj.kernel.conv _res_proj.kernel.bn",
    ),
}
PARTS = ("a", "a.norm", "b", "b.norm", "reduce", "expand", "c", "c.norm", "shortcut", "shortcut.norm")


def x3d_module(layout, module):
    fixed, block_name, parts = X3D_NAMES[layout]
    if module in fixed:
        return fixed[module]
    _, stage, block, part = module.split(".", 3)
    return f"{block_name(int(stage), block)}.{dict(zip(PARTS, parts.split(), strict=True))[part]}"


def named(net, module_name):
    """A state dict: counters beside the statistics of every norm, as torch has them."""
    state = {}
    for module, entries in net.items():
        name = module_name(module)
        state |= {f"{name}.{entry}": tensor for entry, tensor in entries.items()}
        if "running_mean" in entries:
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


def write_x3d(net, layout):
    """The state dict of `net` in a layout that has one set of statistics per norm."""
    return named(net, lambda module: x3d_module(layout, module))


def without_first_shortcut_norm(net):
    return {module: entries for module, entries in net.items() if module != "block.1.0.shortcut.norm"}


def write_authors(net, splits=1, *, aggregated=True, flat=False, seed=3):
    """Layout of the authors' code: statistics `bn` for evaluation, `split_bn` of S·C, split after split.

    Not `aggregated`: `bn` as at the start, and the net's statistics changed in place to those that the splits make.
    `flat`: hidden layer and squeeze-excitation as matrices.
    """
    draw, state = torch.Generator().manual_seed(seed), {}
    for module, entries in net.items():
        name = x3d_module("authors", module)
        if "running_mean" not in entries:
            matrix = flat and module.rpartition(".")[2] in ("fc1", "reduce", "expand")
            state |= {
                f"{name}.{key}": value.flatten(1) if matrix and value.ndim > 1 else value
                for key, value in entries.items()
            }
            continue
        channels = len(entries["weight"])
        means = torch.randn(splits, channels, generator=draw) * 0.2
        variances = torch.rand(splits, channels, generator=draw) + 0.5
        if not aggregated:
            entries["running_mean"] = sum(means) / splits
            spread = sum((mean - entries["running_mean"]) ** 2 for mean in means) / splits
            entries["running_var"] = sum(variances) / splits + spread
        state |= {f"{name}.weight": entries["weight"], f"{name}.bias": entries["bias"]}
        state[f"{name}.bn.running_mean"] = entries["running_mean"] if aggregated else torch.zeros(channels)
        state[f"{name}.bn.running_var"] = entries["running_var"] if aggregated else torch.ones(channels)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
        state[f"{name}.split_bn.running_mean"] = means.flatten()
        state[f"{name}.split_bn.running_var"] = variances.flatten()
        state[f"{name}.split_bn.num_batches_tracked"] = torch.tensor(500)
    return state


#: Channels of the stages of `TINY`, conv5 last.
COARSE_WIDTHS = (16, 24, 48, 96, 216)


def random_coarse(classes, seed=0):
    """X3D of a coarse stream in neutral names, and the rest of the authors' state dict."""
    draw = torch.Generator().manual_seed(seed)
    state = {}

    def layer(name, outputs, inputs, *kernel):
        fan_in = inputs * torch.Size(kernel).numel()
        state[f"{name}.weight"] = torch.randn(outputs, inputs, *kernel, generator=draw) * fan_in**-0.5
        state[f"{name}.bias"] = torch.randn(outputs, generator=draw) * 0.1

    for name, outputs, time in (("conv1", 16, 3), ("conv2", 16, 3), ("conv3", 1, 1)):
        layer(f"pool_1.{name}", outputs, 16, time, 3, 3)
    for name in ("bn1", "bn2"):
        for entry, tensor in norm(draw, 16).items():
            for home in ("bn.", "split_bn.") if "running" in entry else ("",):
                state[f"pool_1.{name}.{home}{entry}"] = tensor
    for level, width in enumerate(COARSE_WIDTHS, start=2):
        layer(f"rw{level}.at1", width, width, 1)
        layer(f"rw{level}.at2", 1, width, 1)
        for name in ("fc1", "fc2", "fc3", "fc4"):
            layer(f"rw{level}.{name}", classes if level == 6 and name in ("fc2", "fc4") else width, width, 1)
    for level, width in enumerate(COARSE_WIDTHS[:4], start=2):
        layer(f"mix{level}.conv_at", width, sum(COARSE_WIDTHS[:4]), 1)
        layer(f"mix{level}.conv_at2", width, sum(COARSE_WIDTHS[:4]), 1)
    return random_x3d(TINY, classes, seed), state


SLOWFAST_DEPTHS = (3, 4, 6, 3)


def random_slowfast(lateral_kernel, classes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    net = {}
    for pathway, width in enumerate((64, 8)):
        net[f"stem.{pathway}"] = conv(draw, width, 3, (1, 5)[pathway], 7, 7)
        net[f"stem.{pathway}.norm"] = norm(draw, width)
        before = width + (16 if pathway == 0 else 0)
        for stage, depth in enumerate(SLOWFAST_DEPTHS):
            inner, outer = width * 2**stage, 4 * width * 2**stage
            time = 3 if pathway or stage >= 2 else 1
            for block in range(depth):
                here = f"block.{pathway}.{stage + 2}.{block}"
                inputs = outer if block else before
                for part, weight in (
                    ("a", (inner, inputs, time, 1, 1)),
                    ("b", (inner, inner, 1, 3, 3)),
                    ("c", (outer, inner, 1, 1, 1)),
                    *([] if block else [("shortcut", (outer, inputs, 1, 1, 1))]),
                ):
                    net[f"{here}.{part}"] = conv(draw, *weight)
                    net[f"{here}.{part}.norm"] = norm(draw, weight[0])
            before = outer + (outer // 4 if pathway == 0 else 0)
    for stage, channels in enumerate((8, 32, 64, 128), start=1):
        net[f"lateral.{stage}"] = conv(draw, 2 * channels, channels, lateral_kernel, 1, 1)
        net[f"lateral.{stage}.norm"] = norm(draw, 2 * channels)
    net["classifier"] = affine(draw, classes, 2304)
    return net


def conv_norm(net, module, x, stride=(1, 1, 1)):
    weight = net[module]["weight"]
    padding = [size // 2 for size in weight.shape[2:]]
    return normalised(net, module, F.conv3d(x, weight, stride=stride, padding=padding))


def slowfast_stages(net, clips, alpha):
    """Both pathways after every stage, and the clip network's logits (B, K) with pools as large as the maps."""
    count = clips.shape[2] // alpha
    paths = [clips[:, :, torch.linspace(0, clips.shape[2] - 1, count).long()], clips]
    for pathway in (0, 1):
        x = F.relu(conv_norm(net, f"stem.{pathway}", paths[pathway], (1, 2, 2)))
        paths[pathway] = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    outputs = {}
    for stage, depth in enumerate(SLOWFAST_DEPTHS, start=2):
        lateral = F.relu(conv_norm(net, f"lateral.{stage - 1}", paths[1], (alpha, 1, 1)))
        paths[0] = torch.cat((paths[0], lateral), 1)
        for pathway in (0, 1):
            x = paths[pathway]
            for block in range(depth):
                here, stride = f"block.{pathway}.{stage}.{block}", (1, 2, 2) if stage > 2 and block == 0 else (1, 1, 1)
                y = F.relu(conv_norm(net, f"{here}.a", x))
                y = F.relu(conv_norm(net, f"{here}.b", y, stride))
                y = conv_norm(net, f"{here}.c", y)
                x = F.relu(y + (x if block else conv_norm(net, f"{here}.shortcut", x, stride)))
            paths[pathway] = x
        outputs[f"res{stage}"] = tuple(paths)
    pooled = torch.cat([path.mean((2, 3, 4)) for path in paths], 1)
    outputs["logits"] = pooled @ net["classifier"]["weight"].T + net["classifier"]["bias"]
    return outputs


def slowfast_module(module):
    kind, *rest = module.split(".")
    leaf = "bn" if rest[-1:] == ["norm"] else "conv"
    if kind == "stem":
        return f"s1.pathway{rest[0]}_stem.{leaf}"
    if kind == "lateral":
        return f"s{rest[0]}_fuse.{'conv_f2s' if leaf == 'conv' else 'bn'}"
    if kind == "classifier":
        return "head.projection"
    pathway, stage, block, part = rest[:4]
    suffix = "_bn" if leaf == "bn" else ""
    inner = f"branch1{suffix}" if part == "shortcut" else f"branch2.{part}{suffix}"
    return f"s{stage}.pathway{pathway}_res{block}.{inner}"


def pytorchvideo_slowfast_module(module):
    kind, *rest = module.split(".")
    leaf = "norm" if rest[-1:] == ["norm"] else "conv"
    if kind == "stem":
        return f"blocks.0.multipathway_blocks.{rest[0]}.{leaf}"
    if kind == "lateral":
        fusion = f"blocks.{int(rest[0]) - 1}.multipathway_fusion"
        return f"{fusion}.{'norm' if leaf == 'norm' else 'conv_fast_to_slow'}"
    if kind == "classifier":
        return "blocks.6.proj"
    pathway, stage, block, part = rest[:4]
    inner = f"branch1_{leaf}" if part == "shortcut" else f"branch2.{leaf}_{part}"
    return f"blocks.{int(stage) - 1}.multipathway_blocks.{pathway}.res_blocks.{block}.{inner}"


def caffe2_module(module):
    """Of a SlowFast."""
    kind, *rest = module.split(".")
    suffix = "_bn" if rest[-1:] == ["norm"] else ""
    if kind == "stem":
        start = "t_" if rest[0] == "1" else ""
        return f"{start}res_conv1_bn" if suffix else f"{start}conv1"
    if kind == "lateral":
        stage = int(rest[0])
        start = "t_pool1" if stage == 1 else f"t_res{stage}_{SLOWFAST_DEPTHS[stage - 2] - 1}_branch2c_bn"
        return f"{start}_subsample{suffix}"
    if kind == "classifier":
        return "pred"
    pathway, stage, block, part = rest[:4]
    branch = "branch1" if part == "shortcut" else f"branch2{part}"
    return f"{'t_' if pathway == '1' else ''}res{stage}_{block}_{branch}{suffix}"


def caffe2_x3d_module(module):
    fixed = {
        "stem.space": "conv1_xy",
        "stem.time": "conv1",
        "stem.norm": "res_conv1_bn",
        "conv5": "conv_5",
        "conv5.norm": "conv_5_bn",
        "fc1": "lin_5",
        "fc2": "pred",
    }
    if module in fixed:
        return fixed[module]
    _, stage, block, part = module.split(".", 3)
    names = {"reduce": "branch2b_bn_fc1", "expand": "branch2b_bn_fc2", "shortcut": "branch1"}
    first, _, is_norm = part.partition(".")
    return f"res{int(stage) + 1}_{block}_{names.get(first, f'branch2{first}')}{'_bn' if is_norm else ''}"


def write_caffe2(net, module_name, stems):
    """Blobs of numpy arrays for BGR pictures, with a momentum beside some and the counters of training."""
    blobs = {"lr": 0.1, "model_iter": 5}
    entries = {"running_mean": "rm", "running_var": "riv"}
    for module, tensors in net.items():
        for entry, tensor in tensors.items():
            short = {"weight": "s", "bias": "b"} if "running_mean" in tensors else {"weight": "w", "bias": "b"}
            name = f"{module_name(module)}_{ {**entries, **short}[entry] }"
            array = (tensor.flip(1) if module in stems else tensor).numpy().copy()
            blobs[name] = array
            if array.ndim == 1:
                blobs[f"{name}_momentum"] = array * 0
    return {"blobs": blobs}
