"""Jets that stream by, cut into batches in a random order, with a bounded number held at a time.

The steps of an epoch are dealt to windows. A window takes as many jets from the stream as its
steps need and gives them in a random order of its own; meanwhile the next one is filled, a little
with each batch, so that reading does not come in bursts. Row groups come in a random order too, so
that a window holds jets from all over the data set.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ucluster_tune.data.format.packed import IntArray, PackedJets, concatenate

Permutation = Callable[[int], IntArray]


def step_windows(n_jets: int, n_steps: int, max_jets: int) -> list[list[int]]:
    """Return the sizes of all batches of an epoch, those of each window together.

    Batches are as large as those of `epoch_batches`. Of two neighbouring windows the first one is
    given out while the second is filled: together they have `max_jets` at most, unless single
    batches are too large for that.

    Args:
        n_jets: in all, at least `n_steps`.
        n_steps: batches.
        max_jets: that are to be held at a time.

    >>> step_windows(23, 5, 20)
    [[5, 5], [5, 4], [4]]
    >>> step_windows(23, 5, 100)
    [[5, 5, 5, 4, 4]]
    """
    sizes = np.full(n_steps, n_jets // n_steps)
    sizes[: n_jets % n_steps] += 1
    steps_of_window = max(1, max_jets // 2 // int(sizes[0]))
    n_windows = -(-n_steps // steps_of_window)
    return [window.tolist() for window in np.array_split(sizes, n_windows)]


def windowed_batches(
    blocks: Iterable[PackedJets], windows: Sequence[Sequence[int]], permutation: Permutation
) -> Iterator[PackedJets]:
    """Yield batches of jets from a stream, each jet once.

    Args:
        blocks: the stream; holds as many jets as all batches.
        windows: sizes of the batches of each.
        permutation: returns int64 [jet], an order of n jets; called once a window.
    """
    stream = _Stream(blocks)
    held = JetWindow()
    stream.fill(held, sum(windows[0]), sum(windows[0]))
    for sizes, next_sizes in zip(windows, [*windows[1:], []], strict=True):
        coming, n_coming, n_given = JetWindow(), sum(next_sizes), 0
        for chosen in np.split(permutation(len(held)), np.cumsum(sizes)[:-1]):
            yield held.take(chosen)
            n_given += len(chosen)
            stream.fill(coming, n_coming * n_given // len(held), n_coming)
        held = coming
    stream.refuse_more()


class JetWindow:
    """Jets in the parts that they came in."""

    def __init__(self) -> None:
        self._parts: list[PackedJets] = []
        self._starts: list[int] = [0]

    def __len__(self) -> int:
        return self._starts[-1]

    def add(self, jets: PackedJets) -> None:
        """Take some more jets."""
        self._parts.append(jets)
        self._starts.append(len(self) + len(jets))

    def take(self, jets: IntArray) -> PackedJets:
        """Return the chosen jets, in that order."""
        part = np.searchsorted(self._starts, jets, side="right") - 1
        by_part = np.argsort(part, kind="stable")
        borders = np.flatnonzero(np.diff(part[by_part])) + 1
        found = []
        for places in np.split(by_part, borders):
            index = part[places[0]]
            found.append(self._parts[index].take(jets[places] - self._starts[index]))
        together = concatenate(found)
        return together if len(found) == 1 else together.take(np.argsort(by_part))


class _Stream:
    """Blocks of jets, cut where a window ends."""

    def __init__(self, blocks: Iterable[PackedJets]) -> None:
        self._blocks = iter(blocks)
        self._rest: PackedJets | None = None

    def fill(self, window: JetWindow, n_wanted: int, n_most: int) -> None:
        """Add jets until a window has `n_wanted` at least; it never gets more than `n_most`."""
        while len(window) < n_wanted:
            block = self._rest if self._rest is not None else next(self._blocks, None)
            assert block is not None, "there are fewer jets than the batches need"
            n_room = n_most - len(window)
            self._rest = None
            if len(block) > n_room:
                self._rest = block.take(np.arange(n_room, len(block)))
                block = block.take(np.arange(n_room))
            window.add(block)

    def refuse_more(self) -> None:
        """Read to the end, at which the source looks whether all was as it should be."""
        n_left = sum(map(len, self._blocks)) + len(self._rest or ())
        assert n_left == 0, f"there are {n_left} jets more than the batches need"
