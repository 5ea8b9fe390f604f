"""Backbones: what turns clips into per-frame features.

A backbone is an `nn.Module` with

- `num_features`: C of its pooled features; `head_hidden`: width of the layer between features and classifier that
  belongs to this family, or None;
- `stage_names`, `stage_channels`: outputs that can be asked for by name, first to last; the last one's mean over space
  is the features;
- `temporal_stride`: input frames per feature frame;
- `normalization`: per-channel mean and standard deviation of RGB in [0, 1] that its input should be normalised with;
- `default_clip`: number of frames, raw frames from one to the next, and crop in pixels;
- `forward_features(frames)`: (B, 3, T, H, W) -> (B, C, ⌈T / temporal_stride⌉), mean over space, for any T;
- `forward_stages(frames, names)`: the named stages, each (B, C, ⌈T / stride⌉, h, w).

It may also have

- `temporal_offset`: input frame at which its first feature frame is centred, 0 without it;
- `stage_strides`: input frames per step of every stage, `temporal_stride` without it;
- `temporal_reach`: input frames before and after that any stage's step depends on; None, or absent, where that is not
  known or has no limit. Long videos then go through in windows that give what one pass gives;
- `temporal_multiple`: windows of a long video begin at multiples of it and of its strides;
- `forward_stages_in_chunks(chunks, names)`: stages of a video of any length as one pass would give them, though
  something in the network looks at all of it (see `X3D`);
- `longest_clip`: input frames beyond which whole videos go through it in windows;
- `set_norm_splits(splits)`: its batch norms take statistics of so many parts of a batch (see `layers.sub_batchnorm`);
- `published()`: the weights that its library publishes, for `--init hub` (see `models.weights.hub`);
- `own_parts`: prefixes of parameters that nobody's weights hold, which may stay as initialised.

A backbone that can trade time for memory also has `set_checkpointing(enabled)`: its blocks then keep their inputs only
and run again in the backward pass (`layers.checkpoint.recompute`); outputs, gradients and statistics stay the same.

One family is one file; a new name is one line here. No torch is imported until a backbone is asked for.
"""

from ssdet_cli.catalog import Catalog

BACKBONES = Catalog(
    "backbone",
    {
        "x3d_tiny": "ssdet_cli.models.backbones.x3d:x3d_tiny",
        "x3d_xs": "ssdet_cli.models.backbones.x3d:x3d_xs",
        "x3d_s": "ssdet_cli.models.backbones.x3d:x3d_s",
        "x3d_m": "ssdet_cli.models.backbones.x3d:x3d_m",
        "x3d_l": "ssdet_cli.models.backbones.x3d:x3d_l",
        "x3d_xl": "ssdet_cli.models.backbones.x3d:x3d_xl",
        "slowfast_r50_4x16": "ssdet_cli.models.backbones.slowfast:slowfast_r50_4x16",
        "slowfast_r50_8x8": "ssdet_cli.models.backbones.slowfast:slowfast_r50_8x8",
        **{
            f"torchvision/{name}": f"ssdet_cli.models.backbones.torchvision:{name}"
            for name in (
                "r3d_18",
                "mc3_18",
                "r2plus1d_18",
                "s3d",
                "mvit_v1_b",
                "mvit_v2_s",
                "swin3d_t",
                "swin3d_s",
                "swin3d_b",
            )
        },
    },
    aliases={"x3d": "x3d_m", "slowfast_r50": "slowfast_r50_8x8"},
    group="ssdet.backbones",
    families={"timm/": "ssdet_cli.models.backbones.timm:TimmFrames"},
)

#: What every backbone has, and what each is, for the error that names a missing one.
REQUIRED = {
    "num_features": "channels of its features",
    "head_hidden": "width of the layer between features and classifier, or None",
    "stage_names": "names of its stages",
    "stage_channels": "channels of its stages",
    "temporal_stride": "input frames per feature frame",
    "normalization": "mean and standard deviation per channel",
    "default_clip": "frames, stride and crop",
    "forward_features": "(B, 3, T, H, W) -> (B, C, steps)",
    "forward_stages": "(B, 3, T, H, W) and names -> stages",
}
