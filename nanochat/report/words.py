"""What the evidence allows to be said, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nanochat.report.analysis import Analysis, ArmFinding, Pair, ScaleFinding, TrendFinding
from nanochat.report.evidence import CONFIRMING
from nanochat.report.frame import Frame
from nanochat.report.planned import short
from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.paired import Difference

Words = str


def question(frame: Frame) -> Words:
    """What the study asks."""
    definition, arms = frame.definition, list(dict.fromkeys(arm.alone for arm in frame.definition.arms))
    tuned = f", each tuned over {listed(frame.axes)}" if frame.axes else ""
    seeds = f"on seed{'s' if len(definition.seeds) > 1 else ''} {', '.join(map(str, definition.seeds))}"
    scales = [scale for scale in dict.fromkeys(arm.scale for arm in definition.arms) if scale]
    sized = f", at {listed(scales)}" if scales else ""
    if len(arms) == 1:
        return f"How good is {arms[0]}{sized}{tuned}, {seeds}?"
    baseline = definition.reading.baseline
    if baseline is not None:
        others = "; ".join(arm for arm in arms if arm != baseline)
        return f"Is any of these better than {baseline}: {others}? Compared{sized}{tuned}, {seeds}."
    return f"Which is best: {'; '.join(arms)}? Compared{sized}{tuned}, {seeds}."


def verdict(analysis: Analysis) -> list[Words]:
    """The verdict: a sentence or two for each scale, then how the differences go with size."""
    if analysis.obstacles:
        return [f"No verdict: {reason}." for reason in analysis.obstacles]
    if not analysis.frame.test_scores:
        return [_nothing(analysis.frame)]
    found = [sentence for scale in analysis.scales for sentence in _scale(scale, analysis)]
    return [*found, *_across(analysis)]


def estimand(analysis: Analysis) -> Words:
    """What exactly a difference is, and what its interval holds."""
    reading = analysis.frame.definition.reading
    over = "a new seed and new documents like these" if reading.generalise == "documents" else "a new seed"
    paired = "the same tokens in the same order" if analysis.frame.tokenizers == 1 else "the same documents"
    rope = f" Within ±{reading.rope:g} two arms are equivalent." if reading.rope else ""
    looks = ""
    if reading.looks:
        looks = (
            f" The study looked after {listed(list(map(str, reading.looks)))} seeds, and intervals are wider for it."
        )
    count = analysis.comparisons
    adjusted = f", adjusted for {count} comparisons" if count > 1 else ""
    return (
        f"A difference is that of two arms' bits per byte on the test documents, each arm at the setting that its "
        f"tuning chose, for {over}. Arms are paired by seed: one seed reads {paired}. Intervals: paired t, "
        f"95%{adjusted}; they and the words come from one procedure, and there are none below {FEWEST_SEEDS} seeds. "
        "How many seeds would decide: in all, with a chance of 80%, were the difference the one seen."
        f"{rope}{looks}"
    )


def caveats(analysis: Analysis) -> list[Words]:
    """What limits the verdict: what is unfinished, missing, excluded, at an edge, or seen at one size only."""
    frame = analysis.frame
    found = grounds(frame)
    if len(analysis.scales) == 1 and frame.test_scores and len(frame.arms) > 1:
        size = analysis.scales[0].params
        found.append(
            f"Seen at one size{f', {short(size)} parameters,' if size else ''} only: of others nothing is said."
        )
    if frame.tokenizers > 1:
        found.append("Arms cut texts differently: they are paired by documents, not by tokens.")
    return found


def grounds(frame: Frame, *, runs: str = "confirming run") -> list[Words]:
    """What limits whatever rests on a study's runs: files, folders and runs that are not there, code and machines.
    `runs`: what those are called that count."""
    found = list(frame.missing)
    finished, total = frame.evidence.get("finished"), frame.evidence.get("total")
    if total is not None and finished is not None and finished < total:
        found.append(f"The study is not finished: {finished} of {total} runs are.")
    if finished is not None and total is None:
        found.append(
            "The study's trials lie in a database that was not named (study.storage): it stands here as the last "
            "command on this machine left it, and more runs may have finished since."
        )
    if gone := frame.evidence.get("missing"):
        some = f"s of {len(gone)} {runs}s are" if len(gone) > 1 else f" of one {runs} is"
        found.append(f"The folder{some} gone: {', '.join(gone[:3])}{' …' if gone[3:] else ''}.")
    found += [*_excluded(frame, runs=runs), *(_tuned(frame) if frame.definition.design is None else ())]
    origins = frame.evidence.get("origins", [])
    if len({(o["revision"], o["local_changes"]) for o in origins}) > 1:
        found.append(f"The {runs}s come from more than one revision of the code.")
    if len({o["machine"]["processor"] for o in origins}) > 1:
        found.append(f"The {runs}s come from more than one kind of machine; seconds are not comparable.")
    if frame.definition.round:
        found.append(f"The study was run anew {frame.definition.round} time(s), because the code had changed.")
    return found


def seeds_text(pair: Pair) -> Words:
    """How many seeds would decide an undecided comparison: `about 14`; nothing where it is decided."""
    if pair.word != "undecided" or pair.difference.low is None:
        return ""
    return "over 1,000" if pair.needed is None else f"about {pair.needed}"


def interval(gap: Difference) -> Words:
    """` [−0.0123, −0.0021]`, nothing where there is none."""
    return f" [{gap.low:+.4f}, {gap.high:+.4f}]" if gap.low is not None and gap.high is not None else ""


def difference_text(gap: Difference | None) -> Words:
    """A difference with its interval for a table."""
    return "–" if gap is None else f"{gap.mean:+.4f}{interval(gap)}"


def listed(names: Sequence[str]) -> Words:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _scale(scale: ScaleFinding, analysis: Analysis) -> Iterator[Words]:
    where = f"At {scale.scale}{f' ({short(scale.params)} parameters)' if scale.params else ''}: " if scale.scale else ""
    leader = scale.leader
    if leader is None:
        scored = [_alone(arm.name, scale) for arm in scale.arms if arm.result.finite]
        baseline = f"{analysis.frame.definition.reading.baseline} has no result to hold {listed(scored)} against"
        yield _begun(where, f"no verdict, {baseline}." if scored else "no result, no confirming run is complete.")
        return
    sd, count = leader.result.sd, len(leader.result.finite)
    spread = f" (± {sd:.4f} over {count} seeds)" if sd is not None else ""
    name = _alone(leader.name, scale)
    head = f"{name} scores {leader.result.mean:.4f} bits per byte on the test documents{spread}"
    if len(scale.arms) == 1:
        yield f"{where}{head}; there is nothing to compare it with."
        return
    if not scale.pairs:
        others = [_alone(arm.name, scale) for arm in scale.arms if arm is not leader and not arm.result.finite]
        lacks = f"{listed(others)} {'have' if len(others) > 1 else 'has'} no result"
        yield _begun(where, f"no verdict, {lacks if others else 'no two arms share a seed'}. {head}.")
        return
    seeds = max(pair.difference.seeds for pair in scale.pairs)
    if seeds < FEWEST_SEEDS:
        rule = f"{seeds} seed{'s' if seeds != 1 else ''} cannot tell arms apart; {FEWEST_SEEDS} are the least that can"
        yield _begun(where, f"undecided, {rule}. Lowest mean: {head}.")
        return
    if analysis.frame.definition.reading.baseline is not None:
        yield f"{where}{head}. {_groups(scale, leader)}"
    elif leader.standing.word == "best":
        yield f"{where}{name} is best, every other arm is worse: {head}."
    else:
        yield _begun(where, f"lowest mean: {head}. {_groups(scale, leader)}")


def _begun(where: Words, sentence: Words) -> Words:
    """The sentence after where it holds; at its beginning where there is only one place."""
    return f"{where}{sentence}" if where else sentence[0].upper() + sentence[1:]


def _groups(scale: ScaleFinding, leader: ArmFinding) -> Words:
    """The arms by their standing against the leader, or the baseline."""
    by_word: dict[str, list[str]] = {}
    pairs = {frozenset((pair.a, pair.b)): pair for pair in scale.pairs}
    for arm in scale.arms:
        if arm is not leader:
            gap, pair = arm.standing.difference, pairs.get(frozenset((arm.name, leader.name)))
            shown = f" by {abs(gap.mean):.4f}" if gap and arm.standing.word in ("better", "worse") else ""
            more = f" ({_open(pair)})" if arm.standing.word == "undecided" else ""
            by_word.setdefault(arm.standing.word, []).append(f"{_alone(arm.name, scale)}{shown}{more}")
    heads = {
        "better": "Better",
        "equivalent": "Equivalent to it",
        "worse": "Worse",
        "no result": "Without a result",
        "undecided": "Undecided against it",
    }
    return " ".join(f"{head}: {', '.join(by_word[word])}." for word, head in heads.items() if word in by_word)


def _open(pair: Pair | None) -> Words:
    """Why a comparison is undecided, or what would decide it."""
    if pair is None:
        return "they share no seed"
    if pair.difference.low is None:
        return f"{FEWEST_SEEDS} seeds are the least that can"
    return (
        f"{seeds_text(pair)} seeds would decide" if pair.word == "undecided" else "better on the seeds that it finished"
    )


def _across(analysis: Analysis) -> Iterator[Words]:
    if len(analysis.scales) < 2:
        return
    words = {
        "grows": "grows with the size of the model",
        "shrinks": "shrinks as the model grows",
        "turns": "turns: one is better at the smallest size, the other at the largest",
        "steady": "is the same at every size, as far as it matters",
    }
    told = [found for found in analysis.trends if found.trend.word != "undecided"]
    for found in told:
        yield f"Across sizes the difference of {found.a} to {found.b} {words[found.trend.word]} ({_slope(found)})."
    if len(told) < len(analysis.trends):
        rest = "Whether" if not told else "For the other pairs, whether"
        yield f"{rest} a difference grows or shrinks with size is undecided."


def _slope(found: TrendFinding) -> Words:
    low, high = found.trend.low, found.trend.high
    span = f" [{low:+.4f}, {high:+.4f}]" if low is not None and high is not None else ""
    return f"{found.trend.slope:+.4f}{span} for ten times the parameters"


def _nothing(frame: Frame) -> Words:
    ends = Counter(row["status"] for row in frame.rows if row["status"] != "complete")
    how = f": {listed([f'{count} {status}' for status, count in sorted(ends.items())])}" if ends else ""
    return f"No result: no confirming run is complete{how}."


def _excluded(frame: Frame, *, runs: str) -> Iterator[Words]:
    """Runs that should count and have no score, and why: they are in no mean."""
    ends = Counter(row["status"] for row in frame.rows if row["phase"] in CONFIRMING and row["status"] != "complete")
    for status, count in sorted(ends.items()):
        yield f"{count} {runs}{'s are' if count > 1 else ' is'} left out: {status}. The table has the reasons."


def _tuned(frame: Frame) -> Iterator[Words]:
    """Where tuning was not the same for all, or may not have found the best."""
    trials = {arm: len(frame.tuning(arm)) for arm in frame.arms}
    if len(set(trials.values())) > 1:
        counts = listed([f"{arm} by {count} trials" for arm, count in trials.items()])
        yield f"Arms were not tuned alike: {counts}."
    edged = [result for result in frame.results.values() if result.edges]
    if edged:
        keys = sorted({key for result in edged for key in result.edges})
        where = f"The best {listed(keys)} of {listed([result.name for result in edged])} lies at an edge of its range"
        yield f"{where}: a wider one may hold a better."


def _alone(name: str, scale: ScaleFinding) -> Words:
    return name.removesuffix(f" @ {scale.scale}") if scale.scale else name
