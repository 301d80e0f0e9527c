"""GGUF files, read and checked before llama.cpp sees them: it answers much of what is wrong by abort().

The header is parsed here and not by ``gguf.GGUFReader``, which believes every count and length of a
damaged file, maps it (a file that shrinks then kills the process) and makes two arrays per token,
which takes seconds for a vocabulary of 151,936. The package brings the constants.
"""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from numpy.typing import NDArray

from cascade.errors import ModelFileError

HEADER_LIMIT = 64 * 2**20
"""Most bytes of metadata and tensor list; a vocabulary of 262,144 tokens takes about a quarter of it."""

ENTRY_LIMIT = 65_536
"""Most metadata keys, and most tensors, of one file."""

_MAX_NAME = 64  # GGML_MAX_NAME, which counts the closing zero byte.
_MAX_DIMS = 4
_U64 = struct.Struct("<Q")
_NUMBERS: dict[GGUFValueType, np.dtype[Any]] = {
    type_: np.dtype(type_.name.lower()).newbyteorder("<")
    for type_ in GGUFValueType
    if type_ not in (GGUFValueType.STRING, GGUFValueType.ARRAY)
}

Value = str | bool | int | float | NDArray[Any] | tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetaValue:
    """One metadata value and its type, because llama.cpp aborts on a good value of a wrong type.

    Attributes:
        type: Type of the value; for an array, of its elements.
        is_array: Whether it is an array.
        value: A number, a text, a numpy array of numbers, or a tuple of undecoded texts.
    """

    type: GGUFValueType
    value: Value
    is_array: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Where a tensor lies.

    Attributes:
        shape: Elements per dimension in ggml's order, the fastest first: numpy's reversed.
        type: How the elements are stored.
        offset: Bytes from the start of the file.
        n_bytes: Size of the data.
    """

    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GGUFFile:
    """What the header of a GGUF file says.

    Attributes:
        path: The file.
        size: Its bytes; every tensor ends within.
        metadata: Key -> value, in the file's order.
        tensors: Name -> place, in the file's order.
    """

    path: Path
    size: int
    metadata: Mapping[str, MetaValue]
    tensors: Mapping[str, TensorInfo]

    def get(self, key: str, *types: GGUFValueType, is_array: bool = False) -> Any:
        """A value of one of these types; None if the key is absent.

        Raises:
            ModelFileError: It has another type.
        """
        found = self.metadata.get(key)
        if found is None:
            return None
        if found.type not in types or found.is_array != is_array:
            array = "array of " if is_array else ""
            allowed = " or ".join(array + type_.name.lower() for type_ in types)
            given = ("array of " if found.is_array else "") + found.type.name.lower()
            self.refuse(f"{key} has the type {given}", f"llama.cpp takes only {allowed}; export the file again so")
        return found.value

    def require(self, key: str, *types: GGUFValueType, is_array: bool = False) -> Any:
        """A value of one of these types.

        Raises:
            ModelFileError: It is absent or has another type.
        """
        value = self.get(key, *types, is_array=is_array)
        if value is None:
            self.refuse(f"has no {key}", "Get or export another file")
        return value

    def refuse(self, problem: str, remedy: str) -> NoReturn:
        """Raise what says that this file must not reach llama.cpp."""
        _refuse(self.path, problem, remedy)


def read_gguf(path: Path) -> GGUFFile:
    """The header of a GGUF file, checked against the file's size; no tensor is read.

    Raises:
        ModelFileError: The file is missing, no GGUF file, damaged, or cut short.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # Opening a pipe would wait for ever.
            _refuse(path, "is not a regular file", "Give the path of a GGUF file")
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            data = handle.read(min(size, HEADER_LIMIT))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path.
        problem = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        _refuse(path, problem, "Give the path of a GGUF file", error)
    cursor = _Cursor(path, data)
    n_tensors, n_values = _read_counts(cursor)
    metadata = _read_metadata(cursor, n_values)
    tensors = _read_tensors(cursor, n_tensors, size, _alignment(path, metadata))
    return GGUFFile(path=path, size=size, metadata=metadata, tensors=tensors)


class _Cursor:
    """A place in the header from which nothing is read past the end."""

    __slots__ = ("at", "data", "path")

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def refuse(self, problem: str, cause: Exception | None = None) -> NoReturn:
        """Raise what says that the file is damaged."""
        _refuse(self.path, f"is damaged: {problem} (at byte {self.at})", "Get it or export it again", cause)

    def need(self, n_bytes: int) -> None:
        """Check that so many bytes follow."""
        if n_bytes > len(self.data) - self.at:
            cut = len(self.data) < HEADER_LIMIT
            self.refuse(f"it ends within its header, where {n_bytes} bytes are due" if cut else "its header never ends")

    def number(self, type_: GGUFValueType) -> Any:
        """The next number."""
        return self.numbers(type_, 1)[0].item()

    def numbers(self, type_: GGUFValueType, count: int) -> NDArray[Any]:
        """The next numbers, copied out of the header."""
        dtype = _NUMBERS[type_]
        self.need(count * dtype.itemsize)
        values: NDArray[Any] = np.frombuffer(self.data, dtype, count, self.at).copy()
        self.at += values.nbytes
        return values

    def texts(self, count: int) -> tuple[bytes, ...]:
        """The next texts, each with its length before it; a plain loop, as vocabularies are long."""
        self.need(count * _U64.size)
        found = []
        for _ in range(count):
            self.need(_U64.size)
            (length,) = _U64.unpack_from(self.data, self.at)
            self.at += _U64.size
            self.need(length)
            found.append(self.data[self.at : self.at + length])
            self.at += length
        return tuple(found)

    def name(self, what: str, known: Mapping[str, object]) -> str:
        """The next text as a name that is not yet known."""
        (raw,) = self.texts(1)
        if not raw or not raw.isascii() or b"\0" in raw:  # llama.cpp compares up to a zero byte.
            self.refuse(f"a {what} has the name {raw[:_MAX_NAME]!r}")
        name = raw.decode()
        if name in known:
            self.refuse(f"the {what} {name!r} stands there twice")
        return name

    def type(self) -> GGUFValueType:
        """The next type of a value."""
        number = self.number(GGUFValueType.UINT32)
        try:
            return GGUFValueType(number)
        except ValueError as error:
            self.refuse(f"there is no type of value {number}", error)


