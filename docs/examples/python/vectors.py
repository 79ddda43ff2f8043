"""Recomputes every test vector of docs/protocol.md and compares.

    python3 vectors.py              compare; exit code 0 if everything agrees
    python3 vectors.py --print      print all vectors as the document writes them

Nothing here comes from Throng's own code: the package noiseprotocol makes the Noise messages, the
package cryptography the rest, and wire.py the packets, from the tables of the document.
"""

import hashlib
import hmac
import json
import re
import struct
import sys
import unicodedata
import warnings
from pathlib import Path
from types import SimpleNamespace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from noise.connection import Keypair, NoiseConnection

import throng
from rooms import RoomKeys
from wire import Codec

DOCUMENT = Path(__file__).resolve().parents[2] / "protocol.md"

SERVER_PRIVATE = bytes([7]) * 32
CLUSTER_KEY = bytes([9]) * 32
INITIATOR_EPHEMERAL = bytes([1]) * 32
RESPONDER_EPHEMERAL = bytes([2]) * 32
ROOM_KEY = 7
TICKET_SERIAL = bytes([3]) * 16
TICKET = {
    "account": 42,
    "claim": 7,
    "character": 43,
    "name": "스롱🐝",
    "chat_key": bytes([5]) * 32,
    "issued_ms": 1_000,
    "expires_ms": 31_000,
}


def main():
    text = DOCUMENT.read_text(encoding="utf-8")
    codec = codec_of(text)
    computed = {**sessions(), **sealing(), **rooms(), **tickets(codec), **examples(text, codec)}
    if sys.argv[1:] == ["--print"]:
        for name, value in computed.items():
            print(f"`{name}`: `{value.hex()}`")
        return 0
    problems = compare(text, computed) + compare_tables(codec) + passwords(text)
    for problem in problems:
        print(f"vectors: {problem}", file=sys.stderr)
    if not problems:
        print(f"{len(computed)} vectors of {DOCUMENT.name} agree")
    return 1 if problems else 0


# The vectors.


def sessions():
    """Returns both handshakes, and the first frame after each."""
    public = X25519PrivateKey.from_private_bytes(SERVER_PRIVATE).public_key().public_bytes_raw()
    psk = HKDF(SHA256(), 32, salt=b"", info=b"throng link v1").derive(CLUSTER_KEY)
    client = handshake(
        "client",
        b"Noise_NK_25519_AESGCM_SHA256",
        preface=bytes([1, 1]),
        initiator=lambda noise: noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public),
        responder=lambda noise: noise.set_keypair_from_private_bytes(Keypair.STATIC, SERVER_PRIVATE),
    )
    link = handshake(
        "link",
        b"Noise_NNpsk0_25519_AESGCM_SHA256",
        preface=bytes([1, 2]),
        initiator=lambda noise: noise.set_psks(psk),
        responder=lambda noise: noise.set_psks(psk),
    )
    return {"server public key": public, **client, "link psk": psk, **link}


def handshake(name, pattern, preface, initiator, responder):
    ends = []
    for begin, prove, ephemeral in (
        (NoiseConnection.set_as_initiator, initiator, INITIATOR_EPHEMERAL),
        (NoiseConnection.set_as_responder, responder, RESPONDER_EPHEMERAL),
    ):
        noise = NoiseConnection.from_name(pattern)
        begin(noise)
        noise.set_prologue(b"throng" + preface)
        prove(noise)
        noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fixed ephemeral key is meant for vectors only
            noise.start_handshake()
        ends.append(noise)
    near, far = ends
    first = bytes(near.write_message())
    far.read_message(first)
    second = bytes(far.write_message())
    near.read_message(second)
    to_responder = near.noise_protocol.cipher_state_encrypt.k
    to_initiator = near.noise_protocol.cipher_state_decrypt.k
    return {
        f"{name} prologue": b"throng" + preface,
        f"{name} handshake 1": frame(1, preface + first),
        f"{name} handshake 2": frame(1, second),
        f"{name} key of the initiator": to_responder,
        f"{name} key of the responder": to_initiator,
        f"{name} first sealed frame": throng.DirectionKey(to_responder).seal(b"throng"),
    }


def frame(kind, body):
    return struct.pack("<HB", len(body), kind) + body


def sealing():
    key = bytes(range(32))
    direction = throng.DirectionKey(key)
    frames = [direction.seal(b"throng") for _ in range(2)]
    # By the specification, without the class under test.
    rekeyed = AESGCM(key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), None)[:32]
    header = struct.pack("<HB", len(b"throng") + 16, 2)
    nonce = bytes(4) + struct.pack(">Q", 1 << 20)
    after = header + AESGCM(rekeyed).encrypt(nonce, b"throng", header)
    direction.counter = 1 << 20
    if direction.seal(b"throng") != after:
        raise AssertionError("throng.py does not rekey as the document says")
    return {
        "sealed frame 0": frames[0],
        "sealed frame 1": frames[1],
        "rekeyed": rekeyed,
        "sealed frame 1048576": after,
        "refusal": frame(4, bytes([1])),
    }


def rooms():
    """Returns frames sealed with a room's key, and checks that rooms.py opens them."""
    frames = {
        "room frame 0": room_frame(0),
        "room frame 1": room_frame(1),
        "room notice 0": room_frame(1 << 63),
        "room frame 2 after 1234 us": room_frame(2, fan_out_us=1234),
    }
    keys = room_keys(message=0)
    for name, sealed in frames.items():
        opened = keys.open(sealed[:3], sealed[3:])
        if (opened.room, opened.plaintext, opened.fan_out_us) != (3, b"throng", 1234 if "us" in name else 0):
            raise AssertionError(f"rooms.py opens {name} as {opened}")
    older = frames["room frame 0"]
    try:
        room_keys(message=1).open(older[:3], older[3:])
    except InvalidTag:
        return frames
    raise AssertionError("rooms.py opens a frame older than the membership")


