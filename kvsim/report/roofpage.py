"""A roofline as one HTML file that opens offline: inline SVG, a table of all Ops, no request to anywhere."""

from html import escape
from pathlib import Path

from kvsim.report.labels import LANES
from kvsim.report.roofpicture import GROUPS, picture
from kvsim.report.roofsvg import mark, svg
from kvsim.report.words import amount, count, digits, percent, seconds
from kvsim.roofs import Dot, Roofline
from kvsim.traces.write import replacing

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 1.5rem auto; max-width: 96rem;
  padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-bottom: .2rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; font-size: 11px; }
.axes line { stroke: #e4e4e4; } .axes text { fill: #444; } .roofs line { stroke-width: 1.5; } .batch { fill: #444; }
.dot { cursor: pointer; outline: none; } .dot:focus > *, .dot:hover > * { stroke: #000; stroke-width: 3.2; }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; list-style: none; padding: 0; }
.key svg { width: 14px; height: 14px; vertical-align: -2px; }
#tip { position: fixed; display: none; background: #222; color: #fff; padding: .4rem .6rem; border-radius: 4px;
  white-space: pre; font-size: 13px; pointer-events: none; z-index: 1; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:nth-child(-n+4), td:nth-child(-n+4), th:last-child, td:last-child { text-align: left; }
@media print { .wide { overflow: visible; } table { font-size: 9px; } body { margin: 0; } }
"""
_SCRIPT = """
const tip = document.getElementById('tip'), dots = [...document.querySelectorAll('.dot')];
const show = dot => {
  const at = dot.getBoundingClientRect();
  tip.textContent = dot.getAttribute('aria-label');
  tip.style.display = 'block';
  tip.style.left = Math.max(4, Math.min(at.right + 8, innerWidth - tip.offsetWidth - 8)) + 'px';
  tip.style.top = Math.max(4, Math.min(at.bottom + 8, innerHeight - tip.offsetHeight - 8)) + 'px';
};
const hide = () => { tip.style.display = 'none'; };
dots.forEach((dot, at) => {
  dot.addEventListener('pointerenter', () => show(dot));
  dot.addEventListener('pointerleave', hide);
  dot.addEventListener('focus', () => show(dot));
  dot.addEventListener('blur', hide);
  dot.addEventListener('click', () => dot.focus());
  dot.addEventListener('keydown', event => {
    if (event.key === 'Escape') hide();
    const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!by) return;
    event.preventDefault();
    dots[(at + by + dots.length) % dots.length].focus();
  });
});
"""
_HEADS = (
    "policy", "phase", "batch", "op", "FLOPs", "bytes", "FLOPs/byte", "time", "FLOP/s", "of roof", "of step",
    "bound by",
)  # fmt: skip
_LANES = {"gpu": "", "h2d": ", host to GPU", "d2h": ", GPU to host", "nvlink": ", between chips"}
_LANES |= {lane: f", {name}" for lane, name in LANES.items() if lane not in _LANES}


def write(found: Roofline, path: Path) -> None:
    """Write the page; equal figures give equal bytes.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(page(found).encode())


def page(found: Roofline) -> str:
    """The HTML."""
    view = picture(found)
    title = escape(f"{found.model} on {found.hw}, context {found.context:,}: Ops under the roofs of one chip")
    panels = "\n".join(
        f"<section><h2>policy {escape(panel.policy)}</h2>\n{svg(panel, view, found, first=at == 0)}</section>"
        for at, panel in enumerate(view.panels)
    )
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in found.assumptions)
    rows = "\n".join(_row(dot) for dot in found.dots)
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{_STYLE}</style></head><body><main>
<h1>{title}</h1>
<ul class="key">{_keys()}</ul>
<p>Point at a dot, or press Tab and then the arrow keys, to read its figures. Ops of less than 1 % of their step, and
those without FLOPs, are in the table only.</p>
<div class="panels">
{panels}
</div>
<h2>All Ops</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of all Ops"><table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></div>
<h2>Assumed</h2>
<ul>
{notes}
</ul>
</main><div id="tip" aria-hidden="true"></div><script>{_SCRIPT}</script></body></html>
"""


def _row(dot: Dot) -> str:
    cells = (
        dot.policy,
        dot.phase,
        f"{dot.batch:,}",
        dot.op + (_LANES[dot.lane] if dot.group == "step" else ""),
        count(dot.flops) if dot.flops else "-",
        amount(dot.bytes),
        digits(dot.intensity),
        seconds(dot.seconds),
        count(dot.flops_per_s) if dot.flops else "-",
        percent(dot.roof_share),
        percent(dot.step_share),
        dot.bound,
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _keys() -> str:
    """The legend."""
    keys = [(group, colour, True, name) for group, (name, colour) in GROUPS.items()]
    keys += [("linear", "#555", True, "filled: prefill"), ("linear", "#555", False, "open: decode, with its batch")]
    return "".join(
        f'<li><svg viewBox="0 0 14 14" aria-hidden="true">{mark(group, colour, filled, 7, 7)}</svg> {name}</li>'
        for group, colour, filled, name in keys
    )
