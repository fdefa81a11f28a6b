"""All checks, in the order in which one mistake explains the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from nanochat.check.alignment import data_slicing, target_alignment
from nanochat.check.axis import attention_axis
from nanochat.check.base import Result, failed, not_applicable
from nanochat.check.causality import causality
from nanochat.check.costs import flops, parameters, state_bytes
from nanochat.check.dead import dead_parameters
from nanochat.check.invariance import accumulation, batch_independence, determinism, packed_documents, prefill_and_step
from nanochat.check.learning import first_loss, gradients, learning_rate
from nanochat.check.output_norm import output_norm
from nanochat.check.subject import Subject


class Check(NamedTuple):
    """One check. needs: names of the checks without which it would only repeat in other words what they found ·
    tokens: the shortest sequences on which there is something to see."""

    name: str
    run: Callable[[Subject], Result]
    needs: tuple[str, ...] = ()
    tokens: int = 1


CHECKS = (
    Check("data slicing", data_slicing),
    Check("target alignment", target_alignment),
    Check("attention axis", attention_axis, tokens=8),
    Check("causality", causality, needs=("attention axis",), tokens=2),
    Check("output norm", output_norm, needs=("attention axis",)),
    Check("batch independence", batch_independence, needs=("attention axis",)),
    Check("loss at step 0", first_loss, needs=("target alignment",)),
    Check("gradients", gradients, tokens=2),
    Check("learning rate", learning_rate, needs=("gradients",)),
    Check("dead parameters", dead_parameters, needs=("attention axis",), tokens=2),
    Check("prefill and steps", prefill_and_step, needs=("attention axis", "causality"), tokens=2),
    Check("packed documents", packed_documents, needs=("attention axis", "causality"), tokens=2),
    Check("accumulation", accumulation, needs=("attention axis", "batch independence")),
    Check("determinism", determinism),
    Check("parameters", parameters),
    Check("state bytes", state_bytes),
    Check("FLOPs", flops),
)


def examine(subject: Subject) -> Iterator[tuple[str, Result]]:
    """Carry out every check; yields its name and its result. What a check raises is a failure that it reports."""
    failures: set[str] = set()
    for check in CHECKS:
        wrong = [name for name in check.needs if name in failures]
        if wrong:
            result = not_applicable(f"to be judged once '{wrong[0]}' is right")
        elif subject.time < check.tokens:
            result = not_applicable(f"needs sequences of {check.tokens} tokens")
        else:
            result = carry_out(check, subject)
        if result.status == "failed":
            failures.add(check.name)
        yield check.name, result


def carry_out(check: Check, subject: Subject) -> Result:
    """The check's result; an error in the component is one, too."""
    try:
        return check.run(subject)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return failed(f"{type(error).__name__}: {first}", "The component raised this; the other checks may say where.")
