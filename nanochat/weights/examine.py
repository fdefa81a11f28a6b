"""The whole examination: spectra, what each part is worth, dead units, pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nanochat.core.spec import option_of
from nanochat.eval.scores import Scores
from nanochat.model.transformer import Transformer
from nanochat.run.spec import RunSpec
from nanochat.weights import ablation, dead
from nanochat.weights.dead import Units, shares, watched
from nanochat.weights.findings import TOLERANCE, Effect, Findings, MatrixFound
from nanochat.weights.matrices import left_out, matrices
from nanochat.weights.pruning import HALVINGS, RULES, Rule, curve, prunable, pruned, ranking
from nanochat.weights.sample import Sample, difference
from nanochat.weights.spectrum import Spectrum

GROUPS = ("attention", "ffn", "norm", "position", "init", "optimizer")

SVD_FLOPS = 60
"""Times m·n·min(m, n): what a decomposition costs beside matmuls, about, for the bar of progress."""


def initial(spec: RunSpec) -> Transformer:
    """The model that the resolved run began with."""
    return spec.architecture.build(vocab=spec.tokenizer.ids, context=spec.context, seed=spec.seed)


def costs(sample: Sample, *, fractions: Sequence[float]) -> list[float]:
    """FLOPs of every step of `examine`, about, in order: matrices, then measurements."""
    shapes = [matrix.weight.shape for matrix in matrices(sample.model)]
    forward = sample.spec.cost.flops / 3 * sample.tokens
    count = 1 + len(ablation.parts(sample.model, sample.spec.attention))
    count += len(RULES) * (len(fractions) + HALVINGS)
    return [SVD_FLOPS * float(m * n * min(m, n)) for m, n in shapes] + [float(forward)] * count


def examine(sample: Sample, *, run: str, fractions: Sequence[float], seed: int, step: Callable[[], object]) -> Findings:
    """Measure everything. The model is afterwards what it was.

    run: its key · fractions: shares of weights to remove, besides none · seed: of the removal at random · step: called
    at the beginning of each step of `costs`.
    """
    model, spec = sample.model, sample.spec
    spectra = tuple(_spectra(model, initial(spec), step=step))
    step()
    with watched(model, sample) as units:
        whole = sample.score()
    return Findings(
        run=run,
        parts={group: option_of(getattr(spec, group)) for group in GROUPS},
        bytes=whole.bytes,
        tokens=whole.tokens,
        documents=len(whole.names),
        bpb=whole.bits_per_byte,
        matrices=spectra,
        effects=tuple(_effects(sample, whole, units, step=step)),
        units=tuple(units),
        curves={rule: _curve(sample, whole, rule, fractions, seed=seed, step=step) for rule in RULES},
        weights=(sum(w.numel() for w in prunable(model)), sum(p.numel() for p in model.parameters())),
        notes=tuple(
            f"not measured: {why}"
            for why in (
                *ablation.not_measured(model, spec.attention),
                *dead.not_measured(model, spec.ffn),
                *left_out(model),
            )
        ),
    )


def _spectra(trained: Transformer, start: Transformer, *, step: Callable[[], object]) -> Iterator[MatrixFound]:
    for now, then in zip(matrices(trained), matrices(start), strict=True):
        step()
        yield MatrixFound(
            label=now.label,
            kind=now.kind,
            layer=now.layer,
            shape=(now.weight.shape[0], now.weight.shape[1]),
            trained=Spectrum.of(now.weight),
            initial=Spectrum.of(then.weight),
        )


def _effects(sample: Sample, whole: Scores, units: Sequence[Units], *, step: Callable[[], object]) -> Iterator[Effect]:
    """What the model loses with each part, one at a time."""
    routed = _routed(units)
    for part in ablation.parts(sample.model, sample.spec.attention):
        step()
        with part.out():
            rise, error = difference(whole, sample.score())
        yield Effect(
            name=part.name,
            kind=part.kind,
            layer=part.layer,
            index=part.index,
            rise=rise,
            error=error,
            routed=routed.get(part.name),
        )


def _routed(units: Sequence[Units]) -> dict[str, float]:
    """The share of choices that each expert had, by name."""
    found: dict[str, float] = {}
    experts = [each for each in units if each.expert is not None]
    for layer in {each.layer for each in experts}:
        block = [each for each in experts if each.layer == layer]
        found.update(zip((each.name for each in block), shares(block), strict=True))
    return found


def _curve(
    sample: Sample, whole: Scores, rule: Rule, fractions: Sequence[float], *, seed: int, step: Callable[[], object]
) -> list[tuple[float, float]]:
    """Bits per byte against the share of weights removed; at none, that of the whole model."""
    weights = prunable(sample.model)
    scores = ranking(weights, rule, seed=seed)

    def measure(share: float) -> float:
        if share == 0:
            return whole.bits_per_byte
        step()
        with pruned(weights, scores, share=share):
            return sample.score().bits_per_byte

    return curve(measure, [0.0, *fractions], most=whole.bits_per_byte * (1 + TOLERANCE))
