"""vLLM's fused experts against what kvsim takes them for: near for few large ones, too slow for many small ones."""

import numpy as np
import pytest

from kvsim.validate.fusedexperts import MACHINES, errors, frame, main


@pytest.mark.parametrize(("hw", "chip"), MACHINES.items())
def test_decodes_of_few_large_experts_are_met(hw: str, chip: str) -> None:
    rows = frame(chip)
    mixtral = (rows["experts"] == 8) & (rows["hidden"] == 4096) & rows["tokens"].between(8, 256)
    error = np.abs(errors(hw, rows[mixtral]))
    assert len(error) == 44
    assert np.median(error) < 0.07 and np.percentile(error, 90) < 0.14
    many = rows[(rows["experts"] > 16) & (rows["tokens"] <= 256)]
    assert 0 < np.median(errors(hw, many)) < 0.4


def test_the_module_prints_a_row_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and lines[1].startswith("h100-sxm")
