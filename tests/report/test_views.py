"""Scores at equal budgets, and by kind of token, against plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nanochat.report.analysis import Analysis
from nanochat.report.frame import read_frame
from nanochat.report.views import BUDGETS, views
from nanochat.stats.documents import document_variance
from nanochat.stats.power import power
from tests.report.studies import CLEAR, FLOPS, TOKENS, collected, framed


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Analysis:
    return Analysis(read_frame(collected(tmp_path_factory.mktemp("views"), CLEAR)))


def test_a_view_is_each_curve_at_the_most_that_all_reached(found):
    frame = found.frame
    assert [view.budget for view in views(frame)] == list(BUDGETS)
    for view in views(frame):
        curves = {}
        for row in frame.complete("seed"):
            curve, points = frame.curves[row["key"]], []
            for i, bpb in enumerate(curve["valid_bpb"]):
                spent = {
                    "tokens": curve["tokens"][i],
                    "flops": curve["tokens"][i] * FLOPS / TOKENS,
                    "seconds": curve["seconds"][i],
                }
                if not math.isnan(bpb):
                    points.append((spent[view.budget], bpb))
            curves[row["arm"], row["seed"]] = points
        at = min(points[-1][0] for points in curves.values())
        assert view.at == at
        scores = {}
        for name, points in curves.items():
            for (x, y), (to, end) in itertools.pairwise(points):
                if x <= at <= to:
                    share = (math.log(at) - math.log(x)) / (math.log(to) - math.log(x))
                    scores[name] = y + share * (end - y)
        for arm in CLEAR:
            assert view.means[arm] == pytest.approx(sum(scores[arm, seed] for seed in (1, 2, 3)) / 3)
        gap = view.differences["gqa"]
        assert view.differences["mla"] is None and gap is not None
        assert gap.mean == pytest.approx(view.means["gqa"] - view.means["mla"]) and gap.confidence == 0.95


def test_without_curves_there_is_no_view():
    assert views(framed(CLEAR).frame) == []


@pytest.mark.parametrize("kind", ["length", "position", "frequency"])
def test_scores_by_kind_are_sums_over_its_bins(found, kind):
    for line in found.documents.by(kind):
        by_low: dict[float, list[float]] = {}
        for key in found.documents.keys[line.arm].values():
            part, sums = found.frame.scores[key], {}
            for i in range(len(part["kind"])):
                if part["kind"][i] == ("document" if kind == "length" else kind):
                    low = 2.0 ** math.floor(math.log2(part["bytes"][i])) if kind == "length" else part["low"][i]
                    nats, size = sums.get(low, (0.0, 0.0))
                    sums[low] = nats + part["nats"][i], size + part["bytes"][i]
            for low, (nats, size) in sums.items():
                by_low.setdefault(float(low), []).append(nats / math.log(2) / size)
        assert line.low.tolist() == sorted(by_low)
        assert line.mean == pytest.approx([np.mean(by_low[low]) for low in sorted(by_low)])
        assert line.sd == pytest.approx([np.std(by_low[low], ddof=1) for low in sorted(by_low)])


def test_calibration_is_the_gap_between_sure_and_right(found):
    # Of 60 tokens 30 are right at 0.45, of 40 tokens 36 at 0.85.
    expected = 0.6 * abs(30 / 60 - 0.45) + 0.4 * abs(36 / 40 - 0.85)
    assert found.documents.calibration_error("mla") == pytest.approx([expected] * 3)
    reliability = found.documents.reliability("mla")
    assert reliability is not None
    assert [part.tolist() for part in reliability] == [pytest.approx([0.45, 0.85]), pytest.approx([0.5, 0.9])]


def test_documents_vary_as_their_nats_say(found):
    nats = {}
    for arm in CLEAR:
        parts = [found.frame.scores[found.documents.keys[arm][seed]] for seed in (1, 2, 3)]
        nats[arm] = np.stack([part["nats"][part["kind"] == "document"] for part in parts])
    sizes = np.array([3, 10, 20, 40, 80, 100, 200, 300])
    assert found.documents.variance("mla", "gqa") == document_variance(nats["mla"], nats["gqa"], sizes=sizes)


def test_the_smallest_difference_found_is_the_one_of_the_power(found):
    noise = found.scales[0].noise
    assert noise is not None and noise.smallest is not None and noise.paired_sd is not None
    gaps = np.subtract(CLEAR["mla"], CLEAR["gqa"])
    assert noise.paired_sd == pytest.approx(gaps.std(ddof=1)) and noise.seeds == 3
    assert power(noise.smallest, noise.paired_sd, seeds=3, alpha=0.05) == pytest.approx(0.8, abs=1e-3)
    assert power(0.99 * noise.smallest, noise.paired_sd, seeds=3, alpha=0.05) < 0.8
