r"""Signs up, creates a character, logs in, enters the chat, sends a message and leaves.

    python3 chat_client.py --data throng-data
    python3 chat_client.py --data throng-data --cut
    python3 chat_client.py --data throng-data --channel bees --whisper "Py 1234=psst"
    python3 chat_client.py --login 127.0.0.1:9000 --login-key HEX \
        --user bee --password honeycomb --name Bee

Every step is printed. Exit code 0 if all steps worked, 1 otherwise, 2 for a wrong command line.
"""

import argparse
import secrets
import sys
import time
import tomllib
from functools import partial
from pathlib import Path

from throng import Session, SessionEnded, parse_address
from userlist import UserList
from wire import visible

RETRY_SECONDS = 10.0
# Packets that the client counts, so that it can say which it has after a lost connection.
ANSWERS = ("ChatRefused", "ChannelAnswer", "ChannelLeft", "ChannelKickAnswer", "TooFast")


class Failed(Exception):
    """A failed step, with the reason."""


def say(text, file=None):
    """Prints a line. What a server or another user sent must not command the terminal."""
    print(visible(text), file=file or sys.stdout)


def main():
    arguments = parse_arguments()
    try:
        run(arguments)
    except (Failed, SessionEnded, OSError, ValueError, KeyError) as error:
        say(f"chat_client: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, metavar="DIR", help="the servers' data directory")
    where.add_argument("--login", metavar="HOST:PORT", help="the login server's address")
    parser.add_argument("--login-key", metavar="HEX", help="the login server's public key, with --login")
    parser.add_argument("--user", metavar="ID", help="account id; random if not given")
    parser.add_argument("--password", metavar="PW", help="its password; random if not given")
    parser.add_argument("--name", help="the character's name; random if not given")
    parser.add_argument("--say", metavar="TEXT", default="Hello from Python!", help="message to send")
    parser.add_argument("--channel", metavar="NAME", help="send it to this channel too, which is created if missing")
    parser.add_argument("--cut", action="store_true", help="lose the connection to the chat, and resume")
    parser.add_argument("--whisper", metavar="NAME=TEXT", help="whisper TEXT to the user NAME")
    arguments = parser.parse_args()
    if arguments.login and not arguments.login_key:
        parser.error("--login needs --login-key")
    if arguments.whisper and "=" not in arguments.whisper:
        parser.error("--whisper takes NAME=TEXT")
    made_up = secrets.token_hex(4)
    if arguments.user and not arguments.password:
        parser.error("--user needs --password")
    arguments.user = arguments.user or f"py-{made_up}"
    arguments.password = arguments.password or secrets.token_hex(8)
    arguments.name = arguments.name or f"Py {made_up}"
    return arguments


def run(arguments):
    address, key = login_server(arguments)
    say(f"login server {address[0]}:{address[1]}")
    login = Session(address, key)
    try:
        sign_up(login, arguments)
        create_character(login, arguments)
        granted = log_in(login, arguments)
        say(f"chat server {granted.chat_address}")
        connect = partial(Session, parse_address(granted.chat_address), granted.chat_key)
        chat = connect()
        try:
            # Closing the login session before the client has entered would revoke the ticket.
            room = Room(chat, enter(chat, granted.ticket))
            leave_login(login)
            users = room.complete_list()
            say(f"{len(users)} in the chat: {names(users)}")
            room.talk("World", 0, arguments.say)
            if arguments.cut:
                chat.break_off()
                say("the connection is lost")
                chat = room.resume(connect())
                room.talk("World", 0, arguments.say)
            if arguments.whisper:
                room.whisper(*arguments.whisper.rsplit("=", 1))
            if arguments.channel:
                visit_channel(room, arguments.channel, arguments.say)
            leave_chat(chat)
        finally:
            chat.close()
    finally:
        login.close()
    say("done")


def login_server(arguments):
    """Returns address and public key of the login server."""
    if arguments.login:
        return parse_address(arguments.login), bytes.fromhex(arguments.login_key)
    path = arguments.data / "endpoints.toml"
    try:
        with path.open("rb") as file:
            endpoints = tomllib.load(file)
    except FileNotFoundError:
        raise Failed(f"there is no {path}: start the servers first") from None
    if "login" not in endpoints:
        raise Failed(f"{path} names no login server")
    return parse_address(endpoints["login"]["address"]), bytes.fromhex(endpoints["login"]["key"])


def ask(session, request, answers, /, **fields):
    """Sends a request and returns its answer; waits in the queue, and retries for a while after
    TryAgainLater and TooFast."""
    give_up = time.monotonic() + RETRY_SECONDS
    while True:
        session.send(request, **fields)
        answer = session.receive()
        while answer.packet == "LoginQueued":
            say(f"{request}: number {answer.position} in the queue, {answer.wait_ms / 1000:.0f} s to go")
            answer = session.receive()
        if answer.packet == "TooFast" and time.monotonic() + answer.wait_ms / 1000 < give_up:
            say(f"{request}: too fast, waiting {answer.wait_ms} ms")
            time.sleep(answer.wait_ms / 1000)
            continue
        if answer.packet not in answers:
            raise Failed(f"{request} was answered by {answer.packet}")
        if getattr(answer, "outcome", None) != "TryAgainLater" or time.monotonic() > give_up:
            return answer
        say(f"{request}: try again later")
        time.sleep(0.5)


def sign_up(login, arguments):
    answer = ask(login, "SignUpRequest", ["SignUpAnswer"], id=arguments.user, password=arguments.password)
    if answer.outcome not in ("Ok", "IdTaken"):
        raise Failed(f"cannot sign {arguments.user} up: {answer.outcome}")
    say(f"account {arguments.user}: {'created' if answer.outcome == 'Ok' else 'exists'}")


def create_character(login, arguments):
    answer = ask(
        login,
        "CreateCharacterRequest",
        ["CreateCharacterAnswer"],
        id=arguments.user,
        password=arguments.password,
        name=arguments.name,
    )
    if answer.outcome not in ("Ok", "CharacterExists"):
        raise Failed(f"cannot create the character {arguments.name}: {answer.outcome}")
    say(f"character: {'created' if answer.outcome == 'Ok' else 'exists'}")


def log_in(login, arguments):
    answers = ["LoginGranted", "LoginRefused"]
    answer = ask(login, "LoginRequest", answers, id=arguments.user, password=arguments.password)
    if answer.packet == "LoginRefused":
        raise Failed(f"cannot log in: {answer.outcome}")
    say(f"logged in as {answer.name}, the ticket is valid for {answer.ticket_lifetime_ms / 1000:g} s")
    return answer


def enter(chat, ticket):
    """Enters the chat and returns the server's answer."""
    chat.send("EnterRequest", ticket=ticket)
    answer = chat.receive()
    if answer.packet != "EnterAnswer":
        raise Failed(f"EnterRequest was answered by {answer.packet}")
    say(f"entered as user {answer.user.id}, {answer.user.name}; {answer.head_count} in the chat")
    return answer


def leave_login(login):
    """Waits until the login server closes the session."""
    try:
        packet = login.receive(timeout=5.0)
    except SessionEnded as end:
        if end.reason != "HandedOver":
            raise
        say("the login server has handed over")
    else:
        raise Failed(f"the login server sent {packet.packet}")


class Room:
    """The chat as this client sees it: user lists, and messages."""

    def __init__(self, chat, entered):
        self.chat, self.user = chat, entered.user
        self.lists = {0: UserList()}
        self._sequences = {}
        # What "Resuming" in chapter 8 wants to be counted.
        self._token, self._answers, self._sent = entered.token, 0, []

    def send(self, request, /, **fields):
        """Sends a packet, and remembers it in case the connection is lost."""
        self._sent.append((request, fields))
        self.chat.send(request, **fields)

    def resume(self, chat):
        """Goes on over a new connection, which it returns."""
        self.chat = chat
        latest = self._sequences.get
        held = [channel for channel in self.lists if channel]
        chat.send(
            "ResumeRequest",
            token=self._token,
            answers=self._answers,
            whispers=latest(("Whisper", 0), 0),
            world=latest(("World", 0), 0),
            list_version=self.lists[0].version,
            channels=[{"channel": number, "sequence": latest(("Channel", number), 0)} for number in held],
        )
        answer = chat.receive()
        if answer.packet != "ResumeAnswer":
            raise Failed(f"ResumeRequest was answered by {answer.packet}")
        self._token = answer.token
        unseen = self._sent[answer.handled :]
        del self._sent[answer.handled :]
        say(f"resumed: {answer.handled} packets were handled, {len(unseen)} are sent again")
        for request, fields in unseen:
            self.send(request, **fields)
        return chat

    def receive(self):
        """Returns the next packet, after showing it and updating the lists."""
        packet = self.chat.receive()
        if packet.packet in ("UserList", "UsersChanged") and packet.channel in self.lists:
            after = self.lists[packet.channel].take(packet)
            if after is not None:
                self.send("UserListRequest", channel=packet.channel, after=after, pages=1)
        elif packet.packet == "ChatMessage":
            target = packet.target if packet.scope == "Channel" else 0
            self._check_sequence((packet.scope, target), packet.sequence)
            where = {"Channel": f" in channel {packet.target}", "Whisper": f" to user {packet.target}"}
            place = where.get(packet.scope, "")
            say(f"received {packet.scope}{place} #{packet.sequence} {packet.sender.name}: {packet.text}")
        elif packet.packet == "ChatGap":
            say(f"missed {packet.missed} messages ({packet.scope} {packet.channel})")
            if (packet.scope, packet.channel) in self._sequences:
                self._sequences[packet.scope, packet.channel] += packet.missed
        elif packet.packet == "RoomResumed":
            say(f"room {packet.channel} resumed: message {packet.sequence} is the latest")
        elif packet.packet == "History":
            say(f"{len(packet.messages)} earlier messages of room {packet.channel}")
        if packet.packet in ANSWERS:
            self._answers += 1
        if packet.packet == "ChannelLeft" and packet.outcome in ("Ok", "Kicked"):
            self.lists.pop(packet.channel, None)
            self._sequences.pop(("Channel", packet.channel), None)
        return packet

    def _check_sequence(self, room, sequence):
        """Fails if a message of a room is missing without a ChatGap."""
        if room[0] == "Nearby":
            return
        last = self._sequences.get(room)
        if last is not None and sequence != last + 1:
            raise Failed(f"message {sequence} came after {last} in {room}")
        self._sequences[room] = sequence

    def complete_list(self, channel=0):
        """Waits until a list is complete and returns {user id: name}."""
        while not self.lists[channel].is_complete:
            self.receive()
        return self.lists[channel].users

    def talk(self, scope, target, text):
        """Sends a message and waits until it comes back."""
        say(f"sending ({scope}): {text}")
        sent = time.monotonic()
        stamp = time.monotonic_ns() // 1000
        self.send("ChatRequest", scope=scope, target=target, stamp=stamp, text=text)
        while True:
            packet = self.receive()
            if packet.packet == "ChatRefused" and packet.stamp == stamp:
                raise Failed(f"cannot send it: {packet.outcome}")
            if packet.packet == "ChatMessage" and (packet.sender.id, packet.stamp) == (self.user.id, stamp):
                took, times = (time.monotonic() - sent) * 1000, packet.times
                inside = times.queued_us + times.handled_us + packet.fan_out_us
                say(f"the message came back after {took:.1f} ms, {inside / 1000:.1f} ms of them in the server")
                return

    def whisper(self, name, text):
        ids = [id for id, other in self.lists[0].users.items() if other == name]
        if not ids:
            raise Failed(f"{name} is not in the chat")
        self.talk("Whisper", ids[0], text)

    def ask(self, request, answer, /, **fields):
        """Sends a request and waits for its answer; handles the packets before it."""
        self.send(request, **fields)
        while True:
            packet = self.receive()
            if packet.packet == answer:
                return packet


def visit_channel(room, name, text):
    """Joins or creates a channel, sends a message to it, and leaves it."""
    answer = room.ask("ChannelJoinRequest", "ChannelAnswer", name=name)
    if answer.outcome == "NoSuchChannel":
        answer = room.ask("ChannelCreateRequest", "ChannelAnswer", name=name)
    if answer.outcome != "Ok":
        raise Failed(f"cannot join channel {name}: {answer.outcome}")
    say(f"in channel {answer.channel}, {answer.name}; {answer.head_count} there")
    room.lists[answer.channel] = UserList()
    say(f"there: {names(room.complete_list(answer.channel))}")
    room.talk("Channel", answer.channel, text)
    left = room.ask("ChannelLeaveRequest", "ChannelLeft", channel=answer.channel)
    say(f"left channel {left.channel}: {left.outcome}")


def leave_chat(chat):
    chat.send("ExitRequest")
    try:
        while chat.receive().packet != "ExitAnswer":
            pass  # packets that were on their way
        say("left the chat")
        packet = chat.receive()
    except SessionEnded as end:
        if end.reason != "Goodbye":
            raise
    else:
        raise Failed(f"{packet.packet} came after ExitAnswer")


def names(users):
    shown = [users[id] for id in sorted(users)[:10]]
    return ", ".join(shown) + (", ..." if len(users) > len(shown) else "")


if __name__ == "__main__":
    sys.exit(main())
