"""No norm on what a branch adds to the residual stream, except where `norm.placement` puts one."""

from __future__ import annotations

import torch

from nanochat.check.base import Result, failed, passed
from nanochat.check.probe import normalised
from nanochat.check.subject import Part, Subject, residual_parameters


def output_norm(subject: Subject) -> Result:
    """Neither attention nor FFN normalises its own output.

    Judged on the part itself, outside of which the norms of `norm.placement` stand.
    """
    for part in subject.parts:
        if normalised(part) or indifferent(part):
            what = "FFN" if part.kind == "ffn" else "attention"
            return failed(
                f"a norm on the {what} output: what {part.name} adds to the stream has one size, whatever goes in",
                f"Take the norm out of the {what}; norms at a branch's end are norm.placement=sandwich.",
            )
    return passed("branches add outputs of their own size")


def indifferent(part: Part) -> bool:
    """Whether its output stays when its last matrix is doubled: only a norm behind that matrix does this."""
    last = residual_parameters(part.module)
    if not last:
        return False
    before = part(part.x)
    with torch.no_grad():
        for parameter in last:
            parameter.mul_(2)
        try:
            after = part(part.x)
        finally:
            for parameter in last:
                parameter.div_(2)
    return bool((after - before).norm() < 1e-2 * before.norm())
