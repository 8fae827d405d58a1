"""kvsim: what a KV-cache policy costs and gains, on given hardware, under given traffic.

    kvsim.run("quickstart", policy="headinfer").figures["ttft_s"]["p99"]
    kvsim.step(hw="h100", model="llama-3-8b", phase="decode", batch=16, context=4096).seconds
    kvsim.op("gemm", hw="h100", m=16, n=4096, k=14336).seconds

Names load when they are first used, so that `import kvsim` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvsim.decide.bestsplit import best_split as best_split
    from kvsim.decide.compare import compare as compare
    from kvsim.decide.plan import plan as plan
    from kvsim.errors import UserError as UserError
    from kvsim.oneload import load as load
    from kvsim.oneop import op as op
    from kvsim.onequality import quality as quality
    from kvsim.onesession import session as session
    from kvsim.onestep import step as step
    from kvsim.replay import Report as Report
    from kvsim.replay import run as run
    from kvsim.roofs import roofline as roofline
    from kvsim.study.sweeping import Sweep as Sweep
    from kvsim.study.sweeping import sweep as sweep

__version__ = "0.1.0"

# name -> the module that defines it. No module of the package may have one of these names: importing it would hide
# the function.
_HOMES = {
    "Report": "kvsim.replay",
    "Sweep": "kvsim.study.sweeping",
    "UserError": "kvsim.errors",
    "best_split": "kvsim.decide.bestsplit",
    "compare": "kvsim.decide.compare",
    "load": "kvsim.oneload",
    "op": "kvsim.oneop",
    "plan": "kvsim.decide.plan",
    "quality": "kvsim.onequality",
    "roofline": "kvsim.roofs",
    "run": "kvsim.replay",
    "session": "kvsim.onesession",
    "step": "kvsim.onestep",
    "sweep": "kvsim.study.sweeping",
}
__all__ = [
    "Report", "Sweep", "UserError", "__version__", "best_split", "compare", "load", "op", "plan", "roofline", "run",
    "session", "step", "sweep",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kvsim' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
