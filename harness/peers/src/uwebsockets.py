"""A room on uWebSockets: what a member writes goes to all members, its sender included.

usage: python3 uwebsockets.py CONFIGURATION | --version

Python runs once for each message. The library's own pub/sub and event loop write it to the members.
"""

import sys
from importlib.metadata import version

if sys.argv[1] == "--version":
    sys.exit(print("uWebSockets 20, of socketify", version("socketify")))

from socketify.native import ffi, lib

ROOM = b"room"
PLAIN = 0  # no TLS, the first argument of most functions
EXCLUSIVE = 1  # the port of another server is an error, not shared with it
messages = []  # read in this turn of the loop

configuration = dict(line.split() for line in open(sys.argv[1]) if not line.startswith("#"))
host = ffi.new("char[]", configuration.pop("host").encode())
listen = {"host": host, "port": int(configuration.pop("port")), "options": EXCLUSIVE}


@ffi.callback("uws_websocket_handler")
def opened(socket, _):
    lib.uws_ws_subscribe(PLAIN, socket, ROOM, len(ROOM))


@ffi.callback("uws_websocket_message_handler")
def received(_, message, length, opcode, __):
    messages.append((ffi.unpack(message, length), length, opcode))


# Within `received` the library joins at most 32 messages to a write, and writes any further ones of
# a turn one by one, at six times the cost. Its only buffer for joining belongs to the sender then.
@ffi.callback("socketify_prepare_handler")
def turn_ended(_):
    for message, length, opcode in messages:
        lib.uws_publish(PLAIN, app, ROOM, len(ROOM), message, length, opcode, False)
    messages.clear()


@ffi.callback("uws_websocket_close_handler")
def closed(*_):
    pass


@ffi.callback("uws_listen_handler")
def listening(socket, *_):
    if not socket:
        lib.socketify_loop_stop(loop)


# Not the package's `run`, whose asyncio polls without sleeping.
loop = lib.socketify_create_loop()
lib.uws_get_loop_with_native(lib.socketify_get_native_loop(loop))
app = lib.uws_create_app(PLAIN, ffi.new("struct us_socket_context_options_t *")[0])
behavior = {name: int(number) for name, number in configuration.items()}
behavior |= {"open": opened, "message": received, "close": closed}
lib.uws_ws(PLAIN, app, b"/", ffi.new("uws_socket_behavior_t *", behavior)[0], ffi.NULL)
lib.uws_app_listen_with_config(PLAIN, app, listen, listening, ffi.NULL)
lib.socketify_on_prepare(loop, turn_ended, ffi.NULL)
lib.socketify_loop_run(loop, lib.SOCKETIFY_RUN_DEFAULT)
sys.exit("it does not listen")
