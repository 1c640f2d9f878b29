"""YAML files and overrides become a configuration, or an error that says where, what, and the remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl.config import Config, RunConfig, StreamConfig, load, to_yaml
from cl.types import UserError


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""))
    assert config.strategies == {"finetune": {}}
    assert config.trainer["max_epochs"] == 3
    assert replace(config, strategies={}, trainer={}, run=RunConfig()) == Config()


def test_the_folder_is_named_after_the_file_unless_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "", "my.question.yaml")
    assert load(path).run.dir == "runs/my.question"
    monkeypatch.setenv("HOME", "/home/me")
    assert load(path, ["run.dir=~/x"]).run.dir == "/home/me/x"


def test_overrides_beat_the_file_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, "training: {batch_size: 4, learning_rate: 1}\nseeds: [1, 2]\n")
    config = load(path, ["training.batch_size=5", "training.batch_size=6", "seeds=[7]"])
    assert (config.training.batch_size, config.training.learning_rate, config.seeds) == (6, 1.0, [7])


@pytest.mark.parametrize(
    ("value", "parsed"),
    [("1e-3", 1e-3), ("x=y", "x=y"), ("{a: [1, b]}", {"a": [1, "b"]}), ("null", None), ("", None), ("'1'", "1")],
)
def test_override_values_are_yaml(tmp_path: Path, value: str, parsed: Any) -> None:
    assert load(written(tmp_path, ""), [f"trainer.strategy={value}"]).trainer["strategy"] == parsed


def test_overrides_reach_into_strategies_and_lists(tmp_path: Path) -> None:
    path = written(
        tmp_path, "strategies: {a: {ewc: {strength: 1}}, b: {}}\nstream: {corpora: [{name: x}, {name: y}]}\n"
    )
    config = load(path, ["strategies.a.ewc.strength=2", "strategies.c.lwf.temperature=3", "stream.corpora[1].name=z"])
    assert config.strategies == {"a": {"ewc": {"strength": 2}}, "b": {}, "c": {"lwf": {"temperature": 3}}}
    assert [corpus["name"] for corpus in config.stream.corpora] == ["x", "z"]


def test_included_files_come_first_and_may_include(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path, "training: {batch_size: 1, warmup: 0.5}\nstrategies: {a: {}}", "deep/base.yaml")
    written(tmp_path, "include: deep/base.yaml\ntraining: {batch_size: 2}", "middle.yaml")
    config = load(written(tmp_path, "include: [middle.yaml]\nstrategies: {b: {}}"))
    assert (config.training.batch_size, config.training.warmup) == (2, 0.5)
    assert list(config.strategies) == ["a", "b"]


def test_values_from_the_environment_and_from_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_TEST_ROOT", "/data")
    path = written(
        tmp_path, "stream: {root: '${oc.env:CL_TEST_ROOT}/x'}\nevaluate: {batch_size: '${seeds[0]}'}\nseeds: [4]"
    )
    config = load(path)
    assert (config.stream.root, config.evaluate.batch_size) == ("/data/x", 4)


def test_a_section_left_empty_says_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, "training:\n  # batch_size: 3\nwandb:\n")).training.batch_size == 16


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, "strategies: {a: {ewc: {strength: 1e-7}, x.Y: {name: '1e-3', flag: 'no'}}}"),
        ["stream.defaults={labels: {0: 'no', 1: '1'}}", "stream.classes_per_experience=[2, 1]", "training.patience=2"],
    )
    assert load(written(tmp_path, to_yaml(config), "again.yaml")) == config


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [1]\nstraem: {}\n", r"config.yaml:2: straem: .*Did you mean.*'stream'"),
        ("training:\n  lerning_rate: 1\n", r"config.yaml:2: training.lerning_rate: .*Did you mean.*'learning_rate'"),
        ("training:\n\n  batch_size: many\n", r"config.yaml:3: training.batch_size: is 'many': give a whole number"),
        ("training:\n  batch_size: 1.5\n", r"config.yaml:2: training.batch_size: is '1.5': give a whole"),
        ("training: 3\n", r"config.yaml:1: training is 3: write a mapping"),
        ("stream:\n  toy: small\n", r"config.yaml:2: stream.toy is 'small': write a mapping"),
        ("stream:\n  corpora: {name: x}\n", r"config.yaml:2: stream.corpora: write a list here"),
        ("stream:\n  corpora: [x]\n", r"config.yaml:2: stream.corpora"),
        ("seeds: three\n", r"config.yaml:1: seeds: "),
        ("network: {pooling: max}\n", r"config.yaml:1: network.pooling: is 'max': give one of auto, mean, first, last"),
        ("network:\n  adapter: null\n", r"config.yaml:2: network.adapter: is null, .*{} is an empty mapping"),
        ("strategies: [ewc]\n", r"config.yaml:1: strategies: write a mapping here"),
        ("seeds: [1]\nseeds: [2]\n", r"config.yaml: not valid YAML: .*duplicate key seeds"),
        ("seeds: [1\n", r"config.yaml: not valid YAML: .*line 2"),
        ("stream: {root: '${oops'}\n", r"config.yaml: not valid YAML: "),
        ("- seeds\n", r"config.yaml: holds a list, not a mapping"),
        ("42\n", r"config.yaml: cannot read: .*int"),
        ("include: other.yaml\n", r"other.yaml: no such file"),
        ("include: config.yaml\n", r"config.yaml: include: .*config.yaml includes this file in turn"),
        ("stream:\n  root: ${oc.env:CL_UNSET}/x\n", r"config.yaml:2: stream.root: .*'CL_UNSET' not found.*Set it"),
        ("stream:\n  root: ${nowhere}\n", r"config.yaml:2: stream.root: .*'nowhere' not found"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training", r"'training' is no override: write key=value"),
        ("=3", r"'=3' is no override"),
        ("training.bathc_size=3", r"training.bathc_size: .*Did you mean: 'batch_size'"),
        ("training.batch_size=x", r"'training.batch_size=x': training.batch_size: is 'x': give a whole number"),
        ("training=3", r"'training=3': training"),
        ("training.batch_size.more=3", r"training.batch_size"),
        ("seeds=[1", r"'seeds=\[1': the value is not valid YAML"),
        ("stream.root=${oc.env:CL_UNSET}", r"'stream.root=\$\{oc.env:CL_UNSET\}': stream.root: .*'CL_UNSET' not found"),
        ("stream.corpora[3].name=x", r"'stream.corpora\[3\].name=x': "),
        ("training.batch_size=-1", r"'training.batch_size=-1': training.batch_size is -1: give a number from 1 up"),
    ],
)
def test_mistakes_in_an_override(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(written(tmp_path, "training: {batch_size: 3}"), [override])


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "", "baseline.yaml")
    with pytest.raises(UserError, match=r"baselin.yaml: no such file. Did you mean .*baseline.yaml\?"):
        load(tmp_path / "baselin.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    written(tmp_path / "configs", "", "demo.yaml")
    with pytest.raises(UserError, match=r"demo: no such file. Did you mean configs/demo.yaml\?"):
        load("demo")
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"strategies: {\xe9: {}}")
    with pytest.raises(UserError, match=r"latin.yaml: (cannot read|not valid YAML)"):
        load(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: []", "seeds is .*at least one"),
        ("seeds: [1, 1]", "seeds is .*none of them twice"),
        ("seeds: [-1]", r"seeds\[0\] is -1"),
        ("stream: {limit: {train: 0}}", "stream.limit.train is 0: give a number from 1 up"),
        ("stream: {limit: {trian: 5}}", "stream.limit.trian: .*Did you mean 'train'"),
        ("stream: {hold_out: {valid: 1.5}}", r"stream.hold_out.valid is 1.5: give a number from 0 to 0.9"),
        ("stream: {hold_out: {train: 0.5}}", "stream.hold_out.train: there is no such split here"),
        ("stream: {toy: {domains: 11}}", "stream.toy.domains is 11: give a number from 0 to 10"),
        ("network: {max_length: 2}", "network.max_length is 2: give a number from 3 up"),
        ("network: {dropout: -0.1}", "network.dropout"),
        ("network: {scratch: {heads: 0}}", "network.scratch.heads is 0"),
        ("network: {scratch: {hidden: 10, heads: 4}}", "network.scratch.hidden is 10: give a multiple"),
        ("training: {batch_size: 0}", "training.batch_size is 0"),
        ("training: {learning_rate: .nan}", "training.learning_rate is nan"),
        ("training: {warmup: 2}", "training.warmup is 2.0: give a number from 0 to 1"),
        ("training: {patience: 0}", "training.patience is 0"),
        ("evaluate: {batch_size: -3}", "evaluate.batch_size is -3"),
        ("trainer: {max_epochs: 0}", "trainer.max_epochs is 0: give a whole number from 1 up"),
        ("trainer: {max_epochs: null}", "trainer.max_epochs is None"),
        ("trainer: {max_epochs: '3'}", "trainer.max_epochs is '3'"),
        ("trainer: {max_steps: -1}", "trainer.max_steps is -1"),
        ("trainer: {log_every_n_steps: 0}", "trainer.log_every_n_steps is 0"),
        ("trainer: {max_epoch: 3}", "trainer.max_epoch: .*Did you mean 'max_epochs'"),
        ("strategies: {a/b: {}}", "strategies.a/b: the name becomes a folder"),
        ("strategies: {..: {}}", r"strategies.\.\.: the name"),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"config.yaml:1: {message}"):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("run.checkpoint_steps", (0,), (-1,)),
        ("stream.limit.test", (1,), (0,)),
        ("stream.hold_out.test", (0, 0.9), (-0.1, 0.91)),
        ("stream.toy.domains", (1, 10), (-1, 11)),
        ("stream.toy.types", (0, 6), (-1, 7)),
        ("stream.toy.num_train", (1,), (0,)),
        ("stream.toy.num_test", (1,), (0,)),
        ("network.dropout", (0, 1), (-0.01, 1.01)),
        ("network.max_length", (3,), (2,)),
        ("network.scratch.layers", (1,), (0,)),
        ("training.batch_size", (1,), (0,)),
        ("training.batch_tokens", (1,), (0,)),
        ("training.learning_rate", (0,), (-0.1,)),
        ("training.head_learning_rate", (0,), (-0.1,)),
        ("training.later_learning_rate", (0,), (-0.1,)),
        ("training.momentum", (0, 1), (-0.1, 1.01)),
        ("training.weight_decay", (0,), (-0.1,)),
        ("training.warmup", (0, 1), (-0.01, 1.01)),
        ("training.patience", (1,), (0,)),
        ("evaluate.batch_size", (1,), (0,)),
    ],
)
def test_ranges_hold_to_their_edges(
    tmp_path: Path, key: str, allowed: tuple[float, ...], refused: tuple[float, ...]
) -> None:
    path = written(tmp_path, "seeds: [0]")
    for value in allowed:
        load(path, [f"{key}={value}"])
    for value in refused:
        with pytest.raises(UserError, match=rf"{key} is {value}"):
            load(path, [f"{key}={value}"])


def test_all_values_that_make_no_sense_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "training:\n  batch_size: 0\n  warmup: 0\n")
    with pytest.raises(UserError) as caught:
        load(path, ["training.warmup=-1"])
    assert str(caught.value).splitlines() == [
        f"{path}:2: training.batch_size is 0: give a number from 1 up",
        "'training.warmup=-1': training.warmup is -1.0: give a number from 0 to 1",
    ]


def test_the_schema_writes_plain_yaml() -> None:
    assert yaml.safe_load(to_yaml(Config(stream=StreamConfig(root="x"))))["stream"]["root"] == "x"


def test_an_adapter_takes_the_place_of_another_and_its_options_can_be_set(tmp_path: Path) -> None:
    """Options of one kind mean nothing to another."""
    written(tmp_path, "network: {adapter: {kind: lora, r: 4}}", "base.yaml")
    path = written(tmp_path, "include: base.yaml\nnetwork: {adapter: {kind: ia3}}")
    assert load(path).network.adapter == {"kind": "ia3"}
    assert load(tmp_path / "base.yaml", ["network.adapter.r=8"]).network.adapter == {"kind": "lora", "r": 8}
    assert load(path, ["network.adapter={kind: bitfit}"]).network.adapter == {"kind": "bitfit"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {adapter: lora}", "network.adapter: write a mapping"),
        ("network: {adapter: {kind: lora}}\ntrainer: {precision: bf16-true}", ":2: .*give bf16-mixed"),
        ("network: {dtype: bfloat16}\ntrainer: {precision: 64-true}", ":1: .*is bfloat16 and .* 64-true: give one of"),
        ("network: {quantize: {load_in_4bit: true}, backbone: x}", "network.quantize: .*do not train"),
        ("network: {quantize: {load_in_4bit: true}, adapter: {kind: lora}}", "network.quantize: .*a pretrained"),
    ],
)
def test_mistakes_about_adapters(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(written(tmp_path, text))
