"""Which pages of a pool are free, held by sequences, or idle: nobody's, but still named by what they hold."""

from collections.abc import Callable, Iterable

Name = tuple[int, int]  # (id of a run of blocks, block in it)


class Pages:
    """`count` pages at `places` places, numbered from 0: where there are more, a page can choose its neighbours.

    Names follow the engine's prefix cache, which alone decides what is given up.
    """

    def __init__(self, count: int, places: int = 0) -> None:
        self.count, self.places = count, max(count, places)
        self._free = list(range(self.places - 1, -1, -1))
        self._users = [0] * self.places
        self._named: dict[Name, int] = {}
        self._name: dict[int, Name] = {}
        self.cached: Callable[[int], int] = lambda _: 0  # blocks of an id that the engine's cache still has

    @property
    def held(self) -> int:
        """Pages that sequences hold, each counted once."""
        return self.places - len(self._free) - len(self.idle)

    @property
    def left(self) -> int:
        """Pages that may still be taken."""
        return len(self._free) - (self.places - self.count)

    @property
    def idle(self) -> list[int]:
        """Named pages that nobody holds."""
        return [page for page in self._name if not self._users[page]]

    def take(self, many: int) -> list[int]:
        """New pages, held once. Raises RuntimeError where the engine promised room that is not there."""
        self.reserve(many)
        taken = [self._free.pop() for _ in range(many)]
        for page in taken:
            self._users[page] = 1
        return taken

    def reserve(self, many: int) -> None:
        """See that so many are free; raises RuntimeError as `take` does."""
        if many > self.left:
            self._forget()
        if many > self.left:
            raise RuntimeError(f"{many} pages wanted, {self.left} of {self.count} free: the engine's count is off")

    def share(self, names: Iterable[Name]) -> list[int]:
        """The pages of these names, as far as each follows the last, held once more."""
        found = []
        for name in names:
            page = self._named.get(name)
            if page is None:
                break
            self._users[page] += 1
            found.append(page)
        return found

    def drop(self, pages: Iterable[int]) -> None:
        """A sequence lets go of pages; those that have a name stay as they are."""
        for page in pages:
            self._users[page] -= 1
            if not self._users[page] and page not in self._name:
                self._free.append(page)

    def call(self, name: Name, page: int) -> int:
        """Name a page that a sequence holds; it then holds what is returned: it, or an older one with the name."""
        older = self._named.get(name)
        if older is None:
            if page not in self._name:
                self._named[name], self._name[page] = page, name
            return page
        if older != page:
            self._users[older] += 1
            self.drop([page])
        return older

    def _forget(self) -> None:
        """Free what the engine's prefix cache has given up."""
        for page in self.idle:
            run, block = self._name[page]
            if block >= self.cached(run):
                del self._named[self._name.pop(page)]
                self._free.append(page)
