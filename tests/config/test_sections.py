import pytest
from pydantic import ValidationError

from ssdet_cli.config.commands import (
    EvaluateConfig,
    ExtractFeaturesConfig,
    FinetuneConfig,
    PretrainConfig,
    TrainCoarseFineConfig,
)
from ssdet_cli.config.load import load_config
from ssdet_cli.config.predict import PredictConfig
from ssdet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run.nnodes=2"], "needs run.rdzv_endpoint"),
        *(
            ([f"run.rdzv_endpoint={place}"], f"run.rdzv_endpoint={place} is no host:port; write first-machine:29500")
            for place in ("first", ":29500", "first:a", "first:0", "first:65536")
        ),
        (["run.node_rank=1"], "run.node_rank=1 must be below run.nnodes=1"),
        (["run.gpus=0,1", "run.device=cpu"], "contradict each other"),
        (["clip.scales=[]"], "must be numbers above 0"),
        (["clip.scales=[0.5, 1.5]"], "must be numbers above 0 and at most 1"),
        (["optim.milestones=[0.9, 0.5]"], "must rise and lie between 0 and 1"),
        (["optim.warmup_steps=10", "loop.steps=10"], "optim.warmup_steps .10. must be smaller than loop.steps .10."),
        (["optim.lr=-1"], "optim.lr=-1"),
        (["augment.probability=1.5"], "augment.probability"),
        (["model.options.length=[3]"], r"Option length=\[3\] must be a number, a word, true, false or null"),
    ],
)
def test_contradictions_are_told_in_terms_of_keys(words, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(PretrainConfig, None, words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fine.features=a", "fine.joint=true"], "fine.features and fine.joint exclude each other"),
        (["fine.features=a", "fine.train=true"], "stored features cannot be trained"),
        (["optim.lr_scales.backbone=2"], "give optim.backbone_lr_scale"),
        (["optim.lr_scales.fusion=0"], "optim.lr_scales.fusion=0.0 must be above 0"),
    ],
)
def test_contradictions_of_two_streams_are_told_in_terms_of_keys(words, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(TrainCoarseFineConfig, None, words)


def test_a_key_of_the_command_line_is_not_blamed_on_the_file_that_is_given_too():
    with pytest.raises(ConfigError, match="^command line: multigrid is for pretrain and finetune"):
        load_config(TrainCoarseFineConfig, "generated", ["multigrid.preset=x3d"])


@pytest.mark.parametrize("place", ["first:29500", "10.0.0.7:1", "[fe80::1]:65535"])
def test_a_place_to_meet_has_a_host_and_a_port(place):
    assert load_config(PretrainConfig, flags={"run.rdzv_endpoint": place}).run.rdzv_endpoint == place


def test_fine_weights_alone_run_in_the_graph_and_features_do_not():
    def fine(*words):
        return load_config(TrainCoarseFineConfig, None, words).fine

    assert fine("fine.weights=a").in_graph and fine("fine.joint=true").in_graph
    assert not fine("fine.features=a", "fine.weights=b").in_graph
    with pytest.raises(ConfigError, match="give one of them"):
        load_config(EvaluateConfig, None, ["fine.features=a", "fine.weights=b"])


@pytest.mark.parametrize("kind", [ExtractFeaturesConfig, EvaluateConfig, PredictConfig])
def test_a_window_is_a_number_or_auto(kind):
    assert load_config(kind, None, ["inference.window=auto"]).inference.window == "auto"
    assert load_config(kind, None, ["inference.window=64"]).inference.window == 64
    for wrong in ("many", "1", "2.5", "true"):
        with pytest.raises(
            ConfigError, match="inference.window=.*: it must be a number of input frames, at least 2, or"
        ):
            load_config(kind, None, [f"inference.window={wrong}"])


def test_a_window_of_any_length_is_for_features_and_not_for_validation():
    assert ExtractFeaturesConfig().inference.window == "auto" and EvaluateConfig().inference.window == 512
    for kind in (FinetuneConfig, TrainCoarseFineConfig):
        with pytest.raises(ConfigError, match="inference.window=auto depends on the memory that is free"):
            load_config(kind, None, ["inference.window=auto"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h50m", 13800),
        ("90m", 5400),
        ("5400", 5400),
        ("1d2h", 93600),
        ("1.5h", 5400),
        ("45s", 45),
        ("1-02:00:00", 93600),
        ("1-02", 93600),
        ("02:30:00", 9000),
        ("30:00", 1800),
    ],
)
def test_a_time_is_written_with_letters_or_as_a_scheduler_writes_it(text, seconds):
    assert load_config(PretrainConfig, None, [f"loop.max_time={text}"]).loop.max_time == seconds
    assert load_config(PretrainConfig, flags={"loop.max_time": text}).loop.max_time == seconds


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("loop.max_time=soon", "loop.max_time='soon': it is no time; write 3h50m, 90m, 5400 .seconds. or 1-02:00:00"),
        ("loop.max_time=0", "loop.max_time=0: input should be greater than 0"),
        ("loop.batch_size=many", "loop.batch_size='many': it must be a number of clips, at least 1, or auto"),
        ("loop.batch_size=0", "loop.batch_size=0: it must be a number of clips, at least 1, or auto"),
        ("loop.precision=fp8", "loop.precision='fp8': input should be 'auto', 'fp32', 'tf32', 'bf16' or 'fp16'"),
    ],
)
def test_a_time_a_batch_size_or_a_precision_that_is_none_says_what_is(word, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(PretrainConfig, None, [word])


@pytest.mark.parametrize(
    ("text", "names"), [("none", ()), ("freeze, mixup", ("freeze", "mixup")), ("[cutmix]", ("cutmix",))]
)
def test_names_are_given_with_commas_as_a_list_or_none(text, names):
    flags = {"augment.methods": text} if not text.startswith("[") else None
    words = [f"augment.methods={text}"] if flags is None else []
    assert load_config(PretrainConfig, None, words, flags).augment.methods == names


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_list_of_names_is_refused_because_none_is_the_word(text):
    with pytest.raises(ConfigError, match=r"augment.methods='\s*': it is empty; write none where nothing is meant"):
        load_config(PretrainConfig, None, [], {"augment.methods": text})
    with pytest.raises(ConfigError, match="augment.methods=None: it is empty; write none"):
        load_config(PretrainConfig, None, [f"augment.methods={text}"])


def test_scales_are_given_with_commas_too():
    assert load_config(PretrainConfig, None, ["clip.scales=0.5,1"]).clip.scales == (0.5, 1.0)


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError):
        PretrainConfig().loop.steps = 3


def test_finetuning_starts_from_frame_labels():
    assert FinetuneConfig().data.dataset == "charades"
    assert load_config(FinetuneConfig, None, ["data.workers=0"]).data.dataset == "charades"
    assert load_config(EvaluateConfig, None, ["data.workers=0"]).data.dataset == "charades"
