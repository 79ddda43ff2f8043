"""A client's side of the Throng protocol, version 1, written from docs/protocol.md.

    session = Session(("127.0.0.1", 9000), server_public_key)
    session.send("LoginRequest", id="bee", password="honeycomb")
    answer = session.receive()          # answer.packet is "LoginGranted" or "LoginRefused"
    session.close()

Blocking and single-threaded, for learning and tests. Heartbeats are answered while `receive` waits,
so call it at least every few seconds.
"""

import socket
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseHandshakeError, NoiseInvalidMessage

from rooms import NOTICES, SECTORS, RoomKeys, TooManyKeys
from wire import Codec, Malformed

VERSION = 1
PATTERN_CLIENT = 1
HANDSHAKE, SEALED, ROOM, REFUSED = 1, 2, 3, 4
HANDSHAKE_BODY_MAX = 256
SERVER_BODY_MAX = 16_384
REKEY_INTERVAL = 1 << 20
HEARTBEAT_SECONDS, IDLE_SECONDS, LINGER_SECONDS = 15.0, 45.0, 1.0


def numbered(*names):
    return dict(enumerate(names))


ENUMERATIONS = {
    "Outcome": numbered(
        "Ok", "BadCredentials", "AlreadyOnline", "NoCharacter", "TryAgainLater", "IdTaken", "IdInvalid",
        "IdTooLong", "PasswordInvalid", "PasswordTooLong", "NameTaken", "NameInvalid", "NameTooLong",
        "CharacterExists", "ClaimLost", "InternalError", "NoSuchChannel", "NotAMember", "TooManyChannels",
        "NoSuchUser", "NotTheOwner", "NoPosition", "Kicked", "TextInvalid",
        "NameReserved", "NoTime",
    ),
    "CloseReason": numbered(
        "Goodbye", "ServerFull", "VersionMismatch", "HandshakeTimeout", "HandshakeFailed",
        "FirstPacketTimeout", "IdleTimeout", "FrameTooLong", "UnexpectedFrame", "SealBroken",
        "MalformedPacket", "PacketNotAllowed", "TicketInvalid", "TicketExpired", "TicketUsed",
        "AlreadyRegistered", "AlreadyOnline", "LoggedInElsewhere", "TooSlow", "ServerShutdown",
        "HandedOver", "WrongPeer", "InternalError", "LoginTimeout", "TooFast", "TooManyConnections",
        "PlaceLost", "ResumedElsewhere", "Unavailable", "Moved",
    ),
    "Scope": numbered("World", "Channel", "Nearby", "Whisper"),
}  # fmt: skip

GROUPS = {
    "User": [("id", "u32"), ("name", "line(96)")],
    "ChannelInfo": [("channel", "u32"), ("name", "line(128)"), ("head_count", "u32")],
    "PastMessage": [
        ("sequence", "u64"),
        ("sender", "User"),
        ("stamp", "u64"),
        ("received_us", "u64"),
        ("text", "text(1024)"),
    ],
    "ChatNode": [("address", "line(255)"), ("key", "byte[32]")],
    "HeldChannel": [("channel", "u32"), ("sequence", "u64")],
    "ServerTimes": [("received_us", "u64"), ("queued_us", "u32"), ("handled_us", "u32")],
}

