"""How Lightning spreads a run over the ranks that there are. It never starts a process of its own."""

from __future__ import annotations

from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from nanochat.trainer.ranks import Ranks
from nanochat.trainer.sharded import Sharded
from nanochat.trainer.spec import TrainerSpec


def placement(spec: TrainerSpec, ranks: Ranks) -> dict[str, Any]:
    """The arguments of Lightning's Trainer that say where a run computes. A single rank is a plain process, whatever
    `strategy` says."""
    if ranks.count == 1:
        return {"devices": 1}
    assert spec.strategy != "single"
    # Buffers are the counts and biases of routers, which every rank moves by the whole batch: none is behind.
    strategy = DDPStrategy(broadcast_buffers=False) if spec.strategy == "ddp" else Sharded(ranks)
    return {
        "devices": ranks.local_count,
        "num_nodes": ranks.count // ranks.local_count,
        "strategy": strategy,
        "plugins": [Met(ranks)],
    }


class Met(ClusterEnvironment):
    """Processes that are there already and have met: Lightning would otherwise run the command line again."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise AssertionError("the ranks have met before Lightning asks where")

    @property
    def main_port(self) -> int:
        raise AssertionError("the ranks have met before Lightning asks where")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.ranks.count

    def set_world_size(self, size: int) -> None:
        assert size == self.ranks.count

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.ranks.rank

    def local_rank(self) -> int:
        return self.ranks.local

    def node_rank(self) -> int:
        return self.ranks.rank // self.ranks.local_count
