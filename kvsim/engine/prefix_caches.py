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
        UserError: an order of eviction that does not exist, knows the future, needs sessions that the trace does not
            have, or that the radix tree does not know.
    """
    chosen = online(serving.prefix_eviction)
    if chosen.needs_sessions and trace.sessions is None:
        raise UserError(
            f"{trace.name}: prefix_eviction={serving.prefix_eviction} needs sessions, which this trace does not have"
        )
    if serving.prefix_cache == "radix":
        if serving.prefix_eviction != "lru":
            raise UserError(
                f"prefix_cache=radix gives up its least recently used leaves: prefix_eviction must be lru, but got "
                f"{serving.prefix_eviction}"
            )
        return RadixCache
    session_of = None if trace.sessions is None else trace.sessions.id.tolist().__getitem__
    return lambda blocks: PrefixCache(blocks, chosen.order(blocks), session_of)
