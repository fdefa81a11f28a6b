"""`-m` makes or reopens a study. Imported at every start of every Hydra program: nothing heavy at the top."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


@dataclass
class NanochatStudyConf:
    """`hydra.sweeper.params`: sweeps that an experiment file brings along, key to sweep, in Hydra's grammar."""

    _target_: str = "hydra_plugins.nanochat_study.sweeper.NanochatStudy"
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="nanochat_study", node=NanochatStudyConf, provider="nanochat")


class NanochatStudy(Sweeper):
    """Hands the overrides of a `-m` command to the study."""

    def __init__(self, params: Any) -> None:
        self.params = params
        self.config: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        from omegaconf import OmegaConf

        from nanochat.core.compose import brought, plain
        from nanochat.task.sweep import sweep

        # Hydra drops what a sweeper returns: a study that was stopped must not end as one that is done.
        launcher: Any = OmegaConf.to_container(self.config.hydra.launcher, resolve=True)
        if code := sweep(plain(self.config), brought(self.params, arguments), launcher=launcher):
            raise SystemExit(code)
