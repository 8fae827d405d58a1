"""Measures a GPU: the raw tables that cost curves are fitted to. `python -m kernels_ref.calibrate --out DIR`.

A class of measurement a file, each with `COLUMNS`, `BUDGET_S` and `points(rig, fine)`; `driver` runs them.
"""
