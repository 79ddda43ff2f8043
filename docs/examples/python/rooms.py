"""The room keys of one session: chapter 5.2 of docs/protocol.md.

Messages of a large room are sealed once, with a key that all its members have.
"""

import struct
from types import SimpleNamespace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOM_HEADER, TAG = 16, 16
KEYS = 266  # 256 channels that a user can be in, nine sectors within reach, and the chat
SECTORS = 1 << 31  # rooms from here on are rooms of sectors
NOTICE = 1 << 63
MESSAGES, NOTICES = 0, 1


class TooManyKeys(Exception):
    """A client cannot be in so many rooms."""


class RoomKeys:
    """The newest key of each room, as delivered by RoomKey packets."""

    def __init__(self):
        self._keys = {}

    def add(self, packet):
        """Sets the key of a room, in place of its older key."""
        if key_place(packet.room) not in self._keys and len(self._keys) == KEYS:
            raise TooManyKeys
        self._keys[key_place(packet.room)] = SimpleNamespace(
            room=packet.room, key=packet.key, cipher=AESGCM(packet.secret), next=[packet.message, packet.notice]
        )

    def forget(self, room):
        """Drops the key of a room that the client has left."""
        self._keys.pop(room, None)

    def open(self, header, body):
        """Opens a frame of kind 3 and returns `room`, `kind` (MESSAGES or NOTICES), `fan_out_us`
        and `plaintext`. Raises InvalidTag if it does not open."""
        if len(body) < ROOM_HEADER + TAG:
            raise InvalidTag
        key, number, fan_out_us = struct.unpack("<IQI", body[:ROOM_HEADER])
        held = next((held for held in self._keys.values() if held.key == key), None)
        if held is None:
            raise InvalidTag
        kind = NOTICES if number & NOTICE else MESSAGES
        if number < held.next[kind]:
            raise InvalidTag  # older than the membership, a replay, or out of order
        plaintext = held.cipher.decrypt(nonce(number), body[ROOM_HEADER:], header + body[:12])
        held.next[kind] = number + 1
        return SimpleNamespace(room=held.room, kind=kind, fan_out_us=fan_out_us, plaintext=plaintext)


def key_place(room):
    """Returns the number under which a room's key is kept: for a sector its place, 0 to 8."""
    return SECTORS | room & 15 if room >= SECTORS else room


def nonce(number):
    return bytes(4) + struct.pack(">Q", number)