def _read_counts(cursor: _Cursor) -> tuple[int, int]:
    if cursor.data[:4] != b"GGUF":
        _refuse(cursor.path, f"is no GGUF file, it begins with {cursor.data[:4]!r}", "Give the path of a GGUF file")
    cursor.at = 4
    version = cursor.number(GGUFValueType.UINT32)
    if version not in (2, 3):  # Another byte order shows here too.
        _refuse(cursor.path, f"has GGUF version {version}; 2 and 3 are known", "Convert the model again")
    n_tensors, n_values = cursor.numbers(GGUFValueType.UINT64, 2).tolist()
    if max(n_tensors, n_values) > ENTRY_LIMIT:
        cursor.refuse(f"it announces {n_tensors} tensors and {n_values} metadata values; {ENTRY_LIMIT} are allowed")
    return n_tensors, n_values


def _read_metadata(cursor: _Cursor, count: int) -> dict[str, MetaValue]:
    metadata: dict[str, MetaValue] = {}
    for _ in range(count):
        key = cursor.name("metadata key", metadata)
        type_ = cursor.type()
        is_array = type_ is GGUFValueType.ARRAY
        if is_array:
            type_ = cursor.type()
            length = cursor.number(GGUFValueType.UINT64)
        if type_ is GGUFValueType.ARRAY:
            cursor.refuse(f"{key} is an array of arrays, which llama.cpp does not read")
        if is_array:
            is_text = type_ is GGUFValueType.STRING
            value: Value = cursor.texts(length) if is_text else cursor.numbers(type_, length)
        elif type_ is GGUFValueType.STRING:
            value = cursor.texts(1)[0].partition(b"\0")[0].decode(errors="replace")  # As llama.cpp reads it.
        else:
            value = cursor.number(type_)
        metadata[key] = MetaValue(type=type_, value=value, is_array=is_array)
    return metadata


def _alignment(path: Path, metadata: Mapping[str, MetaValue]) -> int:
    entry = metadata.get("general.alignment", MetaValue(type=GGUFValueType.UINT32, value=32))
    given = entry.value
    if entry.type is not GGUFValueType.UINT32 or not isinstance(given, int) or given.bit_count() != 1:
        _refuse(path, f"general.alignment is {given}", "It must be a 32-bit power of two; export the file again")
    return given


def _read_tensors(cursor: _Cursor, count: int, size: int, alignment: int) -> dict[str, TensorInfo]:
    tensors: dict[str, TensorInfo] = {}
    due = 0
    for _ in range(count):
        name = cursor.name("tensor", tensors)
        if len(name.encode()) >= _MAX_NAME:
            cursor.refuse(f"the tensor name {name!r} has more than {_MAX_NAME - 1} bytes")
        info = _read_tensor(cursor, name)
        if info.offset != due:  # llama.cpp reads only files without gaps or overlaps.
            cursor.refuse(f"tensor {name!r} lies at {info.offset}, where {due} is due")
        due += _padded(info.n_bytes, alignment)
        tensors[name] = info
    start = _padded(cursor.at, alignment)
    for name, info in tensors.items():
        tensors[name] = placed = replace(info, offset=start + info.offset)
        if placed.offset + placed.n_bytes > size:
            _refuse(
                cursor.path,
                f"is cut short: tensor {name!r} ends at byte {placed.offset + placed.n_bytes} of {size}",
                "Download or export it again",
            )
    return tensors


def _read_tensor(cursor: _Cursor, name: str) -> TensorInfo:
    n_dims = cursor.number(GGUFValueType.UINT32)
    if not 1 <= n_dims <= _MAX_DIMS:
        cursor.refuse(f"tensor {name!r} has {n_dims} dimensions; 1 to {_MAX_DIMS} are allowed")
    shape = tuple(cursor.numbers(GGUFValueType.UINT64, n_dims).tolist())
    number = cursor.number(GGUFValueType.UINT32)
    offset = cursor.number(GGUFValueType.UINT64)
    try:
        type_ = GGMLQuantizationType(number)
    except ValueError as error:
        cursor.refuse(f"tensor {name!r} has the unknown type {number}", error)
    block, block_bytes = GGML_QUANT_SIZES[type_]
    if 0 in shape or shape[0] % block:
        cursor.refuse(f"tensor {name!r} of type {type_.name} has the shape {shape}; rows come in blocks of {block}")
    return TensorInfo(shape=shape, type=type_, offset=offset, n_bytes=math.prod(shape) // block * block_bytes)


def _padded(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment


def _refuse(path: Path, problem: str, remedy: str, cause: Exception | None = None) -> NoReturn:
    msg = f"{path}: {problem}. {remedy}."
    raise ModelFileError(msg) from cause
