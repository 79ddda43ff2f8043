"""The room keys of one session: chapter 5.2 of docs/protocol.md.

What is said in a large room is sealed once, with a key that all its members have.
"""

import struct
from types import SimpleNamespace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOM_HEADER, TAG = 16, 16
KEYS_PER_ROOM, KEYS_PER_SESSION = 64, 4096
NOTICE = 1 << 63
MESSAGES, NOTICES = 0, 1
OVER = 1 << 64  # above every number


class RoomKeys:
    """The keys that RoomKey packets brought, the oldest first."""

    def __init__(self):
        self._keys = []

    def add(self, room, key, secret):
        """A key for frames to come. Of each room only the newest few are kept, and so of all rooms."""
        of_room = [held for held in self._keys if held.room == room]
        if len(of_room) >= KEYS_PER_ROOM:
            self._keys.remove(of_room[0])
        elif len(self._keys) >= KEYS_PER_SESSION:
            self._keys.pop(0)
        held = SimpleNamespace(room=room, key=key, cipher=AESGCM(secret), next=[0, NOTICE])
        self._keys.append(held)

    def forget(self, room):
        """We are not in the room any more."""
        self._keys = [held for held in self._keys if held.room != room]

    def open(self, header, body):
        """What a frame of kind 3 holds: `room`, `kind` (MESSAGES or NOTICES), `fan_out_us` and
        `plaintext`. InvalidTag if it does not open."""
        if len(body) < ROOM_HEADER + TAG:
            raise InvalidTag
        key, number, fan_out_us = struct.unpack("<IQI", body[:ROOM_HEADER])
        at = next((at for at, held in enumerate(self._keys) if held.key == key), None)
        if at is None:
            raise InvalidTag
        held, kind = self._keys[at], NOTICES if number & NOTICE else MESSAGES
        if number < held.next[kind]:
            raise InvalidTag  # a replay, or out of order
        plaintext = held.cipher.decrypt(nonce(number), body[ROOM_HEADER:], header + body[:12])
        held.next[kind] = number + 1
        # Nothing of this kind comes with an older key of the room any more. Messages and notices
        # overtake each other, so a key is of use until that is so of both.
        for older in self._keys[:at]:
            if older.room == held.room:
                older.next[kind] = OVER
        self._keys = [held for held in self._keys if held.next != [OVER, OVER]]
        return SimpleNamespace(room=held.room, kind=kind, fan_out_us=fan_out_us, plaintext=plaintext)


def nonce(number):
    return bytes(4) + struct.pack(">Q", number)
