"""The gated delta rule (Yang et al., 2412.06464, section 3): a memory S that forgets, and corrects what it holds.

For every token: S ← e^g S, then S ← S + k(β(v − Sᵀk))ᵀ, and the output is Sᵀq. What S already answers to the key k is
taken out before v is written, so a key that comes again replaces its value instead of adding to it.

`recurrent` is that definition, token by token. `chunked` is the same function for training: inside a chunk the
corrections of all tokens solve one triangular system, whole chunks are linear maps of S, and only those maps are
applied one after the other. Time grows linearly with the sequence in both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nanochat.attention.masked import document_positions


def recurrent(
    q: Float[Tensor, "batch heads time qk_dim"],
    k: Float[Tensor, "batch heads time qk_dim"],
    v: Float[Tensor, "batch heads time v_dim"],
    *,
    decay: Float[Tensor, "batch heads time"],
    beta: Float[Tensor, "batch heads time"],
    memory: Float[Tensor, "batch heads qk_dim v_dim"],
    docs: Int[Tensor, "batch time"] | None,
) -> tuple[Float[Tensor, "batch heads time v_dim"], Float[Tensor, "batch heads qk_dim v_dim"]]:
    """The definition. decay: g, the logarithm of what the memory is multiplied by. docs: the memory is empty where
    a document begins. Returns the outputs and the memory after the last token."""
    keep = decay.exp()
    if docs is not None:
        keep = keep * (document_positions(docs) > 0)[:, None]
    outputs = []
    for t in range(q.shape[2]):
        memory = memory * keep[:, :, t, None, None]
        key = k[:, :, t, :, None]
        correction = beta[:, :, t, None, None] * (v[:, :, t, None] - key.mT @ memory)
        memory = memory + key @ correction
        outputs.append(q[:, :, t, None] @ memory)
    return torch.cat(outputs, dim=2), memory


def chunked(
    q: Float[Tensor, "batch heads time qk_dim"],
    k: Float[Tensor, "batch heads time qk_dim"],
    v: Float[Tensor, "batch heads time v_dim"],
    *,
    decay: Float[Tensor, "batch heads time"],
    beta: Float[Tensor, "batch heads time"],
    memory: Float[Tensor, "batch heads qk_dim v_dim"],
    docs: Int[Tensor, "batch time"] | None,
    chunk: int,
) -> tuple[Float[Tensor, "batch heads time v_dim"], Float[Tensor, "batch heads qk_dim v_dim"]]:
    """The same by chunks of `chunk` tokens, in matmuls over all chunks at once.

    With c_i the sum of g from the chunk's start to token i and S₀ the memory before the chunk, the corrections u are
    u_i = β_i(v_i − e^{c_i} S₀ᵀk_i − Σ_{j<i} e^{c_i − c_j} (k_i·k_j) u_j), which is (I + L) U = βV − (βe^c K) S₀.
    """
    time, dim = q.shape[2], q.shape[3]
    size = min(chunk, time)
    # Tokens of zeros without decay up to whole chunks: they change no memory.
    pad = -time % size
    q, k, v = (rearrange(F.pad(x, (0, 0, 0, pad)), "b h (n c) d -> b h n c d", c=size) for x in (q, k, v))
    decay, beta = (rearrange(F.pad(x, (0, pad)), "b h (n c) -> b h n c", c=size) for x in (decay, beta))
    # Differences of sums that may be hundreds: in fp32 they would lose what decays differ by between neighbours.
    since = decay.double().cumsum(dim=-1)
    together, from_before, to_after, across = reach(docs, size=size, pad=pad, device=q.device)
    # What lies in another document or the future is masked before the exponential, which could overflow there.
    between = (since[..., :, None] - since[..., None, :]).to(q.dtype).masked_fill(~together, float("-inf")).exp()
    read = (since.to(q.dtype).exp() * from_before)[..., None]
    write = ((since[..., -1:] - since).to(q.dtype).exp() * to_after)[..., None]
    forget = (since[..., -1].to(q.dtype).exp() * across)[..., None, None]

    k_beta = k * beta[..., None]
    # The solver takes ones for the diagonal of its matrix and never reads it.
    inputs = torch.cat([v * beta[..., None], k_beta * read], dim=-1)
    solved = torch.linalg.solve_triangular(k_beta @ k.mT * between, inputs, upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], dim], dim=-1)
    written = (k * write).mT
    before, memory = scan(forget * torch.eye(dim, device=q.device) - written @ w, written @ u, memory)
    y = (q * read) @ before + (q @ k.mT * between) @ (u - w @ before)
    return rearrange(y, "b h n c d -> b h (n c) d")[:, :, :time], memory


def scan(
    transition: Float[Tensor, "batch heads chunks qk_dim qk_dim"],
    addition: Float[Tensor, "batch heads chunks qk_dim v_dim"],
    memory: Float[Tensor, "batch heads qk_dim v_dim"],
) -> tuple[Float[Tensor, "batch heads chunks qk_dim v_dim"], Float[Tensor, "batch heads qk_dim v_dim"]]:
    """S ← transition·S + addition, chunk after chunk: the memory before each chunk, and after the last."""
    batch = memory.shape[0]
    flat = memory.flatten(0, 1)
    before = []
    for move, add in zip(transition.flatten(0, 1).unbind(1), addition.flatten(0, 1).unbind(1), strict=True):
        before.append(flat)
        flat = torch.baddbmm(add, move, flat)
    return torch.stack(before, dim=1).unflatten(0, (batch, -1)), flat.unflatten(0, (batch, -1))


class Reach(NamedTuple):
    """What stays within a document: `together`, the earlier tokens of its chunk that a token reads · `from_before`,
    whether it reads the memory from before the chunk · `to_after`, whether what it writes outlasts the chunk ·
    `across`, whether the memory from before does.
    """

    together: Bool[Tensor, "#batch 1 #chunks size size"]
    from_before: Bool[Tensor, "#batch 1 #chunks #size"]
    to_after: Bool[Tensor, "#batch 1 #chunks #size"]
    across: Bool[Tensor, "#batch 1 #chunks"]


def reach(docs: Int[Tensor, "batch time"] | None, *, size: int, pad: int, device: torch.device) -> Reach:
    """A document begins wherever the number changes: one that comes back is a new one."""
    causal = torch.ones(1, 1, 1, size, size, dtype=torch.bool, device=device).tril()
    if docs is None:
        always = causal[..., 0, :1]
        return Reach(causal, always, always, always[..., 0])
    begun = (document_positions(docs) == 0).cumsum(dim=1)
    begun = torch.cat([begun, begun[:, -1:].expand(-1, pad)], dim=1)
    begun = rearrange(begun, "b (n c) -> b 1 n c", c=size)
    last = begun[..., -1]
    previous = F.pad(last[..., :-1], (1, 0))  # the first token begins document 1
    same = begun[..., :, None] == begun[..., None, :]
    return Reach(causal & same, begun == previous[..., None], begun == last[..., None], last == previous)
