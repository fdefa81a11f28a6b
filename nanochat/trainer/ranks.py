"""One run over several processes, each with a device of its own: which of them this is, and what they tell each other.

Every rank holds an equal share of each batch, so that the mean of what the ranks found is what the whole batch gives:
of gradients (DDP and FSDP take it), of the loss, of every metric that is a mean.
"""

# pyright: reportPrivateImportUsage=false
# torch.distributed does not list the stores that its documentation describes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

# How long one rank may keep the others waiting, e.g. for the writing of a checkpoint. That one has died is noticed
# by other means.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """rank: of this process, of `count` · local: its number among the `local_count` on this machine, and that of its
    GPU."""

    rank: int
    count: int
    local: int
    local_count: int

    @property
    def first(self) -> bool:
        """Whether this rank owns the run: it alone writes, logs and is told to stop."""
        return self.rank == 0

    def join(self, store: dist.Store, *, device: str) -> None:
        """Meet the other ranks at `store`: gloo between CPUs, NCCL between GPUs. Returns once all are there."""
        if device == "cuda":
            torch.cuda.set_device(self.local)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            store=store,
            rank=self.rank,
            world_size=self.count,
            timeout=PATIENCE,
        )

    def leave(self, *, broken: bool = False) -> None:
        """Part from the other ranks. Where something is `broken`, NCCL might wait for ranks that are gone: the process,
        which has nothing left to do then, leaves that to its own end."""
        if dist.is_initialized() and not (broken and "nccl" in dist.get_backend()):
            dist.destroy_process_group()

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value's mean over the ranks: all get the same numbers."""
        if self.count == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.count).tolist(), strict=True))

    def told(self, *decisions: bool) -> tuple[bool, ...]:
        """What the first rank decided, which every rank then does at the same step."""
        if self.count == 1:
            return decisions
        sent = torch.tensor(decisions, dtype=torch.uint8)
        dist.broadcast(sent, src=0)
        return tuple(bool(decision) for decision in sent.tolist())


ALONE = Ranks(rank=0, count=1, local=0, local_count=1)
