"""Tables of several boards as one, and folds."""

from pathlib import Path

import numpy as np
import pytest

from kvsim import find
from kvsim.validate import published
from kvsim.validate.folds import FOLDS, fold
from kvsim.validate.rows import held_out


def test_a_shape_timed_on_two_boards_is_its_geometric_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    folder = tmp_path / "hardware/calibration/mine"
    folder.mkdir(parents=True)
    head = "m,n,k,dtype,seconds\n"
    (folder / "gemm.csv").write_text(head + "7,64,64,bf16,1e-6\n1,64,64,bf16,2e-6\n1,64,64,fp8,9e-6\n")
    (folder / "gemm_again.csv").write_text(head + "1,64,64,bf16,8e-6\n3,64,64,bf16,5e-6\n")
    monkeypatch.setattr(published, "ROOT", tmp_path)
    rows = published.read("mine", "gemm", "bf16", ("gemm.csv", "gemm_again.csv"))
    assert rows and rows.shape["m"].tolist() == [7, 1, 3]
    assert rows.seconds == pytest.approx([1e-6, 4e-6, 5e-6])


def test_folds_are_whole_layers_and_not_the_held_out_half() -> None:
    pytest.importorskip("pandas")
    one = find.calibrated("h200-sxm").curve("gemm", "bf16")
    assert one
    rows = published.read("h200-sxm", "gemm", "bf16", one.tables, one.where)
    assert rows
    layers = set(zip(rows.shape["n"], rows.shape["k"], strict=True))
    folds = {number: [layer for layer in layers if fold(*layer) == number] for number in range(FOLDS)}
    assert all(len(folds[number]) > 4 for number in folds)
    assert all(0 < np.mean([held_out(layer) for layer in folds[number]]) < 1 for number in folds)
