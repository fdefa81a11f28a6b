"""Whether a run can be spread over so many ranks, and which of them this process was started as."""

from __future__ import annotations

import os

import torch

from nanochat.core.errors import SpecError, alternatives, spec_error
from nanochat.core.spec import option_of
from nanochat.run.spec import RunSpec
from nanochat.trainer.ranks import Ranks


def launched() -> Ranks | None:
    """What `torchrun`, or the first rank of a run, has made of this process by its environment; None if neither."""
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= set(os.environ):
        return None
    count = int(os.environ["WORLD_SIZE"])
    return Ranks(
        rank=int(os.environ["RANK"]),
        count=count,
        local=int(os.environ["LOCAL_RANK"]),
        local_count=int(os.environ.get("LOCAL_WORLD_SIZE", count)),
    )


def check_ranks(spec: RunSpec, *, count: int, local_count: int) -> None:
    """Raises `SpecError` where `count` ranks, `local_count` on each machine, cannot compute the resolved run."""
    if count == 1:
        return
    if spec.trainer.strategy == "single":
        raise spec_error(
            "devices", count, "trainer.strategy=single is one process", "use trainer=ddp or fsdp, or devices=1"
        )
    visible = torch.cuda.device_count() if spec.trainer.device == "cuda" else local_count
    if visible < local_count:
        rule = f"each rank needs a GPU of its own, and {visible} can be seen"
        raise spec_error("devices", count, rule, f"use devices={visible}")
    _check_shares(spec, count)
    if spec.trainer.strategy == "fsdp":
        _check_sharding(spec)


def _check_shares(spec: RunSpec, count: int) -> None:
    """Every rank gets the same number of sequences, in whole forward passes."""
    sequences = spec.batch.tokens // spec.context
    if sequences % count:
        near = alternatives([n * count * spec.context for n in (sequences // count, sequences // count + 1) if n])
        rule = f"its {sequences} sequences do not divide by devices={count}"
        raise spec_error("batch.tokens", spec.batch.tokens, rule, f"try {near}")
    share, micro = sequences // count, spec.batch.micro
    assert micro is not None
    if micro < share and share % micro:
        fitting = alternatives([n for n in range(1, share + 1) if share % n == 0])
        rule = f"must divide the {share} sequences of each of devices={count}"
        raise spec_error("batch.micro", micro, rule, f"try {fitting}")


def _check_sharding(spec: RunSpec) -> None:
    """What needs whole parameters, or has some outside of the model."""
    if spec.trainer.compile:
        rule = "is not supported with trainer.strategy=fsdp"
        raise spec_error("trainer.compile", True, rule, "use trainer.compile=false or trainer=ddp")
    if spec.training_cost.params != spec.cost.params:
        rule = "trains modules beside the model, which trainer.strategy=fsdp does not shard"
        raise spec_error("objective", option_of(spec.objective), rule, "use trainer=ddp")
    try:
        spec.optimizer.check_sharded()
    except SpecError as error:
        raise error.under("optimizer") from None
