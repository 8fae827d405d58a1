"""What `kvsim trace fit` writes and shows."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from kvsim.errors import UserError
from kvsim.report.words import digits, percent
from kvsim.traces.fit import Fit
from kvsim.traces.write import replacing

_LABELS = {"gap_s": "gaps (s)", "prompt_tokens": "prompt tokens", "output_tokens": "output tokens"}


def write_workload(fit: Fit, path: Path, seed: int) -> None:
    """Write the fitted generator as a workload YAML.

    Raises:
        UserError: a name that does not end in .yaml, or a file that cannot be written.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"{path}: must end in .yaml")
    distances = fit.figures["distances"]
    far = ", ".join(f"{label} {distances[key]['ks']:.3f}" for key, label in _LABELS.items())
    about = (
        f"Fitted to the first half of {fit.figures['name']}; Kolmogorov-Smirnov distances to the second half: {far}."
    )
    text = yaml.safe_dump(
        {"about": about, "seed": seed, "generate": fit.spec}, sort_keys=False, width=120, default_flow_style=None
    )
    with replacing(path) as file:
        file.write(text.encode())


def show(figures: dict[str, Any]) -> None:
    """Print how well a generator fits on stdout."""
    console = Console(highlight=False)
    console.print(figures["name"], style="bold", markup=False)
    best = min(figures["aic"].values())
    order = sorted(figures["aic"].items(), key=lambda item: item[1])
    told = ", ".join(f"{name} +{aic - best:,.0f}" for name, aic in order[1:])
    console.print(
        f"arrivals  {order[0][0]}; by Akaike's criterion the others are worse: {told or 'none'}", markup=False
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("to the held-out half", "fit: KS", "Wasserstein", "of mean", "first half: KS", "Wasserstein"):
        table.add_column(title, justify="left" if title.startswith("to ") else "right")
    for key, label in _LABELS.items():
        mine, halves = figures["distances"][key], figures["distances_of_halves"][key]
        share = percent(mine["wasserstein"] / mine["mean"]) if mine["mean"] else "-"
        row = (digits(mine["ks"]), digits(mine["wasserstein"]), share, digits(halves["ks"]))
        table.add_row(label, *row, digits(halves["wasserstein"]))
    console.print(table)
    if figures["hit_ratio_tokens"] is not None:
        hits = [figures[f"{key}hit_ratio_tokens"] for key in ("", "fitted_", "held_out_")]
        told = "{:.1%} of prompt tokens; {:.1%} in the first half, {:.1%} in the held-out one".format(*hits)
        console.print(f"infinite-cache hit  {told}")
    for note in _notes(figures):
        console.print(f"- {note}", markup=False)


def _notes(figures: dict[str, Any]) -> list[str]:
    notes = []
    if figures["ticks_spread_s"]:
        notes.append(f"the arrivals of each {figures['ticks_spread_s']:g} s tick were spread uniformly before the fit")
    if figures["sessions_left_out"]:
        notes.append("sessions are not fitted: the requests that are made are independent of each other")
    correlation = figures["length_correlation"]
    if correlation is not None and abs(correlation) >= 0.1:
        notes.append(
            f"prompts and outputs are drawn independently, but are correlated ({correlation:.2f}, in logarithms)"
        )
    return notes
