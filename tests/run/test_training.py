"""Training: accumulation, resuming, divergence, what a run leaves behind."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from nanochat.core.errors import MachineError, SpecError
from nanochat.data.corpus import prepare
from nanochat.data.sequences import Sequences
from nanochat.eval.record import read_record
from nanochat.logger.csv import COLUMNS, read
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder, identify
from nanochat.run.train import build_module, validation_steps
from nanochat.trainer.control import Silent
from nanochat.trainer.module import Batch
from tests.runs import run_small, small


class StopAt(Silent):
    """Asks to stop once `tokens` have been trained on."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.seen = 0

    def progress(self, phase, *, tokens, total, loss=None, bpb=None):
        self.seen = tokens

    def stop_requested(self) -> bool:
        return self.seen >= self.tokens


def first_batch(spec, how) -> Batch:
    corpus = prepare(spec.data, spec.tokenizer, cache=how.paths.cache, context=spec.context)
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    return Batch(*map(torch.from_numpy, sequences.batch(0, spec.batch.tokens // spec.context)))


def gradients(folder, *overrides) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    spec, how = small(folder, *overrides)
    module = build_module(spec)
    module.manual_backward = lambda loss: loss.backward()
    measured = module.accumulate(first_batch(spec, how))
    return measured, {name: p.grad for name, p in module.model.named_parameters() if p.grad is not None}


# Parts that draw noise, couple tokens or act between steps: what resuming and accumulating could go wrong with.
DELICATE = [
    (),
    ("ffn=moe",),
    ("ffn=moe", "ffn.router=sigmoid"),
    ("ffn=moe", "ffn.router=gumbel"),
    ("model.dropout=0.2",),
    ("objective=mtp", "objective.ahead=2"),
    ("model.value_embeddings=all", "model.residual_scalars=true"),
]


@pytest.mark.parametrize("parts", DELICATE, ids=" ".join)
@pytest.mark.parametrize("isolate", ["true", "false"])
def test_accumulated_is_the_large_batch(tmp_path, parts, isolate):
    """Gradients and loss of eight micro-batches of one sequence are those of one batch of eight."""
    overrides = (*parts, f"batch.isolate={isolate}")
    whole, expected = gradients(tmp_path, *overrides, "batch.micro=8")
    parts, found = gradients(tmp_path, *overrides, "batch.micro=1")
    assert parts["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-5)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-7)


def test_the_loss_is_that_of_the_next_token(tmp_path):
    """The logged loss equals a cross-entropy written by hand from inputs and the tokens one further on."""
    spec, how = small(tmp_path)
    batch = first_batch(spec, how)
    module = build_module(spec)
    module.manual_backward = lambda loss: None
    with torch.no_grad():
        log_p = module.model(batch.tokens[:, :-1]).logits.log_softmax(-1)
    by_hand = -sum(
        log_p[row, place, batch.tokens[row, place + 1]].item()
        for row in range(batch.tokens.shape[0])
        for place in range(spec.context)
    ) / (batch.tokens.shape[0] * spec.context)
    assert module.accumulate(batch)["train_loss"] == pytest.approx(by_hand, rel=1e-5)


def test_a_run_leaves_its_files(tmp_path):
    result, folder = run_small(tmp_path)
    assert result["status"] == "complete"
    assert result["tokens"] == 8 * 256
    assert result["coverage"]["epochs"] == pytest.approx(2048 / result["coverage"]["train_tokens"])
    rows = read(folder.path / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert set(COLUMNS) <= set(rows[0])
    assert [row["step"] for row in rows if row["valid_bpb"] is not None] == [4, 8]
    assert rows[-1]["valid_bpb"] == result["valid"]["bpb"]
    # A validation comes with the logits behind it: those of a model that has barely trained are near to uniform.
    assert [row["step"] for row in rows if row["logit_entropy"] is not None] == [4, 8]
    assert rows[-1]["logit_entropy"] == pytest.approx(math.log(257), rel=0.1)
    assert rows[-1]["logit_max"] > rows[-1]["logit_mean"] + rows[-1]["logit_sd"] > rows[-1]["logit_mean"]
    scores = read_record(folder.record_file)
    assert scores.bits_per_byte == result["test"]["bpb"]
    assert result["test"]["perplexity"] == pytest.approx(math.exp(result["test"]["loss"]))
    assert "first batch" in folder.log_file.read_text()
    assert result["reference"]["entropy_bpb"] < result["test"]["bpb"]
    assert not folder.state_file.exists()


def test_training_learns(tmp_path):
    """More steps score better than a model that only knows how often each token occurs."""
    result, _ = run_small(tmp_path, "stop.steps=120", "lr.peak=0.01", "eval.evaluations=1")
    assert result["test"]["bpb"] < result["reference"]["unigram_bpb"] - 0.5


@pytest.mark.parametrize("parts", DELICATE, ids=" ".join)
@pytest.mark.parametrize("stops", [[256], [768, 1280]])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, stops, parts):
    expected, whole = run_small(tmp_path / "whole", *parts)
    for tokens in stops:
        stopped, _ = run_small(tmp_path / "parts", *parts, control=StopAt(tokens))
        assert (stopped["status"], stopped["tokens"]) == ("stopped", tokens)
    found, resumed = run_small(tmp_path / "parts", *parts)
    assert found["test"] == expected["test"]
    a, b = load_file(whole.model_file), load_file(resumed.model_file)
    assert all(torch.equal(a[name], b[name]) for name in a)
    timings = {"seconds", "tokens_per_second", "memory_mib"}
    rows = [
        [{k: v for k, v in row.items() if k not in timings} for row in read(folder.path / "metrics.csv")]
        for folder in (whole, resumed)
    ]
    assert rows[0] == rows[1]
    assert read_record(whole.record_file).nats == read_record(resumed.record_file).nats


def test_checkpoints_hold_nothing_but_tensors_and_plain_data(tmp_path):
    _, folder = run_small(tmp_path, control=StopAt(512))
    state = torch.load(folder.state_file, weights_only=True)
    assert state["global_step"] == 2


def test_the_same_command_twice_trains_once(tmp_path):
    first, folder = run_small(tmp_path)
    before = folder.model_file.stat().st_mtime_ns
    again, _ = run_small(tmp_path)
    assert again == first
    assert folder.model_file.stat().st_mtime_ns == before


def test_divergence_is_a_status(tmp_path):
    result, folder = run_small(tmp_path, "lr.peak=1e30", "lr.warmup=0.0", "grad_clip=null")
    assert result["status"] == "diverged"
    assert "step" in result["reason"]
    assert folder.result() == result
    assert run_small(tmp_path, "lr.peak=1e30", "lr.warmup=0.0", "grad_clip=null")[0] == result


def test_a_failure_is_a_status_with_its_reason(tmp_path, monkeypatch):
    def explode(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("nanochat.run.train.fit", explode)
    result, folder = run_small(tmp_path)
    assert result["status"] == "oom"
    monkeypatch.setattr("nanochat.run.train.fit", lambda *a, **k: 1 / 0)
    result, folder = run_small(tmp_path)
    assert result["status"] == "failed"
    assert "ZeroDivisionError" in result["reason"]
    assert "Traceback" in folder.log_file.read_text()
    assert (result["steps"], result["tokens"]) == (0, 0)
    monkeypatch.undo()
    assert run_small(tmp_path)[0]["status"] == "complete"


def test_a_failed_run_says_how_far_it_came_and_why(tmp_path, monkeypatch):
    """Its log says why, and is shown; a process that died without a word left only what it printed."""
    assert run_small(tmp_path, control=StopAt(768))[0]["status"] == "stopped"
    monkeypatch.setattr("nanochat.trainer.callbacks.guard.Guard.on_train_batch_end", lambda *a: 1 / 0)
    result, folder = run_small(tmp_path)
    assert (result["status"], result["steps"], result["tokens"], result["micro"]) == ("failed", 3, 768, 8)
    folder.output_file.write_text("a warning\nFatal Python error: Segmentation fault\n")
    shown = folder.tail()
    assert "division by zero" in shown and "Segmentation fault" not in shown and len(shown.splitlines()) == 12
    folder.result_file.unlink()
    assert folder.tail(1).endswith("\nFatal Python error: Segmentation fault")
    assert RunFolder(tmp_path / "nothing").tail() == ""


def test_code_that_changed_is_met_by_the_rule(tmp_path, monkeypatch):
    first, folder = run_small(tmp_path)
    monkeypatch.setattr("nanochat.run.execute.changed_files", lambda then, now: ["model/block.py"])
    with pytest.raises(SpecError, match=r"model/block\.py"):
        run_small(tmp_path)
    assert run_small(tmp_path, "code=accept")[0] == first
    before = folder.model_file.stat().st_mtime_ns
    assert run_small(tmp_path, "code=rerun")[0]["test"] == first["test"]
    assert folder.model_file.stat().st_mtime_ns > before


def test_a_mistake_in_the_texts_leaves_nothing_to_trust(tmp_path):
    spec, how = small(tmp_path, "context=256", "data.count=10", "data.length=4")
    folder = RunFolder(how.paths.runs / identify(spec, cache=how.paths.cache))
    with pytest.raises(SpecError, match=r"data|context"):
        execute(spec, settings=how, control=Silent())
    assert folder.description() is None
    assert folder.result() is None


def test_an_unwritable_place_is_said_plainly(tmp_path):
    (tmp_path / "multirun").write_text("a file, not a folder")
    with pytest.raises(MachineError, match="cannot be written"):
        run_small(tmp_path)


def test_validations_are_evenly_spaced_and_end_with_the_run(tmp_path):
    spec, _ = small(tmp_path, "stop.steps=100", "eval.evaluations=4")
    assert validation_steps(spec) == {25, 50, 75, 100}
    spec, _ = small(tmp_path, "stop.steps=2", "eval.evaluations=10")
    assert validation_steps(spec) == {1, 2}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stop.steps=8", "stop.tokens=100"], "exactly one"),
        (["stop.steps=null"], "exactly one"),
        (["batch.tokens=100"], "multiple of context"),
        (["batch.micro=3"], "must divide"),
        (["lr.peak=0"], r"lr\.peak"),
        (["lr.peak=.nan"], r"lr\.peak"),
        (["attention.kv_heads=3"], r"attention\.kv_heads=3: must divide .*heads=4; try 1, 2 or 4"),
        (["trainer.precision=bf16"], "on CPU"),
        (["model.dim=wide"], r"model\.dim"),
        (["eval.overlap=32"], r"eval\.overlap"),
    ],
)
def test_bad_input_is_refused_by_its_key(tmp_path, overrides, message):
    with pytest.raises(SpecError, match=message):
        small(tmp_path, *overrides)


def test_a_validation_can_leave_a_greedy_sample(tmp_path):
    """In the log alone: it changes nothing of the run."""
    plain, _ = run_small(tmp_path / "plain")
    result, folder = run_small(tmp_path / "samples", "samples=5")
    assert result["test"] == plain["test"] and result["key"] == plain["key"]
    lines = [line for line in folder.log_file.read_text().splitlines() if "greedy sample: " in line]
    assert len(lines) == 2
    rows = read(folder.path / "metrics.csv")
    assert 0 < rows[-1]["valid_confidence"] < 1 and 0 <= rows[-1]["valid_accuracy"] <= 1
