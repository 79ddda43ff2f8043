#!/usr/bin/env python3
"""A client in Python, by ctypes: as chat.c.

    python3 chat.py LIBRARY HOST:PORT KEY NAME PEER...

The client of docs/examples/python needs no library; it is the example of the protocol.
"""

import ctypes
import sys
import time
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

PASSWORD = b"a long password"
CHANNEL = b"engines"
PATIENCE_S = 60

# Of throng_event_kind.
SIGNED_UP, CHARACTER_CREATED, REFUSED, UNREACHABLE, ENTERED = 0, 1, 2, 5, 6
MESSAGE, PAST_MESSAGE, JOINED, JOIN_REFUSED = 10, 11, 19, 20
SCOPE_CHANNEL = 1


class Text(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t)]

    @classmethod
    def of(cls, words):
        return cls(ctypes.cast(c_char_p(words), c_void_p), len(words))

    def __str__(self):
        return ctypes.string_at(self.data, self.length).decode()


class Settings(Structure):
    _fields_ = [("size", c_size_t), ("server", Text), ("server_key", Text), ("log_in_again", c_uint32)]


class Event(Structure):
    _fields_ = [
        ("size", c_size_t),
        *((name, c_uint32) for name in ("kind", "code", "scope", "target", "user", "flag")),
        *((name, c_uint64) for name in ("sequence", "stamp", "count", "micros")),
        ("name", Text),
        ("text", Text),
    ]


class Client:
    """A client of libthrong; a context that frees it."""

    def __init__(self, library, server, key):
        self._throng = ctypes.CDLL(library)
        self._throng.throng_status_text.restype = c_char_p
        self._throng.throng_outcome_text.restype = c_char_p
        self._throng.throng_client_new.argtypes = [POINTER(Settings), POINTER(c_void_p)]
        self._throng.throng_wait.argtypes = [c_void_p, c_uint32, POINTER(Event)]
        self._throng.throng_wait.restype = c_int
        self._throng.throng_client_free.argtypes = [c_void_p]
        self._client = c_void_p()
        # The texts are kept until they are copied.
        server, key = server.encode(), key.encode()
        settings = Settings(ctypes.sizeof(Settings), Text.of(server), Text.of(key), 1)
        self._check(self._throng.throng_client_new(byref(settings), byref(self._client)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._throng.throng_client_free(self._client)

    def _check(self, status):
        if status:
            raise RuntimeError(self._throng.throng_status_text(status).decode())

    def call(self, function, *texts):
        """Calls a function that takes texts."""
        arguments = [argument for text in texts for argument in (c_char_p(text), c_size_t(len(text)))]
        self._check(getattr(self._throng, function)(self._client, *arguments))

    def say(self, scope, target, text):
        arguments = (c_uint32(scope), c_uint32(target), c_char_p(text), c_size_t(len(text)), None)
        self._check(self._throng.throng_say(self._client, *arguments))

    def outcome(self, code):
        return self._throng.throng_outcome_text(c_uint32(code)).decode()

    def wait(self, milliseconds):
        """Returns the next event, or None. Its texts are valid until the next call."""
        event = Event(size=ctypes.sizeof(Event))
        found = self._throng.throng_wait(self._client, milliseconds, byref(event))
        return event if found == 1 else None


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    library, server, key, name, *peers = sys.argv[1:]
    left, own = set(peers), name.encode()
    with Client(library, server, key) as client:
        client.call("throng_sign_up", own, PASSWORD)
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            event = client.wait(100)
            if event is None:
                continue
            if event.kind == SIGNED_UP:
                client.call("throng_create_character", own, PASSWORD, own)
            elif event.kind == CHARACTER_CREATED:
                client.call("throng_log_in", own, PASSWORD)
            elif event.kind == ENTERED:
                print(f"{name} is user {event.user}")
                client.call("throng_channel_create", CHANNEL)
            elif event.kind == JOIN_REFUSED:
                client.call("throng_channel_join", CHANNEL)
            elif event.kind == JOINED:
                client.say(SCOPE_CHANNEL, event.target, b"hello")
            elif event.kind in (MESSAGE, PAST_MESSAGE):
                print(f"{name} hears {event.name}: {event.text}")
                left.discard(str(event.name))
                if not left and event.kind == MESSAGE:
                    return 0
            elif event.kind in (REFUSED, UNREACHABLE):
                print(f"{name}: {client.outcome(event.code)}", file=sys.stderr)
                return 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
