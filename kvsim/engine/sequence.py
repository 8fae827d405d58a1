"""A request while a replica has it."""

from typing import TYPE_CHECKING

from kvsim.engine.ledger import Ints

if TYPE_CHECKING:
    from kvsim.engine.tiers import Visit


class Sequence:
    """Mutable on purpose: the scheduler moves it from waiting to prefilling to decoding, and back when preempted.

    Attributes:
        index: its number in the trace. visible_s: when the queue first sees it.
        target: tokens it will generate (the trace's output length: only completion looks at it).
        tokens: what prefill must read: the prompt, and after a preemption what was generated too.
        generated: tokens emitted. computed: tokens of `tokens` whose cache exists.
        chunk: tokens of its prompt that the next step reads.
        order: of admission; running sequences are ordered by it.
        rows, start, end: its ledger rows and the decode steps [start, end) that they cover.
        hbm, home: bytes allocated while prefilling (then the ledger knows).
        named: its runs of blocks that the trace names, None until they are asked for.
        runs: (tokens, its runs of all blocks but that of the last of so many tokens), None until they are asked for.
        held: blocks by id that it shares through the prefix cache, `shared` of them.
        swapped: bytes of its cache in a lower tier, after a preemption by swapping.
        filled: leading runs that tiers below have been told of.
        visit: what lower tiers do for it; loaded: whether its room in HBM is allocated, and holds what they had of it.
    """

    __slots__ = (
        "chunk",
        "computed",
        "end",
        "filled",
        "first_plan",
        "generated",
        "hbm",
        "held",
        "home",
        "index",
        "loaded",
        "named",
        "order",
        "prompt",
        "rows",
        "runs",
        "shared",
        "start",
        "swapped",
        "target",
        "tokens",
        "visible_s",
        "visit",
    )

    def __init__(self, index: int, prompt: int, target: int, visible_s: float) -> None:
        self.index, self.prompt, self.target, self.visible_s = index, prompt, target, visible_s
        self.tokens, self.generated, self.computed, self.order, self.chunk = prompt, 0, 0, -1, 0
        self.rows: Ints | None = None
        self.start = self.end = 0
        self.hbm = self.home = self.shared = self.swapped = 0
        self.named: list[tuple[int, int]] | None = None
        self.runs: tuple[int, list[tuple[int, int]]] | None = None
        self.held: dict[int, int] = {}
        self.first_plan = True  # not scheduled yet
        self.visit: Visit | None = None
        self.loaded = False
        self.filled = 0
