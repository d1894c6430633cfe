"""Damage for files of every format: of the bytes as they lie, and of the values inside, packed again whole.

    damaged(data, "json", Random(7))

A checksum or a parser ends most damage of bytes at once. What is packed again as its format wants reaches the
code behind: numbers of another type, names that are missing, sizes that cannot be.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
import yaml

Mutator = Callable[[bytes, Random], bytes]

DEEP = 3_000
"""Lists within lists: more than a parser's recursion takes, but few bytes."""
WRONG = (
    *(None, True, False, "", " ", "x", "1", "-1", "nan", "../../etc/passwd", "/dev/zero", "\x1b[31m\x07\n"),
    *(0, 1, -1, 2, 7, 255, 20_000, 200_000, 10**9, 2**31, 2**63, -(2**63), 10**30, 0.5, 2.0, -0.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        [],
        {},
        [1, 2],
        ["x"],
        [[]],
        {"x": 1},
        "é" * 500,
        "x" * 9000,
    ),
)
"""Values of the wrong kind or size, to stand in the place of any other."""


def damaged(data: bytes, kind: str, random: Random) -> bytes:
    """The content of a file of a kind, damaged at random: its bytes, or what they stand for."""
    mutate = MUTATORS[kind] if random.random() < 0.7 else damaged_bytes
    return mutate(data, random)


def damaged_bytes(data: bytes, random: Random) -> bytes:
    """Bytes that are cut off, flipped, set to zero, moved, doubled, or put in between."""
    spoiled = bytearray(data)
    size = len(spoiled)
    start = random.randrange(size)
    end = min(size, start + random.choice((1, 4, 16, 64, 512)))
    match random.randrange(7):
        case 0:
            del spoiled[start:]
        case 1:
            for _ in range(random.choice((1, 1, 2, 8))):
                spoiled[random.randrange(size)] ^= 1 << random.randrange(8)
        case 2:
            spoiled[start:end] = bytes(end - start)
        case 3:
            place = random.randrange(size)
            spoiled[place : place + end - start] = data[start:end]
        case 4:
            spoiled[start:start] = data[start:end]
        case 5:
            spoiled[start:start] = random.randbytes(end - start)
        case 6:
            del spoiled[start:end]
    return bytes(spoiled)


def places(tree: object, found: list | None = None) -> list[tuple[object, object]]:
    """(container, key) of every value in lists and dictionaries within each other."""
    found = [] if found is None else found
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        found.append((tree, key))
        places(tree[key], found)
    return found


def damaged_tree(tree: object, random: Random, wrong: tuple = WRONG) -> object:
    """Lists and dictionaries within each other with one to three values or names that are wrong."""
    tree = deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        known = places(tree)
        if not known:
            return random.choice(wrong)
        container, key = random.choice(known)
        value = container[key]
        match random.randrange(8):
            case 0 | 1 | 2:
                container[key] = deepcopy(random.choice(wrong))
            case 3:
                del container[key]
            case 4:
                other, name = random.choice(known)
                container[key] = deepcopy(other[name]) if name in places_of(other) else None
            case 5:
                container[key] = of_another_type(value)
            case 6 if isinstance(container, dict):
                container[random.choice(("", "x", "path", "__class__", f"{key} "))] = value
            case 7 if isinstance(value, int | float) and not isinstance(value, bool):
                container[key] = value * random.choice((-1, 2, 0.5, 1000, 10**9))
    return tree


def places_of(container: object) -> object:
    """The keys of a dictionary, or the places of a list."""
    return container if isinstance(container, dict) else range(len(container))


