"""`task=sample`: text from a trained model."""

from __future__ import annotations

import sys
from typing import Annotated

from pydantic import Field

from nanochat.core.spec import Count, Int
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.trained import load_trained
from nanochat.task.base import TaskSpec


class SampleSpec(TaskSpec):
    """Print the prompt and what the model continues it with.

    run: key of the run; null: the run that the rest of the command line describes · tokens: at most this many ·
    temperature: 0 takes the likeliest token · top_k: only the k likeliest are drawn; null: all.
    """

    run: str | None
    prompt: str
    tokens: Count
    temperature: Annotated[float, Field(ge=0)]
    top_k: Count | None
    seed: Int

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        key = self.run or identify(run, cache=settings.paths.cache)
        trained = load_trained(RunFolder(settings.paths.runs / key), settings=settings)
        text = trained.sample(
            self.prompt, tokens=self.tokens, temperature=self.temperature, top_k=self.top_k, seed=self.seed
        )
        sys.stdout.write(self.prompt + text + "\n")
        return 0
