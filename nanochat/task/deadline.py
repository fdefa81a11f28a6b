"""What a deadline buys on this machine: FLOPs of training, by a few timed steps of the run."""

from __future__ import annotations

from nanochat.core.device import cores
from nanochat.core.errors import MachineError, spec_error
from nanochat.core.gpu import gpus
from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings
from nanochat.study.calibrate import Unknown, calibrate
from nanochat.study.slots import open_slots

HOUR = 3600.0


def flops_within(run: RunSpec, hours: float, *, settings: Settings) -> float:
    """The training FLOPs that a resolved run, and nothing beside it, gets done in `hours`, its start, validations and
    checkpoints taken off. Raises `SpecError` where those alone take as long."""
    trainer = run.trainer
    device = "cuda" if trainer.device == "cuda" else "cpu"
    slots = open_slots(
        device, count=1, gpus=None, per_gpu=1, devices=settings.devices, threads=trainer.threads or cores(),
        memory=lambda: training_memory(run).total, found=gpus() if device == "cuda" else [],
    )  # fmt: skip
    with slots as held:
        pace = calibrate({"run": run}, slots=held, settings=settings)["run"]
    if isinstance(pace, Unknown):
        raise MachineError(f"task.hours: how long a step takes could not be measured: {pace.reason}")
    training = run.steps * pace.step
    share = pace.save * training / settings.checkpoint / training if training else 0.0
    beside = pace.run(run, checkpoint=settings.checkpoint) - training * (1 + share)
    left = hours * HOUR - beside
    if left < pace.step:
        rule = f"start and scoring alone take {beside:.0f} seconds"
        raise spec_error("task.hours", hours, rule, "allow more time, or set eval.test_bytes")
    return left / (1 + share) / pace.step * run.batch.tokens * run.training_cost.flops