def of_another_type(value: object) -> object:
    """The same value as another type would hold it."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else list(value)
    if isinstance(value, list):
        return dict(enumerate(value)) if value else None
    if isinstance(value, dict):
        return list(value.items())
    return str(value)


def damaged_json(data: bytes, random: Random) -> bytes:
    """A JSON text of wrong values, of a name that stands twice, or of lists without an end."""
    text = json.dumps(damaged_tree(json.loads(data), random))
    match random.randrange(12):
        case 0:
            return ("[" * DEEP).encode()
        case 1:
            return text.replace("}", ', "x": ' + "[" * DEEP + "]" * DEEP + "}", 1).encode()
        case 2:
            return text.replace('": ', '": 1, "x": 2, "x": ', 1).encode()
    return text.encode()


def damaged_lines(data: bytes, random: Random) -> bytes:
    """Lines of JSON, of which one is damaged."""
    lines = data.splitlines()
    number = random.randrange(len(lines))
    lines[number] = damaged_json(lines[number], random)
    return b"\n".join(lines)


def damaged_yaml(data: bytes, random: Random) -> bytes:
    """A YAML text of wrong values, of references that multiply, or of lists without an end."""
    text = yaml.safe_dump(damaged_tree(yaml.safe_load(data), random), sort_keys=False)
    match random.randrange(12):
        case 0:
            return ("x: " + "[" * DEEP).encode()
        case 1:
            names = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)]
            return ("a0: &a0 [x]\n" + "".join(names) + text).encode()
        case 2:
            return (text + "x: &x {y: *x}\n" + text).encode()
    return text.encode()


def damaged_table(data: bytes, random: Random) -> bytes:
    """A table of text with wrong cells, rows that are cut or double, and columns of other names."""
    separator = max(b",\t; ", key=lambda sign: data.count(bytes([sign])))
    rows = [line.split(bytes([separator])) for line in data.splitlines()]
    wrong = [str(value).encode() for value in WRONG]
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows)
        cell = random.randrange(len(row)) if row else 0
        match random.randrange(6):
            case 0 | 1 if row:
                row[cell] = random.choice(wrong)
            case 2 if row:
                del row[cell]
            case 3:
                row.append(random.choice(wrong))
            case 4:
                rows.insert(random.randrange(len(rows)), list(random.choice(rows)))
            case 5 if row:
                row[cell] = b'"' + row[cell]
    return b"\n".join(bytes([separator]).join(row) for row in rows) + b"\n"


def damaged_safetensors(data: bytes, random: Random) -> bytes:
    """A safetensors file with a wrong header, a wrong text in its metadata, or wrong numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    numbers = data[8 + length :]
    metadata = header.get("__metadata__", {})
    inner = [key for key, text in metadata.items() if text.startswith(("{", "["))]
    match random.randrange(4):
        case 0:
            header = damaged_tree(header, random)
        case 1 | 2 if inner:
            key = random.choice(inner)
            metadata[key] = damaged_json(metadata[key].encode(), random).decode()
        case 3:
            numbers = damaged_bytes(numbers, random)
    text = json.dumps(header).encode()
    length = random.choice((2**62, 10**15, 0, len(text) - 1)) if random.random() < 0.05 else len(text)
    return struct.pack("<Q", length) + text + numbers


def damaged_torch(data: bytes, random: Random) -> bytes:
    """A file of torch with wrong values or tensors, or with a pickle that is wrong inside a whole archive."""
    if random.random() < 0.3:
        return damaged_archive(data, random)
    content = torch.load(io.BytesIO(data), weights_only=True)
    file = io.BytesIO()
    tree = damaged_tree(content, random, (*WRONG, *wrong_tensors()))
    torch.save(tree, file, _use_new_zipfile_serialization=random.random() < 0.8)
    return file.getvalue()


def wrong_tensors() -> tuple[torch.Tensor, ...]:
    """Tensors that no network takes: of other types and layouts, views of one number, and without numbers."""
    one = torch.ones(1)
    return (
        *(torch.ones(3), torch.ones(2, 2, dtype=torch.int64), torch.ones(2, dtype=torch.complex64)),
        *(torch.ones(4).to(torch.float8_e4m3fn), one.expand(10**12), one.expand(10**6, 10**6)),
        *(torch.full((2, 2), float("nan")), torch.ones(2, 2).to_sparse(), torch.ones(0), torch.tensor(1.0)),
        *(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), torch.ones(2, device="meta")),
    )