PACKETS = {
    0x0001: ("Close", [("reason", "CloseReason"), ("detail", "line(255)")]),
    0x0002: ("Heartbeat", [("token", "u64")]),
    0x0003: ("HeartbeatAnswer", [("token", "u64")]),
    0x0101: ("LoginRequest", [("id", "text(255)"), ("password", "text(1024)")]),
    0x0102: ("LoginRefused", [("outcome", "Outcome")]),
    0x0103: (
        "LoginGranted",
        [
            ("chat_address", "line(255)"),
            ("chat_key", "byte[32]"),
            ("name", "line(96)"),
            ("ticket", "bytes(256)"),
            ("ticket_lifetime_ms", "u32"),
        ],
    ),
    0x0104: ("SignUpRequest", [("id", "text(255)"), ("password", "text(1024)")]),
    0x0105: ("SignUpAnswer", [("outcome", "Outcome")]),
    0x0106: (
        "CreateCharacterRequest",
        [("id", "text(255)"), ("password", "text(1024)"), ("name", "text(255)")],
    ),
    0x0107: ("CreateCharacterAnswer", [("outcome", "Outcome")]),
    0x0108: ("LoginQueued", [("position", "u32"), ("wait_ms", "u32")]),
    0x0201: ("EnterRequest", [("ticket", "bytes(256)")]),
    0x0202: (
        "EnterAnswer",
        [
            ("user", "User"),
            ("head_count", "u32"),
            ("shard", "u8"),
            ("token", "bytes(60)"),
            ("resume_ms", "u32"),
            ("heartbeat_ms", "u32"),
        ],
    ),
    0x0203: ("UserListRequest", [("channel", "u32"), ("after", "u32"), ("pages", "u8")]),
    0x0204: (
        "UserList",
        [
            ("channel", "u32"),
            ("version", "u64"),
            ("head_count", "u32"),
            ("more", "bool"),
            ("users", "list(1024)<User>"),
        ],
    ),
    0x0205: (
        "UsersChanged",
        [
            ("channel", "u32"),
            ("since", "u64"),
            ("version", "u64"),
            ("head_count", "u32"),
            ("complete", "bool"),
            ("entered", "list(1024)<User>"),
            ("left", "list(2048)<u32>"),
        ],
    ),
    0x0207: ("ChatRequest", [("scope", "Scope"), ("target", "u32"), ("stamp", "u64"), ("text", "text(1024)")]),
    0x0208: (
        "ChatMessage",
        [
            ("scope", "Scope"),
            ("target", "u32"),
            ("sequence", "u64"),
            ("sender", "User"),
            ("stamp", "u64"),
            ("times", "ServerTimes"),
            ("text", "text(1024)"),
        ],
    ),
    0x0209: ("ExitRequest", []),
    0x020A: ("ExitAnswer", []),
    0x020B: ("PingRequest", [("token", "u64")]),
    0x020C: ("PongAnswer", [("token", "u64"), ("queued_us", "u32"), ("server_us", "u64")]),
    0x020D: (
        "RoomKey",
        [("room", "u32"), ("key", "u32"), ("secret", "byte[32]"), ("message", "u64"), ("notice", "u64")],
    ),
    0x020E: ("ChatRefused", [("stamp", "u64"), ("outcome", "Outcome")]),
    0x020F: ("ChatGap", [("scope", "Scope"), ("channel", "u32"), ("missed", "u64")]),
    0x0210: ("ChannelCreateRequest", [("name", "text(255)")]),
    0x0211: ("ChannelJoinRequest", [("name", "text(255)")]),
    0x0212: (
        "ChannelAnswer",
        [("outcome", "Outcome"), ("channel", "u32"), ("name", "text(255)"), ("head_count", "u32")],
    ),
    0x0213: ("ChannelLeaveRequest", [("channel", "u32")]),
    0x0214: ("ChannelLeft", [("channel", "u32"), ("outcome", "Outcome")]),
    0x0215: ("ChannelKickRequest", [("channel", "u32"), ("user", "u32")]),
    0x0216: ("ChannelKickAnswer", [("channel", "u32"), ("user", "u32"), ("outcome", "Outcome")]),
    0x0217: ("ChannelListRequest", [("after", "u32")]),
    0x0218: ("ChannelList", [("channels", "list(64)<ChannelInfo>"), ("more", "bool")]),
    0x0219: ("PositionUpdate", [("x", "i32"), ("y", "i32")]),
    0x021A: ("TooFast", [("packet", "u16"), ("stamp", "u64"), ("wait_ms", "u32")]),
    0x021B: ("HistoryRequest", [("channel", "u32"), ("before", "u64"), ("count", "u8")]),
    0x021C: ("History", [("channel", "u32"), ("messages", "list(128)<PastMessage>"), ("more", "bool")]),
    0x021D: (
        "ResumeRequest",
        [
            ("token", "bytes(60)"),
            ("answers", "u32"),
            ("whispers", "u64"),
            ("world", "u64"),
            ("list_version", "u64"),
            ("channels", "list(256)<HeldChannel>"),
        ],
    ),
    0x021E: (
        "ResumeAnswer",
        [("handled", "u32"), ("answers_from", "u32"), ("token", "bytes(60)"), ("shard", "u8")],
    ),
    0x021F: (
        "RoomResumed",
        [("channel", "u32"), ("sequence", "u64"), ("version", "u64"), ("head_count", "u32")],
    ),
    0x0220: ("ChatNodes", [("nodes", "list(64)<ChatNode>")]),
}

