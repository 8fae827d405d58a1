"""A worker process of a sweep: points come from its parent, outcomes go there."""

from typing import NoReturn

from kvsim.study.child import Parent
from kvsim.study.point import outcome


def main() -> NoReturn:
    """Serve until the parent is gone."""
    parent = Parent()
    while True:
        number, options, folder = parent.receive()
        found = outcome(number, options, folder)
        parent.send([found.number, found.status, found.text])


if __name__ == "__main__":
    main()
