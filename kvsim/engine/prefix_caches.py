"""The prefix cache that serving settings name."""

from collections.abc import Callable

from kvsim.engine.prefix import PrefixCache
from kvsim.engine.radix import RadixCache
from kvsim.engine.serving import Serving
from kvsim.errors import UserError
from kvsim.traces.trace import Trace
from kvsim.traits.eviction import online


def prefix_cache(serving: Serving, trace: Trace) -> Callable[[int], PrefixCache | RadixCache]:
    """Makes caches of so many blocks, by `prefix_cache` and `prefix_eviction`.

    Raises:
        UserError: an order of eviction that needs sessions, of which the trace has none.
    """
    if serving.prefix_cache == "radix":
        return RadixCache
    chosen = online(serving.prefix_eviction)
    if chosen.needs_sessions and trace.sessions is None:
        raise UserError(
            f"{trace.name}: prefix_eviction={serving.prefix_eviction} needs sessions, which this trace does not have"
        )
    session_of = None if trace.sessions is None else trace.sessions.id.tolist().__getitem__
    return lambda blocks: PrefixCache(blocks, chosen.order(blocks), session_of)
