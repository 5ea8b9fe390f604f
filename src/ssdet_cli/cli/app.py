"""The root command: what there is, and nothing imported that is not asked for."""

from typing import Annotated

import typer

from ssdet_cli import __version__
from ssdet_cli.cli.groups import SETTINGS, LazyGroup


class Root(LazyGroup):
    """`ssdet`."""

    table = {
        "pretrain": ("ssdet_cli.cli.pretrain", "Learn to detect from clips that have one label each."),
        "finetune": ("ssdet_cli.cli.finetune", "Teach a pretrained backbone to label every frame of a video."),
        "extract-features": ("ssdet_cli.cli.extract_features", "Store a backbone's features of whole videos."),
        "train-coarse-fine": (
            "ssdet_cli.cli.train_coarse_fine",
            "Train a second stream that looks where it is worth while.",
        ),
        "evaluate": ("ssdet_cli.cli.evaluate", "Score checkpoints or prediction files under a benchmark's protocol."),
        "predict": ("ssdet_cli.cli.predict", "Find what happens in a video, a folder of videos or a stream."),
        "export": ("ssdet_cli.cli.export", "Write a trained network as ONNX or for torch.export, and compare."),
        "augment-preview": ("ssdet_cli.cli.augment_preview", "Show what the volume augmentations do to a clip."),
        "demo": ("ssdet_cli.cli.demo", "Walk the whole path on generated video, on any machine."),
        "data": (
            "ssdet_cli.cli.data",
            "Generate, check, convert and cache data, and list the datasets that can be read.",
        ),
        "backbones": ("ssdet_cli.cli.backbones", "List the backbones with their sizes."),
        "weights": ("ssdet_cli.cli.weights", "Convert weights of any known origin, and say what a file is."),
        "runs": ("ssdet_cli.cli.runs", "List run folders with their state and best score, and draw the curves of one."),
        "configs": ("ssdet_cli.cli.configs", "List, show and copy the shipped configurations."),
        "doctor": ("ssdet_cli.cli.doctor", "Check this machine: packages, GPU, video readers, memory, disk."),
    }


app = typer.Typer(
    name="ssdet",
    cls=Root,
    rich_markup_mode=None,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
    epilog="First steps: ssdet doctor, then ssdet demo. Exit codes: 0 done, 1 failed while running, 2 wrong input, "
    "75 stopped by a scheduler or --max-time (--resume goes on), 130 interrupted.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ssdet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere on the line.")] = False,
) -> None:
    """Detect what happens in every frame of a video, pretrained from clips that have one label each."""
