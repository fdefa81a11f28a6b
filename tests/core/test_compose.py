"""From overrides to plain data, and what is said of overrides that do not fit."""

from __future__ import annotations

import sys

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from nanochat.core.compose import (
    CONF,
    Choice,
    Interval,
    Override,
    Values,
    blame_experiment,
    compose,
    compose_variant,
    groups,
    parse_overrides,
)
from nanochat.core.errors import SpecError, spec_error


def sweep_of(text: str):
    [override] = parse_overrides([text])
    assert override.text == text
    return override.sweep


@pytest.mark.parametrize(
    ("text", "sweep"),
    [
        ("seed=1", None),
        ("data.path='a,b.txt'", None),
        ("study.space=[a,b]", None),
        ("seed=1,2,3", Values(("1", "2", "3"))),
        ("attention=mla,gqa", Values(("mla", "gqa"))),
        ("grad_clip=null,1.0", Values(("null", "1.0"))),
        ("data.path='a b.txt','c.txt'", Values(("'a b.txt'", "'c.txt'"))),
        ("seed=range(1,4)", Values(("1", "2", "3"))),
        ("seed=range(1,8,step=3)", Values(("1", "4", "7"))),
        ("lr.peak=interval(0.5,2)", Interval(0.5, 2.0, log=False, integer=False)),
        ("lr.peak=interval(1e-4, 1e-2)", Interval(1e-4, 1e-2, log=False, integer=False)),
        ("lr.peak=tag(log, interval(1e-4, 1e-2))", Interval(1e-4, 1e-2, log=True, integer=False)),
        ("model.depth=int(interval(1, 4))", Interval(1.0, 4.0, log=False, integer=True)),
        ("model.dim=tag(log, int(interval(64, 256)))", Interval(64.0, 256.0, log=True, integer=True)),
        ("model.dim=int(tag(log, interval(64, 256)))", Interval(64.0, 256.0, log=True, integer=True)),
        ("attention=choice(mla, gqa)", Choice(("mla", "gqa"))),
        ("batch.tokens=choice(512, 1024)", Choice(("512", "1024"))),
        ("attention=choice(mla)", Choice(("mla",))),
    ],
)
def test_sweeps_are_read_in_every_form(text, sweep):
    assert sweep_of(text) == sweep


def test_overrides_keep_key_text_and_order():
    texts = ["lr.peak=tag(log, interval(1e-4, 1e-2))", "+a.b=1", "ffn@ffn.expert=mlp", "attention=mla,gqa"]
    found = parse_overrides(texts)
    assert [override.key for override in found] == ["lr.peak", "a.b", "ffn@ffn.expert", "attention"]
    assert [override.text for override in found] == texts
    assert found[1] == Override("a.b", "+a.b=1", None)


def test_a_value_of_a_sweep_composes_as_it_was_typed():
    """The texts of `Values` are overrides again: quotes are kept."""
    sweep = sweep_of("data.path='a b.txt','c,d.txt'")
    paths = [compose(["data=text", f"data.path={text}"])["data"]["path"] for text in sweep.texts]
    assert paths == ["a b.txt", "c,d.txt"]