def damaged_archive(data: bytes, random: Random) -> bytes:
    """A zip archive in which one member is damaged, with a checksum that is right, or packed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    spoiled = random.randrange(len(members))
    packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", packing) as archive:
        for number, (member, content) in enumerate(members):
            if number == spoiled and random.random() < 0.1:
                content = bytes(50_000_000) if packing else b""
            elif number == spoiled and content:
                content = damaged_bytes(content, random)
            archive.writestr(member.filename, content)
    return file.getvalue()


def damaged_npz(data: bytes, random: Random) -> bytes:
    """An archive of arrays with arrays of other types, shapes and names, or with a header that lies."""
    if random.random() < 0.4:
        return damaged_archive(data, random)
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    name = random.choice(list(arrays))
    array = arrays[name]
    other = [array.astype(kind) for kind in ("f8", "i8", "U3")] + [array[:0], array[:1], array[None], array.T]
    other += [np.full(array.shape, np.nan), np.array(None), np.zeros(3, "c16"), np.array(7), array.ravel()]
    arrays[name] = random.choice(other)
    if random.random() < 0.2:
        arrays["x"] = arrays.pop(name)
    file = io.BytesIO()
    random.choice((np.savez, np.savez_compressed))(file, **arrays)
    return file.getvalue()


def damaged_parquet(data: bytes, random: Random) -> bytes:
    """A Parquet file with columns of other types, names and values."""
    table = pa.parquet.read_table(io.BytesIO(data))
    place = random.randrange(table.num_columns)
    name = table.column_names[place]
    rows = table.num_rows
    values = [random.choice(WRONG[:30]) for _ in range(rows)]
    columns = [pa.array([None] * rows), pa.array(map(str, values)), pa.array([[1.0]] * rows)]
    columns += [pa.array([2**62] * rows), pa.array([float("nan")] * rows), pa.array([-1] * rows)]
    columns += [pa.array([b"x"] * rows), pa.array([{"x": 1}] * rows), pa.array([True] * rows)]
    columns += [table[name].take(pa.array(random.sample(range(rows), rows)))]
    match random.randrange(6):
        case 0:
            table = table.remove_column(place)
        case 1:
            table = table.rename_columns([*table.column_names[:place], "x", *table.column_names[place + 1 :]])
        case 2:
            table = table.slice(0, random.randrange(rows))
        case 3:
            table = pa.concat_tables([table, table])
        case _:
            table = table.set_column(place, name, random.choice(columns))
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue()


def damaged_png(data: bytes, random: Random) -> bytes:
    """A PNG in which one chunk is damaged, with a checksum that is right."""
    chunks = []
    place = 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    number = random.randrange(len(chunks))
    name, content = chunks[number]
    if name == b"IHDR" and random.random() < 0.5:
        sizes = random.choice(((0, 0), (1, 2**31 - 1), (100_000, 100_000), (2**31 - 1, 2**31 - 1)))
        content = struct.pack(">II", *sizes) + content[8:]
    elif name == b"IDAT" and random.random() < 0.5:
        content = zlib.compress(damaged_bytes(zlib.decompress(content), random))
    elif content:
        content = damaged_bytes(content, random)
    chunks[number] = (name, content)
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return data[:8] + b"".join(packed)


def damaged_events(data: bytes, random: Random) -> bytes:
    """A log of TensorBoard in which one record is damaged, with checksums that are right."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    records = []
    place = 0
    while place < len(data):
        (length,) = struct.unpack("<Q", data[place : place + 8])
        records.append(data[place + 12 : place + 12 + length])
        place += 16 + length
    number = random.randrange(len(records))
    records[number] = damaged_bytes(records[number], random) if records[number] else b"x"
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, record))
        parts += [length, next(sums), record, next(sums)]
    return b"".join(parts)


MUTATORS: dict[str, Mutator] = {
    "bytes": damaged_bytes,
    "json": damaged_json,
    "lines": damaged_lines,
    "yaml": damaged_yaml,
    "table": damaged_table,
    "safetensors": damaged_safetensors,
    "torch": damaged_torch,
    "npz": damaged_npz,
    "parquet": damaged_parquet,
    "png": damaged_png,
    "events": damaged_events,
}
