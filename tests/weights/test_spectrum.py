"""Spectra, by matrices whose singular values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.weights.matrices import KINDS, left_out, matrices
from nanochat.weights.spectrum import Spectrum
from tests.weights.samples import sample


def rotation(n: int, *, seed: int) -> torch.Tensor:
    """An orthogonal matrix."""
    return torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).Q


def with_values(*values: float, rows: int) -> torch.Tensor:
    """A matrix [rows, len(values)] that has these singular values."""
    n = len(values)
    return rotation(rows, seed=0)[:, :n] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation(n, seed=1)


def test_the_identity_uses_every_direction_and_a_product_of_vectors_one():
    identity = Spectrum.of(torch.eye(7))
    assert identity.effective_rank == pytest.approx(7)
    assert identity.stable_rank == pytest.approx(7)
    assert identity.ranks_for(0.9) == 1.0  # six of seven hold 86%
    one = Spectrum.of(torch.outer(torch.arange(1.0, 6.0), torch.arange(1.0, 9.0)))
    assert one.effective_rank == pytest.approx(1)
    assert one.stable_rank == pytest.approx(1)
    assert one.full == 5 and one.ranks_for(0.99) == pytest.approx(1 / 5)


def test_a_matrix_with_known_values():
    found = Spectrum.of(with_values(3.0, 1.0, rows=6))
    np.testing.assert_allclose(found.values, [3, 1], rtol=1e-12)
    assert found.effective_rank == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert found.stable_rank == pytest.approx(10 / 9)
    assert found.ranks_for(0.9) == 0.5  # nine tenths of the energy lie in the first, to the last bit
    assert found.ranks_for(0.91) == 1.0


@given(values=st.lists(st.floats(0.01, 100), min_size=1, max_size=6), scale=st.floats(0.1, 10))
def test_against_the_eigenvalues_of_the_gram_matrix(values, scale):
    matrix = with_values(*values, rows=8)
    found = Spectrum.of(matrix)
    gram = np.sqrt(np.linalg.eigvalsh((matrix.T @ matrix).numpy()).clip(min=0))[::-1]
    np.testing.assert_allclose(found.values, gram, rtol=1e-6, atol=1e-5 * max(values))
    assert 1 - 1e-9 <= found.effective_rank <= len(values) + 1e-9
    assert found.stable_rank <= found.full + 1e-9
    assert Spectrum.of(scale * matrix).effective_rank == pytest.approx(found.effective_rank)
    assert Spectrum.of(matrix.T).stable_rank == pytest.approx(found.stable_rank)


def test_a_matrix_of_zeros_has_no_rank():
    found = Spectrum.of(torch.zeros(3, 4))
    assert found.zero and (found.effective_rank, found.stable_rank, found.ranks_for(0.9)) == (0, 0, 0)


@pytest.mark.parametrize(
    "overrides",
    [
        ("attention=mla", "ffn=moe", "ffn.shared=1"),
        ("attention=linear", "model.tied=false"),
        ("attention=nsa", "ffn=mlp", "ffn.bias=true", "position=learned"),
        ("attention=wgqa", "norm=layernorm", "model.value_embeddings=all"),
    ],
)
def test_every_parameter_is_in_a_matrix_or_named_as_left_out(corpus, overrides):
    model = sample(corpus, *overrides).model
    found = list(matrices(model))
    inside = sum(matrix.weight.numel() for matrix in found)
    outside = sum(int(text.rpartition("(")[2].split()[0].replace(",", "")) for text in left_out(model))
    assert inside + outside == sum(parameter.numel() for parameter in model.parameters())
    assert len({matrix.label for matrix in found}) == len(found)
    assert {matrix.kind for matrix in found} <= set(KINDS)
    assert all(matrix.weight.ndim == 2 and min(matrix.weight.shape) > 1 for matrix in found)
