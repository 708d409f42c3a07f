"""Where a source of several files stands, as the JSON value that it is resumed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from autocoder_components.files.streams import Mark

GONE_KEPT: Final = 1000
"""Files that are no more are remembered up to this many, in case they come back (a folder mounted again)."""


class Position:
    """The marks of the files that were read, by name.

    As JSON: `{"files": {name: [offset, line, inode, head_size, head, end]}, "now": [name, offset, ...]}`. `files` is
    shared by the positions of all batches of one file and never changed in place, so that a position costs little.
    """

    def __init__(self, marks: Mapping[str, Mark]) -> None:
        self.marks = dict(marks)
        self._others: dict[str, list[Any]] = {}
        self._others_of: str | None = None

    @classmethod
    def from_json(cls, resume: Any) -> Position:
        """The position of an earlier run; None is the beginning. Raises ValueError for anything else."""
        if resume is None:
            return cls({})
        try:
            marks = {name: Mark(*mark) for name, mark in resume["files"].items()}
            if resume["now"] is not None:
                name, *mark = resume["now"]
                marks[name] = Mark(*mark)
        except (TypeError, KeyError, ValueError, AttributeError):
            raise ValueError(
                "the saved position is not one of this source; it was written by another component under the same name"
            ) from None
        return cls(marks)

    def at(self, name: str, mark: Mark) -> dict[str, Any]:
        """The position after what `mark` says was read of the file `name`."""
        if self._others_of != name:
            self._others = {other: list(known) for other, known in self.marks.items() if other != name}
            self._others_of = name
        self.marks[name] = mark
        return {"files": self._others, "now": [name, *mark]}

    def as_it_is(self) -> dict[str, Any]:
        """The position where nothing was read that it could tell."""
        return {"files": {name: list(mark) for name, mark in self.marks.items()}, "now": None}

    def note(self, name: str, mark: Mark) -> None:
        """Remember a mark that no batch carries: that a file has ended."""
        self.marks[name] = mark
        if name != self._others_of:
            self._others_of = None

    def follow_renames(self, inodes: Mapping[str, int]) -> None:
        """Take over the marks of files that were renamed (log rotation), recognised by their inodes.

        `inodes` are those of the files that match now. A mark whose name another file has taken is dropped.
        """
        by_inode = {mark.inode: name for name, mark in self.marks.items()}
        before = self.marks
        self.marks = {name: mark for name, mark in before.items() if inodes.get(name, mark.inode) == mark.inode}
        for name, inode in inodes.items():
            old = by_inode.get(inode)
            if name in self.marks or old is None:
                continue
            self.marks[name] = before[old]
            if old not in inodes:
                self.marks.pop(old, None)
        self._others_of = None

    def forget_gone(self, names: Iterable[str]) -> None:
        """Drop the oldest marks of files that are not among `names`, beyond a thousand."""
        here = set(names)
        gone = [name for name in self.marks if name not in here]
        for name in gone[:-GONE_KEPT]:
            del self.marks[name]
            self._others_of = None
