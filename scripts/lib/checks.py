"""Parts of the checks that run the servers: imported by scripts/check-client and
scripts/check-faults."""

import contextlib
import os
import socket
import time

PATIENCE_S = 60.0


class Broken(Exception):
    """A check that has failed, or cannot even be made."""


def check(condition, failure):
    """Fails unless a condition holds."""
    if not condition:
        raise Broken(failure)


def wait_for(what, condition, patience=PATIENCE_S, pause=0.01):
    """Waits until a condition holds, and returns its value."""
    give_up = time.monotonic() + patience
    while not (value := condition()):
        check(time.monotonic() <= give_up, f"{what}: not within {patience:g} s")
        time.sleep(pause)
    return value


def spare_port(taken):
    """A port below those that the system gives to outgoing connections. Adds it to `taken`."""
    port = 12_000 + os.getpid() % 10_000
    while True:
        port += 1
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                taken.add(port)
                return port
