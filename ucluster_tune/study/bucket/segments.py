"""A study's record in a bucket: parts of it, of which each is written whole.

An object cannot be appended to. So the record lies there as numbered segments. The last one is
written anew, longer, with each batch of lines, until it is full; the others never change. Readers
see an old or a new segment, never half of one.

A segment's name tells its number, the term and the session that wrote it. Each driver that takes
the study has a higher term than the one before. Where two of them wrote, since the first was taken
for dead but was not, the higher term is the record: `chain` leaves out what it replaced.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 128 * 1024
_NAME: Final = re.compile(r"(\d{6,})-(\d{4,})-([0-9a-f]{8})\.jsonl")


@dataclass(frozen=True, order=True)
class Segment:
    """A part of the record.

    Attributes:
        number: its place in the record, from 1.
        term: of the driver that wrote it.
        session: of the same driver, 8 hexadecimal digits.
        n_bytes: its length so far.
    """

    number: int
    term: int
    session: str
    n_bytes: int

    @property
    def name(self) -> str:
        """The name of its object."""
        return f"{self.number:06d}-{self.term:04d}-{self.session}.jsonl"

    @classmethod
    def named(cls, name: str, n_bytes: int) -> "Segment | None":
        """Return the segment with this name; None for a name that is none.

        >>> Segment.named("000012-0002-00ff00ff.jsonl", 7)
        Segment(number=12, term=2, session='00ff00ff', n_bytes=7)
        """
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), int(match[2]), match[3], n_bytes) if match else None


def chain(found: Iterable[Segment]) -> list[Segment]:
    """Return the segments that are the record, in order.

    Of each number the highest term counts, and no lower term after a higher one.

    >>> a = [Segment(n, 1, "aaaaaaaa", 10) for n in (1, 2, 3)]
    >>> b = [Segment(2, 2, "bbbbbbbb", 20)]
    >>> [segment.session[0] for segment in chain(a + b)]
    ['a', 'b']
    """
    best: dict[int, Segment] = {}
    for segment in found:
        if segment.number not in best or segment > best[segment.number]:
            best[segment.number] = segment
    kept: list[Segment] = []
    while (following := best.get(len(kept) + 1)) is not None:
        if kept and following.term < kept[-1].term:
            break
        kept.append(following)
    return kept