CODEC = Codec(PACKETS, GROUPS, ENUMERATIONS)


class SessionEnded(Exception):
    """The session has ended; `reason` is the CloseReason's name, or None if the peer gave none."""

    def __init__(self, reason, message):
        super().__init__(message)
        self.reason = reason


class DirectionKey:
    """Seals or opens the frames of one direction (chapter 5.1)."""

    def __init__(self, key):
        self.key, self.counter = key, 0

    def _next(self):
        if self.counter and self.counter % REKEY_INTERVAL == 0:
            self.key = rekeyed(self.key)
        nonce = bytes(4) + struct.pack(">Q", self.counter)
        self.counter += 1
        return AESGCM(self.key), nonce

    def seal(self, plaintext):
        """Returns one whole frame."""
        header = struct.pack("<HB", len(plaintext) + 16, SEALED)
        cipher, nonce = self._next()
        return header + cipher.encrypt(nonce, plaintext, header)

    def open(self, header, body):
        cipher, nonce = self._next()
        if len(body) < 16:
            raise InvalidTag
        return cipher.decrypt(nonce, body, header)


def rekeyed(key):
    """Noise's REKEY."""
    return AESGCM(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]


class Session:
    """A connection to a login or chat server, after its handshake."""

    def __init__(self, address, server_key, timeout=5.0):
        """Connects, and verifies that the server has this public key."""
        self._socket = socket.create_connection(address, timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._sealer = self._opener = None
        self._rooms = RoomKeys()
        self._last_received = self._heartbeat_sent = time.monotonic()
        try:
            self._handshake(server_key, timeout)
        except BaseException:
            self._socket.close()
            raise

    def _handshake(self, server_key, timeout):
        preface = bytes([VERSION, PATTERN_CLIENT])
        noise = NoiseConnection.from_name(b"Noise_NK_25519_AESGCM_SHA256")
        noise.set_as_initiator()
        noise.set_prologue(b"throng" + preface)
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, server_key)
        noise.start_handshake()
        body = preface + bytes(noise.write_message())
        self._write(struct.pack("<HB", len(body), HANDSHAKE) + body)
        frame = self._read_frame(time.monotonic() + timeout)
        if frame is None:
            raise SessionEnded("HandshakeTimeout", f"no handshake within {timeout} s")
        header, body = frame
        if header[2] == REFUSED and len(body) == 1:
            reason = ENUMERATIONS["CloseReason"].get(body[0])
            raise SessionEnded(reason, f"the server refuses the connection: {reason or body[0]}")
        if header[2] != HANDSHAKE:
            raise SessionEnded("UnexpectedFrame", f"a frame of kind {header[2]} during the handshake")
        try:
            payload = noise.read_message(bytes(body))
        except (InvalidTag, NoiseHandshakeError, NoiseInvalidMessage, ValueError) as error:
            raise SessionEnded("HandshakeFailed", "the server does not have the expected key") from error
        if payload:
            raise SessionEnded("HandshakeFailed", "the server's handshake message has a payload")
        self._sealer = DirectionKey(noise.noise_protocol.cipher_state_encrypt.k)
        self._opener = DirectionKey(noise.noise_protocol.cipher_state_decrypt.k)

    def send(self, packet, /, **fields):
        """Sends a packet by its name."""
        self._write(self._sealer.seal(CODEC.encode_packet(packet, **fields)))

    def receive(self, timeout=5.0):
        """Returns the next packet; handles heartbeats and room keys itself. Raises SessionEnded
        when the session ends, and TimeoutError when nothing comes. `fan_out_us` of a packet is 0
        unless it came in a room frame."""
        deadline = time.monotonic() + timeout
        while True:
            packet = self._read_packet(min(deadline, time.monotonic() + 1.0))
            now = time.monotonic()
            if packet is None:
                self._check_silence(now)
                if now >= deadline:
                    raise TimeoutError(f"nothing received within {timeout} s")
            elif packet.packet == "Heartbeat":
                self.send("HeartbeatAnswer", token=packet.token)
            elif packet.packet == "Close":
                self._socket.close()
                detail = f" ({packet.detail})" if packet.detail else ""
                raise SessionEnded(packet.reason, f"the server closes: {packet.reason}{detail}")
            elif packet.packet == "RoomKey":
                try:
                    self._rooms.add(packet)
                except TooManyKeys:
                    self._fail("PacketNotAllowed", "a key of one room too many")
            elif packet.packet != "HeartbeatAnswer":
                if packet.packet == "ChannelLeft" and packet.outcome != "NotAMember":
                    self._rooms.forget(packet.channel)
                return packet

    def close(self, reason="Goodbye"):
        """Sends Close and waits for the server's own close, at most a second."""
        try:
            self.send("Close", reason=reason, detail="")
            self._socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + LINGER_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(65_536):
                    break
        except (OSError, SessionEnded):
            pass  # the server closed first
        finally:
            self._socket.close()

    def break_off(self):
        """Ends the connection without a word, as a lost one would."""
        self._socket.close()

    def _check_silence(self, now):
        if now - self._last_received > IDLE_SECONDS:
            self.close("IdleTimeout")
            raise SessionEnded("IdleTimeout", f"nothing received from the server for {IDLE_SECONDS} s")
        if now - max(self._last_received, self._heartbeat_sent) > HEARTBEAT_SECONDS:
            self._heartbeat_sent = now
            self.send("Heartbeat", token=int(now * 1000))

    def _read_packet(self, deadline):
        frame = self._read_frame(deadline)
        if frame is None:
            return None
        header, body = frame
        if header[2] not in (SEALED, ROOM):
            self._fail("UnexpectedFrame", f"a frame of kind {header[2]}")
        try:
            if header[2] == SEALED:
                packet = CODEC.decode_packet(self._opener.open(header, body))
                packet.fan_out_us = 0
                return packet
            frame = self._rooms.open(header, body)
            packet = CODEC.decode_packet(frame.plaintext)
        except InvalidTag:
            self._fail("SealBroken", "a frame's seal is broken")
        except Malformed as error:
            self._fail("MalformedPacket", str(error))
        if not belongs(packet, frame):
            self._fail("PacketNotAllowed", f"{packet.packet} in a frame of room {frame.room}")
        packet.fan_out_us = frame.fan_out_us
        return packet

    def _fail(self, reason, message):
        self.close(reason)
        raise SessionEnded(reason, message)

    def _read_frame(self, deadline):
        """Returns header and body of the next frame, or None after the deadline."""
        limit = HANDSHAKE_BODY_MAX if self._opener is None else SERVER_BODY_MAX
        while True:
            if len(self._received) >= 3:
                header = bytes(self._received[:3])
                (length,) = struct.unpack("<H", header[:2])
                if length > limit:
                    self._socket.close()
                    raise SessionEnded("FrameTooLong", f"a frame of {length} bytes, the limit is {limit}")
                if len(self._received) >= 3 + length:
                    body = bytes(self._received[3 : 3 + length])
                    del self._received[: 3 + length]
                    self._last_received = time.monotonic()
                    return header, body
            if not self._read_more(deadline):
                return None

    def _read_more(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            return False
        except OSError as error:
            raise SessionEnded(None, f"the connection broke: {error}") from error
        if not data:
            raise SessionEnded(None, "the server closed the connection without Close")
        self._received += data
        return True

    def _write(self, data):
        self._socket.settimeout(5.0)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise SessionEnded(None, f"the connection broke: {error}") from error


def belongs(packet, frame):
    """Returns True if the packet may come in a frame of this room, whose key every member has."""
    if frame.kind == NOTICES:
        return packet.packet == "UsersChanged" and packet.channel == frame.room
    if packet.packet != "ChatMessage":
        return False
    if frame.room == 0:
        return packet.scope == "World"
    if frame.room >= SECTORS:
        return packet.scope == "Nearby"
    return packet.scope == "Channel" and packet.target == frame.room


def parse_address(text):
    """Splits "host:port" into (host, port); an IPv6 host stands in square brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