@pytest.mark.parametrize("text", ["seed=glob(*)", "lr.peak=interval(1e-4", "lr.peak", "seed='"])
def test_what_is_no_override_is_refused(text):
    with pytest.raises(SpecError):
        parse_overrides([text])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attention=gqaa"], "attention=gqaa: no such option; did you mean 'gqa'?"),
        (["attention=zzz"], "attention=zzz: no such option; try bottleneck, gqa, "),
        (["experiment=demmo"], "experiment=demmo: no such option; did you mean 'demo'?"),
        (["atention=mla"], "atention: no such key; did you mean 'attention'?"),
        (["sead=1"], "sead: no such key; did you mean 'seed'?"),
        (["peak=1"], "peak: no such key; did you mean 'lr.peak'?"),
        (["lr.peek=1"], "lr.peek: no such key; did you mean 'lr.peak'?"),
        (["stop.token=1"], "stop.token: no such key; did you mean 'stop.tokens'?"),
        (["~lr.peek"], "lr.peek: no such key; did you mean 'lr.peak'?"),
        (["attention=mla", "attention.kv_lora_rnk=8"], "did you mean 'attention.kv_lora_rank'?"),
        (["attention=mla", "attention.kv_heads=3"], "attention.kv_heads: no such key; did you mean 'attention.heads'?"),
        (["ffn.expert.hidden=8"], "ffn.expert.hidden: no such key; try hidden"),
        (["ffn=moe", "ffn.expert.activation=gelu"], "ffn.expert.activation: no such key; try hidden"),
        (["ffn=moe", "ffn@ffn.expert=mlpp"], "ffn=mlpp: no such option; did you mean 'mlp'?"),
        (["ffn@ffn.expert=mlp"], "ffn@ffn.expert: no such key; the option that is chosen has no such part"),
        (["seed=1,2"], "seed=1,2: one run takes one value; add -m to make it a study"),
        (["seed=range(1,3)"], "one run takes one value; add -m"),
        (["lr.peak=interval(1,2)"], "lr.peak=interval(1,2): one run takes one value; add -m"),
        (["lr.peak"], "lr.peak: an override is key=value; try lr.peak=…"),
        (["lr.peak=tag(log, interval(1,2)"], "lr.peak=tag(log, interval(1,2): cannot be read; quote overrides"),
        (["seed='"], "seed=': cannot be read"),
        (["=3"], "=3: has no key"),
        (["lr=3"], "lr=3: is no name of an option; try constant, cosine"),
        (["lr=null"], "lr=null: is no name of an option"),
        (["lr=[a,b]"], "lr=[a,b]: is no name of an option"),
        (["+attention=mla"], "attention: is chosen already; leave out the +: attention=…"),
        (["seed=${nope}"], "seed: Interpolation key 'nope' not found"),
        (["seed=???"], "seed: Missing mandatory value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_explained_in_a_line(overrides, said):
    with pytest.raises(SpecError) as error:
        compose(overrides)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_composed_config_is_plain_data():
    def plain(value) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (bool, int, float, str)

    config = compose(["ffn=moe"])
    assert plain(config)
    assert "hydra" not in config
    assert config["ffn"]["expert"]["_target_"] == "nanochat.ffn.swiglu.SwiGLUSpec"


def test_groups_are_the_folders():
    assert groups() == {
        folder.name: sorted(file.stem for file in folder.iterdir()) for folder in CONF.iterdir() if folder.is_dir()
    }


def test_composing_twice_gives_the_same():
    assert compose(["attention=mla"]) == compose(["attention=mla"])
    assert not GlobalHydra.instance().is_initialized()


def test_composing_within_a_hydra_program_leaves_it_alone(tmp_path, monkeypatch):
    """As tasks and studies do: the outer program's state is the same after success and after failure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "attention=sparse", "seed=7"])
    seen = {}

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def program(config):
        outer = GlobalHydra.instance().hydra
        seen["inner"] = compose(["attention=mla"])
        with pytest.raises(SpecError):
            compose(["attention=zzz"])
        assert GlobalHydra.instance().hydra is outer
        assert HydraConfig.get().runtime.choices.attention == "sparse"
        seen["outer"] = hydra.compose("config", overrides=["seed=9"])
        seen["config"] = config

    program()
    assert seen["inner"]["attention"]["_target_"].endswith("MLASpec") and seen["inner"]["seed"] == 1
    assert seen["config"].attention._target_.endswith("SparseSpec") and seen["config"].seed == 7
    assert seen["outer"].seed == 9
    assert list(tmp_path.iterdir()) == []  # a run leaves nothing in the working folder


def test_an_experiment_is_named_for_a_key_that_outlived_its_option(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text("# @package _global_\nattention:\n  kv_heads: 2\n")
    error = spec_error("attention.kv_heads", None, "MLASpec has no such key", "did you mean 'heads'?")
    blamed = blame_experiment(error, ["experiment=x", "attention=mla"], conf=tmp_path)
    assert "conf/experiment/x.yaml sets it" in str(blamed)
    assert str(blame_experiment(error, ["attention=mla"], conf=tmp_path)) == str(error)
    assert str(blame_experiment(error, ["experiment=x", "attention.kv_heads=2"], conf=tmp_path)) == str(error)


@pytest.mark.parametrize(
    ("overrides", "values"),
    [
        ([], []),
        (["attention=mla"], ["lr.peak=0.30000000000000004", "seed=7", "attention.kv_lora_rank=8"]),
        (["ffn=moe", "lr.peak=1e-3"], ["lr.peak=2e-3", "grad_clip=null", "model.tied=false", "ffn.expert.hidden=32"]),
        (["experiment=demo"], ["stop.tokens=1e5", "paths.multirun=elsewhere"]),
    ],
)
def test_a_variant_is_what_composing_it_all_gives(overrides, values):
    assert compose_variant(overrides, values) == compose([*overrides, *values])
    assert compose_variant(overrides, []) == compose(overrides), "what is kept stays as it was"


def test_a_variant_of_a_key_that_is_not_there_is_refused_as_ever():
    with pytest.raises(SpecError, match=r"lr\.peek: no such key; did you mean 'lr\.peak'"):
        compose_variant(["attention=mla"], ["lr.peek=0.1"])
