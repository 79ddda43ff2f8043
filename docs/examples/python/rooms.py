"""The room keys of one session: chapter 5.2 of docs/protocol.md.

What is said in a large room is sealed once, with a key that all its members have.
"""

import struct
from types import SimpleNamespace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOM_HEADER, TAG = 16, 16
KEYS = 257  # one for each channel that a user can be in, and one for the chat
NOTICE = 1 << 63
MESSAGES, NOTICES = 0, 1


class TooManyKeys(Exception):
    """Nobody can be in so many rooms."""


class RoomKeys:
    """The newest key of each room, as RoomKey packets bring them."""

    def __init__(self):
        self._keys = {}

    def add(self, packet):
        """The key of all frames of its room from here on; the one before is of no use any more."""
        if packet.room not in self._keys and len(self._keys) == KEYS:
            raise TooManyKeys
        self._keys[packet.room] = SimpleNamespace(
            room=packet.room, key=packet.key, cipher=AESGCM(packet.secret), next=[packet.message, packet.notice]
        )

    def forget(self, room):
        """We are not in the room any more."""
        self._keys.pop(room, None)

    def open(self, header, body):
        """What a frame of kind 3 holds: `room`, `kind` (MESSAGES or NOTICES), `fan_out_us` and
        `plaintext`. InvalidTag if it does not open."""
        if len(body) < ROOM_HEADER + TAG:
            raise InvalidTag
        key, number, fan_out_us = struct.unpack("<IQI", body[:ROOM_HEADER])
        held = next((held for held in self._keys.values() if held.key == key), None)
        if held is None:
            raise InvalidTag
        kind = NOTICES if number & NOTICE else MESSAGES
        if number < held.next[kind]:
            raise InvalidTag  # said before we were given the key, a replay, or out of order
        plaintext = held.cipher.decrypt(nonce(number), body[ROOM_HEADER:], header + body[:12])
        held.next[kind] = number + 1
        return SimpleNamespace(room=held.room, kind=kind, fan_out_us=fan_out_us, plaintext=plaintext)


def nonce(number):
    return bytes(4) + struct.pack(">Q", number)