def room_keys(message):
    keys = RoomKeys()
    secret = bytes(range(32))
    keys.add(SimpleNamespace(room=3, key=ROOM_KEY, secret=secret, message=message, notice=1 << 63))
    return keys


def room_frame(number, fan_out_us=0):
    header = struct.pack("<HB", 16 + len(b"throng") + 16, 3)
    counted = struct.pack("<IQ", ROOM_KEY, number)
    nonce = bytes(4) + struct.pack(">Q", number)
    sealed = AESGCM(bytes(range(32))).encrypt(nonce, b"throng", header + counted)
    return header + counted + struct.pack("<I", fan_out_us) + sealed


def tickets(codec):
    # HKDF by hand, once: RFC 5869 with HMAC-SHA256, one block.
    extracted = hmac.digest(TICKET_SERIAL, CLUSTER_KEY, hashlib.sha256)
    key = hmac.digest(extracted, b"throng ticket v1" + b"\x01", hashlib.sha256)
    plaintext = codec.encode_fields(codec.groups["Ticket"], TICKET)
    sealed = AESGCM(key).encrypt(bytes(12), plaintext, None)
    return {
        "ticket key": key,
        "ticket plaintext": plaintext,
        "ticket": TICKET_SERIAL + sealed,
        "resume token": resume_token(epoch=bytes([2]) * 16, user=7, counter=2, account=42, claim=7),
    }


def resume_token(epoch, user, counter, account, claim):
    key = HKDF(SHA256(), 32, salt=epoch, info=b"throng resume v1").derive(CLUSTER_KEY)
    nonce = struct.pack("<IQ", user, counter)
    header = epoch + nonce
    return header + AESGCM(key).encrypt(nonce, struct.pack("<QQ", account, claim), header)


def examples(text, codec):
    """Returns one packet of each kind, from the values in the document."""
    found = re.findall(r"^\* (\w+) `(\{[^`]*\})`:", text, re.MULTILINE)
    return {
        f"packet {name}": codec.encode_packet(name, **json_values(json.loads(values))) for name, values in found
    }


def json_values(values):
    """Converts bytes, which are written as hexadecimal digits after "0x"."""
    def converted(value):
        if isinstance(value, dict):
            return json_values(value)
        if isinstance(value, list):
            return [converted(item) for item in value]
        return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value

    return {name: converted(value) for name, value in values.items()}


def passwords(text):
    """Checks the forms of accepted passwords, as far as Python knows the profile."""
    problems = []
    for typed, form in re.findall(r"^\| `(.+)` \| `([0-9a-f]+)` \|$", between(text, "passwords"), re.MULTILINE):
        typed = re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), typed)
        spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in typed)
        if unicodedata.normalize("NFC", spaced).encode("utf-8").hex() != form:
            problems.append(f"the password {typed!r} has not the form {form}")
    return problems


# The document.


def between(text, marker):
    return text.split(f"<!-- {marker}:begin -->")[1].split(f"<!-- {marker}:end -->")[0]


def codec_of(text):
    """Returns the packets, groups and enumerations of the document's tables."""
    packets = {}
    for heading, fields in sections(between(text, "packets"), "#####"):
        number, name = re.fullmatch(r"`(0x[0-9a-f]{4})` (\w+)", heading).groups()
        packets[int(number, 16)] = (name, rows(fields))
    groups = {name: rows(fields) for name, fields in sections(between(text, "groups"), "####")}
    enumerations = {}
    for name, values in sections(between(text, "enumerations"), "####"):
        found = re.findall(r"^\| (\d+) \| (\w+) \|", values, re.MULTILINE)
        enumerations[name] = {int(value): name for value, name in found}
    return Codec(packets, groups, enumerations)


def sections(text, level):
    return re.findall(rf"^{level} (.+)\n((?:(?!#).*\n?)*)", text, re.MULTILINE)


def rows(table):
    return re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE)


def compare(text, computed):
    """Compares the vectors of the document with the computed ones, both ways."""
    found = re.findall(r"`([^`\n]+)`: `([0-9a-f\s]+)`", text)
    written = {name: bytes.fromhex(digits) for name, digits in found}
    problems = [f"`{name}` is not in the document" for name in computed if name not in written]
    problems += [f"`{name}` is not computed by this script" for name in written if name not in computed]
    problems += [
        f"`{name}` is {written[name].hex()} in the document, {value.hex()} here"
        for name, value in computed.items()
        if name in written and written[name] != value
    ]
    problems += [
        f"packet {name} has no example in the document"
        for name, _ in codec_of(text).packets.values()
        if f"packet {name}" not in computed
    ]
    return problems


def compare_tables(codec):
    """Compares the tables in throng.py with the document."""
    problems = [
        f"throng.py has another {name} than the document"
        for number, (name, fields) in throng.PACKETS.items()
        if codec.packets.get(number) != (name, fields)
    ]
    problems += [
        f"throng.py has another {name} than the document"
        for name, fields in throng.GROUPS.items()
        if codec.groups.get(name) != fields
    ]
    problems += [
        f"throng.py has another {name} than the document"
        for name, values in throng.ENUMERATIONS.items()
        # Reasons from 128 are never sent.
        if {value: text for value, text in codec.enumerations.get(name, {}).items() if value < 128} != values
    ]
    return problems


if __name__ == "__main__":
    sys.exit(main())
