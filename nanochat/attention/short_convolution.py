"""A short causal convolution, each channel by itself, as Mamba has it (Gu & Dao, 2312.00752)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nanochat.attention.masked import document_positions
from nanochat.core.roles import Role


class ShortConvolution(nn.Module):
    """y_t = Σ_i weight[:, i] ⊙ x_{t − (width − 1) + i}, zeros standing before the sequence and before each document.

    The last tap multiplies the token itself. naive: by matmuls over explicit windows, the reference.
    """

    roles: Mapping[str, Role] = {"weight": "filter"}

    def __init__(self, channels: int, *, width: int, naive: bool) -> None:
        super().__init__()
        self.width = width
        self.naive = naive
        self.weight = nn.Parameter(torch.empty(channels, width))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(
        self,
        x: Float[Tensor, "batch time channels"],
        *,
        last: Float[Tensor, "batch past channels"] | None,
        docs: Int[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch past channels"]]:
        """`last` holds the width − 1 inputs before x, None where the sequence begins; those after it are returned."""
        time = x.shape[1]
        if last is None:
            last = x.new_zeros(x.shape[0], self.width - 1, x.shape[2])
        x = torch.cat([last, x], dim=1)
        seen = None if docs is None else within_document(docs, width=self.width)
        mix = windows if self.naive else taps
        # A copy: a view would keep every input alive for as long as the state.
        return mix(x, self.weight.to(x.dtype), seen=seen), x[:, time:].clone()


def within_document(docs: Int[Tensor, "batch time"], *, width: int) -> Bool[Tensor, "batch time width"]:
    """Whether the token that a tap reads lies in the same document as the tap's own."""
    back = torch.arange(width - 1, -1, -1, device=docs.device)
    return document_positions(docs)[..., None] >= back


def taps(
    x: Float[Tensor, "batch past_and_time channels"],
    weight: Float[Tensor, "channels width"],
    *,
    seen: Bool[Tensor, "batch time width"] | None,
) -> Float[Tensor, "batch time channels"]:
    """Shifted copies of the whole sequence, added up: as fast as a grouped convolution, and it can leave copies out."""
    width = weight.shape[1]
    time = x.shape[1] - width + 1
    y = torch.zeros_like(x[:, :time])
    for i in range(width):
        shifted = x[:, i : i + time] if seen is None else x[:, i : i + time] * seen[..., i, None]
        y = torch.addcmul(y, shifted, weight[:, i])
    return y


def windows(
    x: Float[Tensor, "batch past_and_time channels"],
    weight: Float[Tensor, "channels width"],
    *,
    seen: Bool[Tensor, "batch time width"] | None,
) -> Float[Tensor, "batch time channels"]:
    """The same by the definition: every token's window, multiplied by the weights of its channel."""
    window = x.unfold(1, weight.shape[1], 1)
    if seen is not None:
        window = window * seen[:, :, None]
    return (window[..., None, :] @ weight[..., None])[..., 0, 0]
