"""Every form of law by the name that is typed for it."""

from __future__ import annotations

from collections.abc import Mapping

from nanochat.law.accuracy import Accuracy
from nanochat.law.annealing import Annealing
from nanochat.law.clark import Clark
from nanochat.law.compute_only import ComputeOnly
from nanochat.law.form import Law
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.kaplan import Kaplan
from nanochat.law.repeated import Repeated

FORMS: Mapping[str, type[Law]] = {
    "hoffmann": Hoffmann,
    "kaplan": Kaplan,
    "repeated": Repeated,
    "annealing": Annealing,
    "clark": Clark,
    "compute_only": ComputeOnly,
    "accuracy": Accuracy,
}


def of_shape(form: type[Law]) -> bool:
    """Whether a form is a function of parameters and tokens alone: only then has compute a best shape."""
    return form.inputs == ("n", "d")
