"""The four figures on worked cases."""

import pytest
import torch

from kernels_ref.quality import measures
from kernels_ref.twins.attention import Attended


def test_errors_are_of_each_head_by_itself():
    full = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])
    found = measures.relative_errors([full * torch.tensor([1.1, 1.0])[:, None, None]], [full])
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.0]]))


def test_mass_is_what_lies_on_the_tokens_that_were_read():
    full = torch.tensor([[[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8]]])  # two query heads of one kv head, one query
    position = torch.tensor([[0, 2, -1]])
    seen = Attended(torch.tensor([[[0.6, 0.4, 0.0]], [[0.0, 1.0, 0.0]]]), position)
    torch.testing.assert_close(measures.mass_read(full, seen), torch.tensor([[0.7], [0.8]]))


def test_divergence_is_zero_of_equals_and_known_of_a_coin():
    logits = torch.tensor([[0.0, 0.0]])
    assert measures.divergence(logits, logits + 3) == pytest.approx(0, abs=1e-7)
    biased = torch.tensor([[0.75, 0.25]]).log()
    assert measures.divergence(logits, biased) == pytest.approx(0.5 * torch.tensor([4 / 6, 2.0]).log().sum().item())


def test_perplexity_of_an_even_guess_is_the_number_of_choices():
    assert measures.perplexity(torch.zeros(3, 7), torch.tensor([0, 6, 2])) == pytest.approx(7)
