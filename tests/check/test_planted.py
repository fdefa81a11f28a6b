"""Each mistake, planted in a component of ones own, is named; and no other is named beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check.checks import ATTENTION, FFN, check, failures, own, plant


@pytest.fixture(autouse=True)
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, monkeypatch)


@pytest.mark.parametrize("position", ["rope", "none"])
def test_a_component_of_ones_own_without_mistake_passes(tmp_path, position):
    sections = {"attention": own("RightAttentionSpec", **ATTENTION), "ffn": own("RightFFNSpec", **FFN)}
    results = check(tmp_path, f"position={position}", **sections)
    assert {result.status for result in results.values()} == {"passed"}, failures(results)


def test_norms_inside_an_ffn_are_none_on_its_output(tmp_path):
    assert failures(check(tmp_path, ffn=own("InnerNormsFFNSpec", **FFN))) == {}


@pytest.mark.parametrize("position", ["rope", "none"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OverQueriesSpec", "its weights sum to one over the queries"),
        ("OverQueriesNoMaskSpec", "its weights sum to one over the queries"),
        ("OverHeadsSpec", "its weights do not sum to one over the keys"),
        ("OverHeadsInfinitySpec", "its output is no number except for the last token"),
        ("OverHeadsAfterwardsSpec", "its weights do not sum to one over the keys: equal tokens add up"),
        ("OverBatchSpec", "the softmax is over the batch"),
        ("WithinTokenSpec", "no token reads any other token of its sequence"),
    ],
)
def test_attention_over_the_wrong_axis(tmp_path, name, said, position):
    found = failures(check(tmp_path, f"position={position}", attention=own(name, **ATTENTION)))
    [first, *rest] = found
    assert first == "attention axis"
    assert found[first].startswith("the attention of block 0 attends over the wrong axis: ") and said in found[first]
    # What is no number, nothing else can be judged by.
    assert not rest or name == "OverHeadsInfinitySpec"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoMaskSpec", "no causal mask"),
        ("ShiftedMaskSpec", "the causal mask is shifted (a token reads up to 1 tokens ahead)"),
        ("WrongWayMaskSpec", "the causal mask is the wrong way round"),
    ],
)
def test_a_causal_mask_that_is_missing_or_wrong(tmp_path, name, said):
    found = failures(check(tmp_path, attention=own(name, **ATTENTION)))
    assert list(found) == ["causality"]
    assert found["causality"].startswith(f"the attention of block 0 reads the future: {said}")


def test_an_ffn_that_mixes_tokens(tmp_path):
    found = failures(check(tmp_path, ffn=own("MixingFFNSpec", **FFN)))
    assert list(found) == ["causality"] and "the FFN of block 0 mixes tokens" in found["causality"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OwnInputSpec", "position t is asked for token t, its own input"),
        ("TwoAheadSpec", "position t is asked for token t+2, not the next one"),
        ("ShiftedTwiceSpec", "position t is asked for token t+2, not the next one (the objective's measure()"),
    ],
)
def test_targets_that_are_misaligned(tmp_path, name, said):
    found = failures(check(tmp_path, objective=own(name)))
    assert list(found) == ["target alignment"]
    assert found["target alignment"].startswith(f"input and target are misaligned: {said}")


def test_documents_that_are_windows_into_each_other(tmp_path):
    found = failures(check(tmp_path, data=own("SlidingSpec", valid=0.1, test=0.1)))
    assert list(found) == ["data slicing"]
    assert "input and target misaligned" in found["data slicing"]


@pytest.mark.parametrize(
    ("section", "name", "placement"),
    [
        ("ffn", "NormedFFNSpec", "pre"),
        ("ffn", "NormedFFNSpec", "post"),
        ("ffn", "NormedFFNSpec", "sandwich"),
        ("ffn", "LayerNormedFFNSpec", "pre"),
        ("attention", "NormedAttentionSpec", "pre"),
    ],
)
def test_a_norm_on_the_output_of_a_branch(tmp_path, section, name, placement):
    what = "FFN" if section == "ffn" else section
    fields = ATTENTION if section == "attention" else FFN
    found = failures(check(tmp_path, f"norm.placement={placement}", **{section: own(name, **fields)}))
    assert list(found) == ["output norm"]
    assert found["output norm"].startswith(f"a norm on the {what} output: what the {what} of block 0 adds")


def test_a_rate_too_low_without_a_schedule(tmp_path):
    factors = {"embedding": 1.0, "hidden": 1.0, "head": 1.0, "vector": 1.0}
    lr = own("FlatSpec", peak=1e-5, warmup=0.0, factors=factors)
    results = check(tmp_path, "stop.steps=400", lr=lr)
    assert list(failures(results)) == ["learning rate"]
    said = results["learning rate"]
    assert said.found.startswith("the rate is too low: lr.peak=1e-05 moved the loss on one batch by 0.")
    assert "has no warm-up and no decay" in said.remedy


def test_a_rate_too_high(tmp_path):
    found = failures(check(tmp_path, "lr.peak=3", "grad_clip=null"))
    assert list(found) == ["learning rate"] and "the rate is too high" in found["learning rate"]


@pytest.mark.parametrize(
    ("sections", "name", "said"),
    [
        ({"ffn": own("CoupledFFNSpec", **FFN)}, "batch independence", "the FFN of block 0 reads other sequences"),
        ({"ffn": own("DetachedFFNSpec", **FFN)}, "gradients", "reaches blocks.0.ffn.down.weight, blocks.0.ffn.up"),
        ({"ffn": own("NoisyFFNSpec", **FFN)}, "determinism", "torch's global generator"),
        ({"ffn": own("MiscountedFFNSpec", **FFN)}, "parameters", "the Specs say"),
        ({"objective": own("MeanSpec")}, "accumulation", "differ from the large batch's"),
    ],
)
def test_other_mistakes(tmp_path, sections, name, said):
    found = failures(check(tmp_path, **sections))
    assert said in found[name]
