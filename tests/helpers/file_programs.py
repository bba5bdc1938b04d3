"""Random short programs on a `Tape`: everything that a writer may do to files, in an order that makes sense."""

from __future__ import annotations

import os
import random

from tests.helpers.tapes import CREATE, Tape

SIZES = (10, 5000, 9000)


class Program:
    """Follows which names are there and how long their files are, so that what is drawn can be done."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.tape = Tape({"a": b"o" * 6000, "b": b"p" * 50}, world_size=2)
        self.sizes = {"a": [6000], "b": [50]}  # a name -> the size of its file, shared by its links
        self.letter = 64

    def steps(self, count: int) -> Tape:
        for _ in range(count):
            self.tape.at(self.draw.randrange(2))
            here = self.draw.choice(sorted(self.sizes))
            getattr(
                self, self.draw.choice(("put", "rows", "over", "over", "append", "cut", "names", "sync"))
            )(here)
        return self.tape.returned()

    def data(self, size: int) -> bytes:
        self.letter += 1
        return bytes([self.letter]) * size

    def close(self, name: str) -> None:
        self.tape.do("close", name, handle=self.tape._open[name])

    def put(self, _: str) -> None:
        name = self.draw.choice("abcd")
        size = self.draw.choice(SIZES)
        self.tape.put(name, self.data(size), sync=self.draw.random() < 0.3)
        self.sizes.setdefault(name, [0])[0] = size

    def rows(self, _: str) -> None:
        name = self.draw.choice("cd")
        self.tape.open(name, CREATE)
        place = 0
        for size in self.draw.sample((3, 7, 4093, 4200), 2):
            self.tape.write(name, self.data(size), place)
            place += size
        self.close(name)
        self.sizes.setdefault(name, [0])[0] = place

    def over(self, name: str) -> None:
        offset, size = self.draw.choice((0, 100, 4096)), self.draw.choice((10, 5000))
        if offset > self.sizes[name][0]:
            return
        self.tape.open(name, os.O_WRONLY).write(name, self.data(size), offset)
        if self.draw.random() < 0.4:
            self.tape.do("fdatasync", name, handle=self.tape._open[name])
        self.close(name)
        self.sizes[name][0] = max(self.sizes[name][0], offset + size)

    def append(self, name: str) -> None:
        data = self.data(self.draw.choice((5, 4200)))
        self.tape.open(name, os.O_WRONLY | os.O_APPEND).write(name, data, self.sizes[name][0])
        self.close(name)
        self.sizes[name][0] += len(data)

    def cut(self, name: str) -> None:
        self.sizes[name][0] = self.draw.choice((0, 5, 7000))
        self.tape.do("truncate", name, offset=self.sizes[name][0])

    def names(self, name: str) -> None:
        target = self.draw.choice("abcd")
        match self.draw.randrange(3):
            case 0 if len(self.sizes) > 1:
                self.tape.do("unlink", name)
                del self.sizes[name]
            case 1 if target not in self.sizes:
                self.tape.do("link", name, target=target)
                self.sizes[target] = self.sizes[name]
            case 2 if target != name and self.sizes.get(target) is not self.sizes[name]:
                self.tape.do("rename", name, target=target)
                self.sizes[target] = self.sizes.pop(name)

    def sync(self, name: str) -> None:
        if self.draw.random() < 0.5:
            self.tape.do("fsync_directory", "")
        else:
            self.tape.open(name, os.O_RDONLY).fsync(name)
            self.close(name)
