"""`trainer=cpu|gpu|auto|ddp|fsdp`: the device, its precision and its threads; what several of them do."""

from __future__ import annotations

from typing import Literal, Self

from nanochat.core.device import cores, resolve_device
from nanochat.core.errors import spec_error
from nanochat.core.spec import Count, Spec


class TrainerSpec(Spec):
    """On what, and in what precision, a run computes. All of it can change the last bits: it is in the key.

    strategy: what several ranks share, where a run is spread over them. single: nothing, it is one process · ddp: the
    batch, each rank having the whole model · fsdp: the batch, and every parameter cut in parts. How many ranks there
    are is no part of the run.
    """

    device: Literal["auto", "cpu", "cuda"]
    strategy: Literal["single", "ddp", "fsdp"]
    precision: Literal["fp32", "bf16"] | None
    threads: Count | None
    micro_tokens: Count | None
    compile: bool

    def resolve(self) -> Self:
        """Fill device, precision (bf16 on a GPU, fp32 on CPU), threads (every core) and tokens per forward pass."""
        device = resolve_device(self.device)
        if device == "cpu" and self.precision == "bf16":
            raise spec_error(
                "precision", "bf16", "is for GPUs; on CPU it is slower than fp32", "use trainer.precision=fp32"
            )
        return self.replace(
            device=device,
            precision=self.precision or ("bf16" if device == "cuda" else "fp32"),
            threads=self.threads or cores(),
            micro_tokens=self.micro_tokens or (65536 if device == "cuda" else 16384),
        )
