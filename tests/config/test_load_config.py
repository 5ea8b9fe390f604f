import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.config.commands import COMMANDS, EvaluateConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import (
    all_keys,
    load_config,
    merge,
    nest,
    parse_overrides,
    parse_value,
    to_plain,
    to_yaml,
)
from ssdet_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2E3", 2000.0),
        (".5", 0.5),
        ("-3", -3),
        ("1:30", "1:30"),
        ("localhost:29500", "localhost:29500"),
        ("0,1", "0,1"),
        ("[0.5, 1]", [0.5, 1]),
        ("null", None),
        ("true", True),
        ("a: b: c", "a: b: c"),
        ("", None),
    ],
)
def test_values_are_read_as_people_mean_them(text, value):
    got = parse_value(text)
    assert got == value
    assert type(got) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None, max_examples=50)
def test_every_float_survives_the_command_line(number):
    assert float(parse_value(repr(number))) == number


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("optim:\n  lr: 1e-3\n  weight_decay: 1e-2\n")
    cfg = load_config(PretrainConfig, str(file), ["optim.lr=0.5"])
    assert (cfg.optim.lr, cfg.optim.weight_decay, cfg.optim.momentum) == (0.5, 0.01, 0.9)


def test_a_flag_and_the_same_key_contradict_each_other():
    with pytest.raises(ConfigError, match=r"run\.seed is given as a flag and as run\.seed=\.\.\."):
        load_config(PretrainConfig, None, ["run.seed=1"], {"run.seed": 2})


def test_flags_that_are_not_given_change_nothing():
    assert load_config(PretrainConfig, flags={"run.seed": None}) == PretrainConfig()


def test_all_mistakes_are_told_in_one_line():
    with pytest.raises(ConfigError) as caught:
        load_config(PretrainConfig, None, ["optm.lr=1", "loop.steps=0", "clip.scales=[2]"])
    message = str(caught.value)
    assert "\n" not in message
    assert "unknown key 'optm'" in message or "unknown key 'optm.lr'" in message
    assert "loop.steps=0" in message
    assert "clip.scales=[2.0]" in message


def test_an_unknown_key_of_a_file_names_the_file_and_the_nearest_key(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("clip: {frame: 8}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: unknown key 'clip\.frame'\. Did you mean 'clip\.frames'\?"):
        load_config(PretrainConfig, str(file))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- 1\n- 2\n", "not a list"),
        (b"a: [\n", r"mine\.yaml, line 2, column 1: this is not YAML \(.*node content"),
        (b"\xff\xfe\x00", "Cannot read configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, content, expected):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_config(PretrainConfig, str(file))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config(PretrainConfig, str(tmp_path / "empty.yaml")) == PretrainConfig()


@pytest.mark.parametrize("word", ["lr", "=3", "-lr=3"])
def test_a_word_that_is_no_override_is_refused(word):
    with pytest.raises(ConfigError, match=r"overrides look like optim\.lr=0\.02"):
        parse_overrides([word])


def test_a_key_given_twice_is_refused():
    with pytest.raises(ConfigError, match="run.seed is given twice"):
        parse_overrides(["run.seed=1", "run.seed=2"])


def test_nesting_and_merging_keep_what_is_not_named():
    assert nest("a.b", 1) == {"a": {"b": 1}}
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}}) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert merge({"a": None}, {"a": {"b": 5}}) == {"a": {"b": 5}}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_yaml_of_a_configuration_loads_as_the_same_configuration(command, tmp_path):
    changed = load_config(COMMANDS[command], None, ["run.seed=7", "run.output=a b/c", "data.videos='1:30'"])
    (tmp_path / "config.yaml").write_text(to_yaml(changed))
    assert load_config(COMMANDS[command], str(tmp_path / "config.yaml")) == changed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_has_a_sentence(command):
    for line in to_yaml(COMMANDS[command]()).splitlines():
        assert line.endswith(":") or "  # " in line, line


def test_plain_values_hold_no_objects():
    plain = to_plain(load_config(FinetuneConfig, None, ["run.output=x"]))
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain


def test_keys_of_an_optional_section_are_known():
    assert "data.annotations" in all_keys(EvaluateConfig)
    assert "augment.methods" in all_keys(PretrainConfig)
    cfg = load_config(EvaluateConfig, None, ["data.annotations=t.csv"])
    assert str(cfg.data.annotations) == "t.csv"
