"""GGUF files taken apart into fields that can each be set to anything, sound or not, and put together again."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFValueType

ALIGNMENT = 32
STRING, ARRAY = int(GGUFValueType.STRING), int(GGUFValueType.ARRAY)
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type of a number -> its form in ``struct``."""


_BLOCKS = {int(type_): sizes for type_, sizes in GGML_QUANT_SIZES.items()}


@dataclass(slots=True)
class Value:
    """A metadata value.

    Attributes:
        key: Its key.
        type: Number of its type; of an array, of its elements.
        items: What it holds: one item where it is no array.
        is_array: Whether it is an array.
        count: How many items the file announces; None for as many as there are.
    """

    key: bytes
    type: int
    items: list[Any]
    is_array: bool = False
    count: int | None = None

    def packed(self) -> bytes:
        """As the file has it."""
        head = _text(self.key)
        if self.is_array:
            count = len(self.items) if self.count is None else self.count
            head += struct.pack("<IIQ", ARRAY, self.type & 0xFFFFFFFF, count & (2**64 - 1))
        else:
            head += struct.pack("<I", self.type & 0xFFFFFFFF)
        return head + b"".join(_item(self.type, item) for item in self.items)


@dataclass(slots=True)
class Tensor:
    """A tensor.

    Attributes:
        name: Its name.
        shape: Elements per dimension, ggml's order.
        type: Number of its type.
        data: Its contents.
        offset: Where the file says that it lies; None for where it does.
    """

    name: bytes
    shape: list[int]
    type: int
    data: bytes
    offset: int | None = None

    def fitted(self) -> None:
        """Make the data as long as shape and type say, up to 1 MB; what is new are zeros."""
        block, size = _BLOCKS.get(self.type, (1, 1))
        n = 1
        for length in self.shape:
            n *= length
        n_bytes = min(max(n, 0) // block * size, 1 << 20)
        self.data = self.data[:n_bytes] + bytes(max(n_bytes - len(self.data), 0))


@dataclass(slots=True)
class Document:
    """A GGUF file.

    Attributes:
        values: Its metadata.
        tensors: Its tensors.
        magic: Its first bytes.
        version: Its version.
        n_values: How many values it announces; None for as many as there are.
        n_tensors: How many tensors it announces, likewise.
        end: How many bytes are left off at its end.
    """

    values: list[Value]
    tensors: list[Tensor]
    magic: bytes = b"GGUF"
    version: int = 3
    n_values: int | None = None
    n_tensors: int | None = None
    cut: int | None = None
    tail: bytes = field(default=b"")

    def value(self, key: str) -> Value:
        """The value of a key."""
        return next(value for value in self.values if value.key == key.encode())

    def put(self, key: str, type_: int, *items: Any, is_array: bool = False) -> None:
        """Set the value of a key."""
        self.values = [value for value in self.values if value.key != key.encode()]
        self.values.append(Value(key.encode(), type_, list(items), is_array))

    def packed(self) -> bytes:
        """The file."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_values = len(self.values) if self.n_values is None else self.n_values
        parts = [self.magic, struct.pack("<I", self.version & 0xFFFFFFFF)]
        parts += [struct.pack("<Q", n & (2**64 - 1)) for n in (n_tensors, n_values)]
        parts += [value.packed() for value in self.values]
        offset, contents = 0, []
        for tensor in self.tensors:
            shape = [length & (2**64 - 1) for length in tensor.shape]
            at = offset if tensor.offset is None else tensor.offset
            parts.append(_text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
            parts.append(struct.pack("<IQ", tensor.type & 0xFFFFFFFF, at & (2**64 - 1)))
            contents.append(tensor.data + bytes(-len(tensor.data) % ALIGNMENT))
            offset += len(contents[-1])
        head = b"".join(parts)
        return (head + bytes(-len(head) % ALIGNMENT) + b"".join(contents) + self.tail)[: self.cut]


def read_document(path: Path) -> Document:
    """A sound file, taken apart."""
    reader = GGUFReader(path)
    values = []
    for key, entry in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        is_array = entry.types[0] == GGUFValueType.ARRAY
        type_ = int(entry.types[-1])
        parts: Sequence[Any] = [entry.parts[place] for place in entry.data]
        items = [bytes(part) if type_ == STRING else part[0].item() for part in parts]
        values.append(Value(key.encode(), type_, items, is_array))
    tensors = [
        Tensor(tensor.name.encode(), tensor.shape.tolist(), int(tensor.tensor_type), tensor.data.tobytes())
        for tensor in reader.tensors
    ]
    return Document(values, tensors)


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _item(type_: int, item: Any) -> bytes:
    """One item as near to its type as it can be written."""
    code = _CODES.get(type_)
    if code is None or isinstance(item, bytes):
        return _text(item if isinstance(item, bytes) else str(item).encode())
    if code in "fd?":
        return struct.pack(f"<{code}", item)
    size = 8 * struct.calcsize(code)
    return (int(item) & ((1 << size) - 1)).to_bytes(size // 8, "little")
