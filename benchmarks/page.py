"""docs/benchmarks.md, made from benchmarks/results/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import studies
from nanochat.core.artifact import read_json, write_text

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

HEAD = """\
# Benchmarks

Made by `make bench` from `benchmarks/results/`. A ratio is the median over turns in which the two sides go one after
the other in one process: how many times as fast ours is, with the lowest and the highest turn. Machines are noisy:
trust the ratios, not the seconds.
"""

NOTES = """\
Out of reach: Llama's and Mixtral's steps. Torch's matmul and its fused attention make up 88% of either side's time, and
both sides call the same ones (Mixtral's experts, too, run in grouped matmuls now), so what is left to be faster in is a
tenth. DeepSeek-V3's unequal head widths send `transformers` to unfused attention, where mla gains. What was tried
is in [DECISIONS.md](../DECISIONS.md).
"""

WHAT = {
    "dense_step_vs_llama": "training step, gqa + swiglu, against `transformers` Llama",
    "mla_step_vs_deepseek_v3": "training step, mla + swiglu, against `transformers` DeepSeek-V3 with dense FFNs",
    "moe_step_vs_mixtral": "training step, moe of 8 experts, top 2, against `transformers` Mixtral",
    "moe_step_vs_own_dense": "the same moe against our dense model with the same active parameters",
    "local_vs_full_causal_4096_256": "local attention alone, 4096 tokens, window 256, against full causal",
    "mla_decoding_absorbed_vs_expanded_2048": "one decoding step of mla at 2048 tokens, absorbed against expanded",
}


def write() -> None:
    """Write the page."""
    write_text(PAGE, text())


def text() -> str:
    parts = [HEAD, "## Components on the CPU, fp32\n"]
    found = result("components")
    parts += (
        ["Not measured.\n"]
        if found is None
        else [about(found), ratios(found["figures"]), NOTES, growth(found["figures"])]
    )
    parts += ["## Studies\n", *studies.text(result)]
    parts.append("## On a GPU, bf16, torch.compile\n")
    found = result("gpu")
    parts += (
        ["Not measured: run `python -m benchmarks gpu` on a machine that has one.\n"]
        if found is None
        else [about(found), ratios(found["figures"])]
    )
    return "\n".join(parts)


def result(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return read_json(path) if path.exists() else None


def about(found: dict[str, Any]) -> str:
    machine = found["machine"]
    device = found["figures"].get("device", machine["processor"])
    return f"{device}, {machine['cores']} cores, Python {found['python']}, torch {found['packages']['torch']}.\n"


def ratios(figures: dict[str, Any]) -> str:
    lines = ["| what | asked | measured | lowest to highest turn |", "|---|---|---|---|"]
    for name, value in figures.items():
        if isinstance(value, dict) and "ratio" in value:
            asked = f"≥ {value['asked']}×" if value.get("asked") else ""
            mfu = f", MFU {value['mfu']:.1%}" if value.get("mfu") else ""
            lines.append(
                f"| {WHAT.get(name, name)} | {asked} | **{value['ratio']}×**{mfu} | {value['low']} to {value['high']} |"
            )
    return "\n".join(lines) + "\n"


def growth(figures: dict[str, Any]) -> str:
    """Seconds by length of linear and of full attention."""
    found = figures.get("linear_attention_seconds_by_length")
    if not found:
        return ""
    lengths = list(found["linear_s"])
    lines = [
        "Seconds of forward and backward of one attention over one sequence, by its length:\n",
        "| attention | " + " | ".join(lengths) + " | 8 times as long takes |",
        "|---|" + "---|" * (len(lengths) + 1),
    ]
    for name in ("linear", "full"):
        cells = " | ".join(f"{found[f'{name}_s'][n]:.3f}" for n in lengths)
        lines.append(f"| {name} | {cells} | **{found[f'{name}_growth_8x_longer']}×** |")
    return "\n".join(lines) + "\n"
