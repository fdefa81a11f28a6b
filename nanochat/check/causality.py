"""No token sees the future."""

from __future__ import annotations

from nanochat.check.base import Result, failed, passed
from nanochat.check.probe import changed, reach, reads_other_tokens
from nanochat.check.subject import Part, Subject

MASK = "Mask the scores where key > query before the softmax, e.g. scaled_dot_product_attention(…, is_causal=True)."


def causality(subject: Subject) -> Result:
    """Changing token t leaves the logits before t, in the model as it trains."""
    tokens, time = subject.inputs, subject.time
    before = subject.trained_logits(tokens)
    if not before.isfinite().all():
        return failed("the logits are not all numbers", "Look for a division by zero or an overflow in the forward.")
    places = sorted({1, time // 3, 2 * time // 3, time - 1} - {0})
    for place in places:
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % subject.vocab
        if changed(before, subject.trained_logits(other))[:, :place].any():
            return _blame(subject, place)
    return passed(f"changing token {', '.join(map(str, places))} leaves all logits before it")


def _blame(subject: Subject, place: int) -> Result:
    """Which part leaks, found by probing each by itself."""
    for part in subject.parts:
        if part.kind == "attention":
            mistake = future_of(part)
            if mistake:
                return failed(f"{part.name} reads the future: {mistake}", MASK)
        elif reads_other_tokens(part):
            remedy = "An FFN works on each token by itself: no mean, softmax or norm over the tokens."
            return failed(f"{part.name} mixes tokens: an earlier token's output follows a later token", remedy)
    return failed(
        f"logits before token {place} follow that token, though no attention and no FFN reads the future by itself",
        "Look at what stands around them: norms, positions and noise must act on each token by itself.",
    )


def future_of(part: Part) -> str:
    """How an attention reads the future; empty where it does not."""
    seen = reach(part)
    if not seen.ahead:
        return ""
    if not seen.behind:
        return "the causal mask is the wrong way round (a token reads later ones, and none before it)"
    if seen.everything:
        return "no causal mask"
    return f"the causal mask is shifted (a token reads up to {seen.ahead} tokens ahead)"
