"""The fit finds a curve again from its own seconds, and reads tables of kvsim's own."""

from pathlib import Path

import numpy as np
import pytest

from kvsim import find
from kvsim.cost.calibration import Calibration, Fitted
from kvsim.errors import UserError
from kvsim.specs.load import load
from kvsim.validate import published, yamlfile
from kvsim.validate.fit import ALL, fit
from kvsim.validate.plan import Origin, Plan
from kvsim.validate.rows import Rows

pytest.importorskip("scipy")


def made_up(op: str, **shape: list[float]) -> Rows:
    """Rows on a grid, whose seconds are those of the committed curve of an A100."""
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*shape.values(), indexing="ij")])
    known = find.calibrated("a100-sxm-80gb").curve(op, "bf16")
    assert known
    rows = Rows(op, "bf16", dict(zip(shape, grid, strict=True)), np.ones(grid.shape[1]))
    seconds = known.curve.seconds(find.part("a100-sxm-80gb"), rows.keyed)
    return Rows(op, "bf16", rows.shape, seconds)


def test_a_fit_finds_a_known_curve() -> None:
    sizes = [256.0, 1024, 4096, 14336]
    rows = made_up("gemm", m=[1.0, 16, 64, 200, 1000, 4000], n=sizes, k=sizes)
    plan = Plan("a100-sxm-80gb", "gemm", "bf16", "made up", (), Origin("a test", "none"))
    found = fit(plan, find.part("a100-sxm-80gb"), rows)
    assert found.held_out.median < 0.02
    assert found.held_out.p90 < 0.06


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "ROOT", tmp_path)
    (tmp_path / "hardware").mkdir()
    for name in ("l40s", "nvlink4"):
        known = load(Calibration, find.ROOT / "hardware/calibration" / f"{name}.yaml")
        yamlfile.write(name, known)
        written = tmp_path / "hardware/calibration" / f"{name}.yaml"
        assert load(Calibration, written) == known
        assert written.read_text() == (find.ROOT / "hardware/calibration" / f"{name}.yaml").read_text()


def test_every_plan_was_fitted() -> None:
    for plan in ALL:
        one = find.calibrated(plan.part).beside(plan.host).curve(plan.op, plan.dtype, plan.kernel)
        assert isinstance(one, Fitted)
        assert (one.kernel, one.source, tuple(one.tables)) == (plan.kernel, plan.origin.source, plan.tables)


def test_a_table_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "hardware/calibration/mine"
    own.mkdir(parents=True)
    monkeypatch.setattr(published, "ROOT", tmp_path)
    (own / "gemm.csv").write_text("device,m,n,k,dtype,seconds\nx,1,2,3,bf16,0.5\nx,4,5,6,fp8,0.25\n")
    rows = published.read("mine", "gemm", "fp8", ["gemm.csv"])
    assert rows is not None
    assert ({key: value.tolist() for key, value in rows.shape.items()}, rows.seconds.tolist()) == (
        {"m": [4], "n": [5], "k": [6]},
        [0.25],
    )
    (own / "gemm.csv").write_text("m,n,dtype,seconds\n1,2,bf16,0.5\n")
    with pytest.raises(UserError, match="lacks the column 'k'"):
        published.read("mine", "gemm", "bf16", ["gemm.csv"])
    assert published.read("mine", "gemm", "bf16", ["nowhere.csv"]) is None
