"""Packets to bytes and back: chapters 2 and 11 of docs/protocol.md.

A type is written as in the document: "u32", "text(255)", "list(128)<User>". `Codec` holds the
groups and enumerations that these names refer to. The fields of a packet or a group are attributes
of a SimpleNamespace.
"""

import re
import struct
from types import SimpleNamespace

INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i32": "<i"}


# The control characters of chapter 2, as ranges.
CONTROLS = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0x2028, 0x202E),
    (0x2066, 0x206F),
    (0xFFF9, 0xFFFB),
    (0xE0001, 0xE0001),
)


def is_control(char):
    return any(first <= ord(char) <= last for first, last in CONTROLS)


def visible(text):
    """Returns a text with its control characters escaped, for a terminal."""
    return "".join(f"\\u{{{ord(char):x}}}" if is_control(char) else char for char in text)


class Malformed(Exception):
    """The bytes are not a packet."""


class Reader:
    """Takes bytes off the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Malformed(f"the packet ends {self.at + count - len(self.data)} bytes early")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, name):
        return struct.unpack(INTEGERS[name], self.take(struct.calcsize(INTEGERS[name])))[0]

    def length(self, limit):
        length = self.integer("u16")
        if length > limit:
            raise Malformed(f"a length of {length}, the limit is {limit}")
        return length


class Codec:
    """Encodes and decodes values. Takes `packets` {number: (name, fields)}, `groups` {name: fields}
    and `enumerations` {name: {value: name}}, where fields are [(name, type)]."""

    def __init__(self, packets, groups, enumerations):
        self.packets, self.groups, self.enumerations = packets, groups, enumerations
        self.numbers = {name: number for number, (name, _) in packets.items()}

    def encode_packet(self, name, /, **values):
        number = self.numbers[name]
        fields = self.packets[number][1]
        return struct.pack("<H", number) + self.encode_fields(fields, values)

    def decode_packet(self, data):
        """Returns the packet's fields, with its name as attribute `packet`."""
        reader = Reader(data)
        number = reader.integer("u16")
        if number not in self.packets:
            raise Malformed(f"no packet has the number {number:#06x}")
        name, fields = self.packets[number]
        packet = self.decode_fields(fields, reader)
        if reader.at != len(data):
            raise Malformed(f"{len(data) - reader.at} bytes follow the last field")
        packet.packet = name
        return packet

    def encode_fields(self, fields, values):
        if set(values) != {name for name, _ in fields}:
            raise ValueError(f"fields are {[name for name, _ in fields]}, not {list(values)}")
        return b"".join(self.encode(type_name, values[name]) for name, type_name in fields)

    def decode_fields(self, fields, reader):
        return SimpleNamespace(**{name: self.decode(type_name, reader) for name, type_name in fields})

    def encode(self, type_name, value):
        kind, limit, inner = parts(type_name)
        if kind in INTEGERS:
            return struct.pack(INTEGERS[kind], value)
        if kind == "bool":
            return bytes([bool(value)])
        if kind == "option":
            return b"\x00" if value is None else b"\x01" + self.encode(inner, value)
        if kind in self.enumerations:
            values = {name: number for number, name in self.enumerations[kind].items()}
            return bytes([values[value]])
        if kind in self.groups:
            values = value if isinstance(value, dict) else vars(value)
            return self.encode_fields(self.groups[kind], values)
        if kind in ("text", "line"):
            value = value.encode("utf-8")
        if kind == "byte":
            if len(value) != limit:
                raise ValueError(f"{len(value)} bytes instead of {limit}")
            return bytes(value)
        if len(value) > limit:
            raise ValueError(f"{len(value)} does not fit {type_name}")
        body = bytes(value) if kind != "list" else b"".join(self.encode(inner, item) for item in value)
        return struct.pack("<H", len(value)) + body

    def decode(self, type_name, reader):
        kind, limit, inner = parts(type_name)
        if kind in INTEGERS:
            return reader.integer(kind)
        if kind == "byte":
            return reader.take(limit)
        if kind == "bytes":
            return reader.take(reader.length(limit))
        if kind in ("text", "line"):
            try:
                text = reader.take(reader.length(limit)).decode("utf-8")
            except UnicodeDecodeError as error:
                raise Malformed("a text is not UTF-8") from error
            if kind == "line" and any(is_control(char) for char in text):
                raise Malformed("a text of one line has a control character")
            return text
        if kind == "list":
            return [self.decode(inner, reader) for _ in range(reader.length(limit))]
        if kind in self.groups:
            return self.decode_fields(self.groups[kind], reader)
        value = reader.integer("u8")
        if kind == "bool" and value <= 1:
            return value == 1
        if kind == "option" and value <= 1:
            return self.decode(inner, reader) if value else None
        if kind in self.enumerations and value in self.enumerations[kind]:
            return self.enumerations[kind][value]
        raise Malformed(f"{value} is not a value of {type_name}")


def parts(type_name):
    """Splits "list(128)<User>" into ("list", 128, "User")."""
    match = re.fullmatch(r"(\w+)(?:[(\[](\d+)[)\]])?(?:<(.+)>)?", type_name)
    if match is None:
        raise ValueError(f"not a type: {type_name}")
    kind, limit, inner = match.groups()
    return kind, limit and int(limit), inner
