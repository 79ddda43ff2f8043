//! The packet table: number, name and fields of every packet, in one place.
//!
//! Encoding, decoding, the [`Packet`] enum and the tables in docs/protocol.md follow from it. To
//! add a packet, add it here and handle it in the handler table of one role. A released number
//! never gets another meaning.

use std::time::Duration;

use super::table::{packets, wire_enum, wire_struct};
use super::{Bytes, CloseReason, Line, List, SecretBytes, SecretText, Text};
use crate::limits;

/// An account id as a client types it.
pub type IdText = Text<{ limits::ID_WIRE_MAX }>;
/// A password as a client types it.
pub type PasswordText = SecretText<{ limits::PASSWORD_WIRE_MAX }>;
/// A character name as a client requests it.
pub type RequestedName = Text<{ limits::NAME_WIRE_MAX }>;
/// A character name that has been accepted.
pub type Name = Line<{ limits::NAME_BYTES_MAX }>;
/// A channel name as a client requests it.
pub type WishedChannel = Text<{ limits::CHANNEL_WIRE_MAX }>;
/// A channel name that has been accepted.
pub type ChannelName = Line<{ limits::CHANNEL_BYTES_MAX }>;
/// A sealed ticket.
pub type TicketBytes = Bytes<{ limits::TICKET_MAX }>;
/// A sealed resume token.
pub type ResumeTokenBytes = Bytes<{ limits::RESUME_TOKEN_MAX }>;
/// The text of a chat message.
pub type ChatText = Text<{ limits::CHAT_TEXT_MAX }>;
/// A network address, `host:port`.
pub type Address = Line<255>;

wire_enum! {
    /// Result of a request.
    Outcome {
        /// Done.
        Ok = 0,
        /// The account does not exist, or the password is wrong. Both get the same answer after the
        /// same time.
        BadCredentials = 1,
        /// The account is already online.
        AlreadyOnline = 2,
        /// The account has no character yet.
        NoCharacter = 3,
        /// A server or database behind this server is unreachable or overloaded.
        TryAgainLater = 4,
        /// Another account has this id. Ids that differ only in case, or look alike, are the same.
        IdTaken = 5,
        /// The id is too short, or has characters that ids cannot have, or not together.
        IdInvalid = 6,
        /// The id is too long.
        IdTooLong = 7,
        /// The password is too short or has characters that passwords cannot have.
        PasswordInvalid = 8,
        /// The password is too long.
        PasswordTooLong = 9,
        /// Another character has this name. Names that differ only in case, or look alike, are the
        /// same.
        NameTaken = 10,
        /// The name is too short, or has characters that names cannot have, or not together.
        NameInvalid = 11,
        /// The name is too long.
        NameTooLong = 12,
        /// The account already has a character.
        CharacterExists = 13,
        /// Another login has taken over the account in the meantime.
        ClaimLost = 14,
        /// An internal fault of the server, which its log describes.
        InternalError = 15,
        /// There is no such channel.
        NoSuchChannel = 16,
        /// The user is not a member of the channel.
        NotAMember = 17,
        /// The server has its maximum of channels, or the user is in its maximum of them.
        TooManyChannels = 18,
        /// No such user is in the chat.
        NoSuchUser = 19,
        /// Only the channel's owner may do this.
        NotTheOwner = 20,
        /// The user has not sent a position.
        NoPosition = 21,
        /// The channel's owner has kicked the user.
        Kicked = 22,
        /// The text has control characters.
        TextInvalid = 23,
        /// The server does not give this id or name to players.
        NameReserved = 24,
        /// The DB agent's threads have no time for the password's hash. Between servers only: the
        /// login server lets the client wait.
        NoTime = 25,
    }
}

wire_enum! {
    /// Role of a server.
    Role {
        /// Login server.
        Login = 0,
        /// Chat server.
        Chat = 1,
        /// DB agent.
        DbAgent = 2,
    }
}

wire_enum! {
    /// Audience of a message.
    Scope {
        /// Every user in the chat (the predecessor's CHAT_BROADCAST).
        World = 0,
        /// The members of a channel (one kind of the predecessor's CHAT_MULTICAST).
        Channel = 1,
        /// The users in the sender's sector and its eight neighbors (the other kind of
        /// CHAT_MULTICAST).
        Nearby = 2,
        /// One other user.
        Whisper = 3,
    }
}

wire_struct! {
    /// A user in the chat.
    User {
        /// Number of the user in this chat server; never reused while the server's process lives.
        id: u32,
        /// Name of the user's character.
        name: Name,
    }
}

wire_struct! {
    /// A channel in a list of channels.
    ChannelInfo {
        /// Number of the channel; never reused while the server's process lives.
        channel: u32,
        /// Name of the channel.
        name: ChannelName,
        /// Users in the channel.
        head_count: u32,
    }
}

wire_struct! {
    /// Time that a message spent in the chat server, by the server's own monotonic clock.
    /// PongAnswer relates this clock to the client's.
    ServerTimes {
        /// Time at which the server read the request: microseconds since the server started.
        received_us: u64,
        /// Microseconds from the read to the start of the handler: the time in the queue.
        queued_us: u32,
        /// Microseconds from the start of the handler to the encoding of the message.
        handled_us: u32,
    }
}

impl Copy for ServerTimes {}

wire_struct! {
    /// A character as the database stores it.
    Character {
        /// Number of the character.
        id: u64,
        /// Name of the character.
        name: Name,
        /// Level of the character, from 1.
        level: u32,
        /// Experience points of the character.
        experience: u64,
    }
}

wire_struct! {
    /// The right of one session of one server process to mark an account as online.
    Claim {
        /// The account.
        account: u64,
        /// Number of the claim; every login draws another one. 0 means no claim.
        id: u64,
    }
}

impl Copy for Claim {}

wire_struct! {
    /// A message of a room's history.
    PastMessage {
        /// Number of the message in its room.
        sequence: u64,
        /// The sender.
        sender: User,
        /// The stamp of the request.
        stamp: u64,
        /// Time at which the server read the request: microseconds since the server started.
        received_us: u64,
        /// The text.
        text: ChatText,
    }
}

wire_struct! {
    /// A channel of a client that resumes.
    HeldChannel {
        /// The channel.
        channel: u32,
        /// Number of the latest message that the client has; 0 for none.
        sequence: u64,
    }
}

impl Copy for HeldChannel {}

wire_struct! {
    /// A chat server of a fleet.
    ChatNode {
        /// Address for clients, `host:port`.
        address: Address,
        /// Its public key.
        key: [u8; 32],
    }
}

wire_struct! {
    /// The client behind a request that hashes a password. A DB agent serves such requests fairly
    /// by address, and by attempts within an address.
    Origin {
        /// The client's IPv6 network (/64), or its IPv4 address as IPv6 (::ffff:a.b.c.d); zeros if
        /// unknown.
        address: [u8; 16],
        /// Requests of this kind that the client's session has made before.
        attempts: u32,
        /// Milliseconds that the sender waits for the answer; 0 if unknown.
        wait_ms: u32,
    }
}

impl Copy for Origin {}

impl Origin {
    /// No client, or an unknown one.
    pub const UNKNOWN: Self = Self { address: [0; 16], attempts: 0, wait_ms: 0 };
}

packets! {
    /// Ends the session. The sender sends nothing after it.
    0x0001 Close(Any, "") {
        /// The reason.
        reason: CloseReason,
        /// Details for a log or a person; may be empty.
        detail: Line<255>,
    }

    /// Asks whether the peer is alive. A server sends it when it has received nothing for the
    /// heartbeat interval.
    0x0002 Heartbeat(Any, "") {
        /// Repeated in the answer.
        token: u64,
    }

    /// Answers a heartbeat, at once.
    0x0003 HeartbeatAnswer(Any, "") {
        /// The heartbeat's token.
        token: u64,
    }

    /// Logs in.
    0x0101 LoginRequest(ClientToLogin, "C_REQ_ID_PW") {
        /// The account's id.
        id: IdText,
        /// The account's password.
        password: PasswordText,
    }

    /// Refuses a login. The session stays open for another attempt.
    0x0102 LoginRefused(LoginToClient, "S_ANS_ID_PW_FAIL") {
        /// BadCredentials, AlreadyOnline, NoCharacter, TryAgainLater, ClaimLost or InternalError.
        outcome: Outcome,
    }

    /// Grants a login, with the chat server's address and a ticket for this chat server only. The
    /// client keeps this session open until it has entered the chat; closing it earlier revokes
    /// the ticket.
    0x0103 LoginGranted(LoginToClient, "S_ANS_ID_PW_SUCCESS") {
        /// The chat server's address.
        chat_address: Address,
        /// The chat server's public key.
        chat_key: [u8; 32],
        /// The character's name.
        name: Name,
        /// The ticket, for EnterRequest.
        ticket: TicketBytes,
        /// Milliseconds until the ticket expires.
        ticket_lifetime_ms: u32,
    }

    /// Creates an account.
    0x0104 SignUpRequest(ClientToLogin, "C_REQ_CREATE_USER") {
        /// The requested id: 3 to 32 characters.
        id: IdText,
        /// The requested password: at least 8 characters, at most 256 bytes.
        password: PasswordText,
    }

    /// Answers a sign-up.
    0x0105 SignUpAnswer(LoginToClient, "S_ANS_CREATE_USER") {
        /// Ok, IdTaken, IdInvalid, IdTooLong, NameReserved, PasswordInvalid, PasswordTooLong,
        /// TryAgainLater or InternalError.
        outcome: Outcome,
    }

    /// Creates a character for an account.
    0x0106 CreateCharacterRequest(ClientToLogin, "C_REQ_CREATE_CHARACTER_ID_PW") {
        /// The account's id.
        id: IdText,
        /// The account's password.
        password: PasswordText,
        /// The requested name: 2 to 24 characters.
        name: RequestedName,
    }

    /// Answers the creation of a character.
    0x0107 CreateCharacterAnswer(LoginToClient, "S_ANS_CREATE_CHARACTER") {
        /// Ok, BadCredentials, NameTaken, NameInvalid, NameTooLong, NameReserved, CharacterExists,
        /// TryAgainLater or InternalError.
        outcome: Outcome,
    }

    /// Tells a client whose request waits for the hash of its password how long that will take. It
    /// comes every few seconds; the request's answer follows. The position of one request never
    /// rises.
    0x0108 LoginQueued(LoginToClient, "") {
        /// Place of the request in the queue; 1 is next.
        position: u32,
        /// Estimate of the wait that remains, in milliseconds.
        wait_ms: u32,
    }

    /// Enters the chat; the first packet of a chat session, sent once. A refused ticket closes the
    /// session with the reason.
    0x0201 EnterRequest(ClientToChat, "C_REQ_REGIST_CHATTING_NAME") {
        /// The ticket of LoginGranted.
        ticket: TicketBytes,
    }

    /// Confirms the entry. The first page of the user list follows.
    0x0202 EnterAnswer(ChatToClient, "S_ANS_REGIST_CHATTING_NAME") {
        /// The client's own user.
        user: User,
        /// Users in the chat, this one included.
        head_count: u32,
        /// Index of the server's event loop that serves the session, from 0. A game has no use for
        /// it; measurements of the fairness between event loops need it.
        shard: u8,
        /// Token for ResumeRequest; empty if this server keeps no place for a lost connection.
        token: ResumeTokenBytes,
        /// Milliseconds for which the server keeps the user's place after its connection is lost.
        resume_ms: u32,
        /// Milliseconds of silence after which the server sends the client a Heartbeat. A client
        /// that has heard nothing for longer sends a Heartbeat itself; without an answer it
        /// resumes over a new connection.
        heartbeat_ms: u32,
    }

    /// Requests the next pages of a user list. A user that is not a member of the channel gets an
    /// empty page.
    0x0203 UserListRequest(ClientToChat, "") {
        /// The channel whose list is requested; 0 for the whole chat.
        channel: u32,
        /// Id of the last user on the page before; 0 for the first page.
        after: u32,
        /// Most pages that the answer may have. 0 counts as 1, and more than 4 as 4.
        pages: u8,
    }

    /// A page of a user list, by ascending user id. A page overtakes notices that are on their way,
    /// and every UsersChanged may be applied to it all the same, in any order: see "User lists".
    0x0204 UserList(ChatToClient, "E_S_ANS_USER_LIST") {
        /// The channel; 0 for the whole chat.
        channel: u32,
        /// Version of the list when the page was made.
        version: u64,
        /// Users in the list when the page was made, the receiver included.
        head_count: u32,
        /// True if there are users after this page.
        more: bool,
        /// Users on this page.
        users: List<User, { limits::USER_PAGE }>,
    }

    /// A notice of users that entered or left, whether by request or by a lost connection. Small
    /// rooms send one for each change at once; large rooms collect the changes of an interval.
    0x0205 UsersChanged(ChatToClient, "E_S_ANS_NEW_USER_NOTIFY, E_S_ANS_EXIT_USER") {
        /// The channel; 0 for the whole chat.
        channel: u32,
        /// Version of the list before these changes. A client with a lower version has missed a
        /// notice.
        since: u64,
        /// Version of the list after these changes. Each user that enters or leaves adds one.
        version: u64,
        /// Users in the list at `version`.
        head_count: u32,
        /// True if every user that entered or left is named. Otherwise none is, and the client
        /// fetches the list again.
        complete: bool,
        /// Users that entered and are still there.
        entered: List<User, { limits::ENTERED_MAX }>,
        /// Ids of users that left and are not there, including users that entered in the same
        /// interval.
        left: List<u32, { limits::LEFT_MAX }>,
    }

    /// Sends a chat message. The sender is among the recipients, whatever the scope.
    0x0207 ChatRequest(ClientToChat, "C_REQ_CHATTING") {
        /// Audience of the message.
        scope: Scope,
        /// The channel, or the user to whisper to; 0 for the other scopes.
        target: u32,
        /// Repeated in the message or the refusal: the client's own time, or any number.
        stamp: u64,
        /// The text; not empty, and without control characters.
        text: ChatText,
    }

    /// Delivers a chat message.
    0x0208 ChatMessage(ChatToClient, "S_ANS_CHATTING") {
        /// Audience of the message.
        scope: Scope,
        /// The channel, or the user whispered to; 0 for the other scopes.
        target: u32,
        /// Number of the message in the chat, in its channel, or among the receiver's whispers,
        /// which increases by one with each message. A client that misses messages is told so by
        /// ChatGap. 0 with scope Nearby.
        sequence: u64,
        /// The sender.
        sender: User,
        /// The stamp of the request.
        stamp: u64,
        /// Time that the message spent in the server.
        times: ServerTimes,
        /// The text.
        text: ChatText,
    }

    /// Leaves the chat.
    0x0209 ExitRequest(ClientToChat, "C_REQ_CHAT_EXIT") {}

    /// Confirms that the user has left. The server closes the session after it, with Goodbye.
    0x020A ExitAnswer(ChatToClient, "S_ANS_EXIT") {}

    /// Measures the round trip to the content threads.
    0x020B PingRequest(ClientToChat, "C_REQ_PING") {
        /// Repeated in the answer.
        token: u64,
    }

    /// Answers a ping.
    0x020C PongAnswer(ChatToClient, "S_ANS_PONG") {
        /// The ping's token.
        token: u64,
        /// Microseconds between the server's read of the ping and its handler: the queue's share of
        /// the round trip.
        queued_us: u32,
        /// Time at which the server read the ping: microseconds since the server started, by its
        /// monotonic clock.
        server_us: u64,
    }

    /// Gives the client the key of a room: later frames of kind 3 with this key's number open with
    /// it. It precedes the first of these frames and replaces the room's older key at once.
    0x020D RoomKey(ChatToClient, "") {
        /// The channel; 0 for the whole chat; from 2^31 on the room of a sector, whose place is in
        /// the lowest four bits.
        room: u32,
        /// Number of the key; never reused while the server's process lives.
        key: u32,
        /// The key.
        secret: SecretBytes<32>,
        /// Number of the next message that is sealed with the key. Messages with a lower number are
        /// older than the client's membership.
        message: u64,
        /// Number of the next notice that is sealed with the key.
        notice: u64,
    }

    /// Tells the sender that its message was delivered to no user.
    0x020E ChatRefused(ChatToClient, "") {
        /// The stamp of the request.
        stamp: u64,
        /// NotAMember, NoSuchUser, NoPosition or TextInvalid.
        outcome: Outcome,
    }

    /// Tells a client how many messages it has missed, because it reads too slowly, or because they
    /// are not kept for a client that resumes. The next message of the room follows.
    0x020F ChatGap(ChatToClient, "") {
        /// Scope of the missed messages: World, Channel, or Nearby, which includes whispers.
        /// Whisper comes after ResumeAnswer only.
        scope: Scope,
        /// The channel; 0 for the other scopes.
        channel: u32,
        /// Messages missed.
        missed: u64,
    }

    /// Creates a channel. The user joins it as its owner.
    0x0210 ChannelCreateRequest(ClientToChat, "") {
        /// The requested name: 2 to 32 characters.
        name: WishedChannel,
    }

    /// Joins a channel. Joining again has no further effect.
    0x0211 ChannelJoinRequest(ClientToChat, "") {
        /// The channel's name.
        name: WishedChannel,
    }

    /// Answers the creation or joining of a channel. With Ok, the first page of the channel's user
    /// list follows.
    0x0212 ChannelAnswer(ChatToClient, "") {
        /// Ok, NoSuchChannel, TooManyChannels, NameTaken, NameInvalid, NameTooLong or NameReserved.
        outcome: Outcome,
        /// The channel; 0 unless Ok.
        channel: u32,
        /// The channel's own name with Ok, the requested name otherwise.
        name: WishedChannel,
        /// Users in the channel, this one included; 0 unless Ok.
        head_count: u32,
    }

    /// Leaves a channel. A channel without members ceases to exist.
    0x0213 ChannelLeaveRequest(ClientToChat, "") {
        /// The channel.
        channel: u32,
    }

    /// Tells the user that it is not in the channel any more. No message of the channel follows. In
    /// a fleet the outcome of each request may be TryAgainLater instead; nothing is changed then.
    0x0214 ChannelLeft(ChatToClient, "") {
        /// The channel.
        channel: u32,
        /// Ok if the user asked to leave, NotAMember if it was not in the channel, Kicked if the
        /// owner kicked it.
        outcome: Outcome,
    }

    /// Kicks a user from a channel. Only the channel's owner may: its creator or, once the owner
    /// has left, the member that entered the chat first.
    0x0215 ChannelKickRequest(ClientToChat, "") {
        /// The channel.
        channel: u32,
        /// The user to kick.
        user: u32,
    }

    /// Answers a kick.
    0x0216 ChannelKickAnswer(ChatToClient, "") {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
        /// Ok, NotAMember (the sender or the user), or NotTheOwner.
        outcome: Outcome,
    }

    /// Requests the next page of the list of channels.
    0x0217 ChannelListRequest(ClientToChat, "") {
        /// Number of the last channel on the page before; 0 for the first page.
        after: u32,
    }

    /// A page of the list of channels, by ascending number.
    0x0218 ChannelList(ChatToClient, "") {
        /// Channels on this page.
        channels: List<ChannelInfo, { limits::CHANNEL_PAGE }>,
        /// True if there are channels after this page.
        more: bool,
    }

    /// Sets the user's position, which decides who is nearby. No answer.
    0x0219 PositionUpdate(ClientToChat, "") {
        /// In the game's own units.
        x: i32,
        /// In the game's own units.
        y: i32,
    }

    /// Tells the client that a packet came too fast and was not handled; from a login server, in
    /// place of the request's answer. A client that goes on at that rate is closed.
    0x021A TooFast(ServerToClient, "") {
        /// Number of the packet's type.
        packet: u16,
        /// The stamp of a ChatRequest, otherwise 0.
        stamp: u64,
        /// Milliseconds after which the next packet of this kind is handled, at least 1.
        wait_ms: u32,
    }

    /// Requests messages of a room from before a number. A user that is not in the room gets an
    /// empty page.
    0x021B HistoryRequest(ClientToChat, "") {
        /// The channel; 0 for the whole chat.
        channel: u32,
        /// Number that all messages precede; 0 for the latest ones.
        before: u64,
        /// Most messages that the client wants.
        count: u8,
    }

    /// A page of a room's history. It may have fewer messages than requested, if a page has no room
    /// for more. A user that has joined a channel gets one too, with the latest messages.
    0x021C History(ChatToClient, "") {
        /// The channel; 0 for the whole chat.
        channel: u32,
        /// The messages, by ascending number without a gap.
        messages: List<PastMessage, { limits::HISTORY_PAGE }>,
        /// True if the user may read earlier ones than these, and they are kept.
        more: bool,
    }

    /// Resumes the place of a user whose connection was lost; the first packet of a new chat
    /// session. See "Resuming".
    0x021D ResumeRequest(ClientToChat, "") {
        /// The newest token that the client has.
        token: ResumeTokenBytes,
        /// Answers that the client has received: see "Resuming".
        answers: u32,
        /// Number of the latest whisper that the client has; 0 for none.
        whispers: u64,
        /// Number of the latest message of the whole chat that the client has.
        world: u64,
        /// Version of the user list of the whole chat that the client has.
        list_version: u64,
        /// The client's channels.
        channels: List<HeldChannel, { limits::CHANNELS_PER_USER_MAX }>,
    }

    /// Confirms that the user's place is resumed. What the client has missed follows, and then what
    /// is new. A place that is lost closes the session with PlaceLost instead.
    0x021E ResumeAnswer(ChatToClient, "") {
        /// Packets of the client that the server has handled since the user entered: see
        /// "Resuming". It will not handle them again, and has not seen those after them.
        handled: u32,
        /// Number of the first answer that follows. Answers between those that the client has and
        /// this one are not kept any more.
        answers_from: u32,
        /// Token for the next ResumeRequest. The one that was used is valid until this one is
        /// used.
        token: ResumeTokenBytes,
        /// Index of the server's event loop that serves the session, as in EnterAnswer.
        shard: u8,
    }

    /// Says where a room of a resumed user stands. What it has missed in the room follows, and then
    /// what is new. One comes for each room that the client has named and the user is in.
    0x021F RoomResumed(ChatToClient, "") {
        /// The channel; 0 for the whole chat.
        channel: u32,
        /// Number of the room's latest message.
        sequence: u64,
        /// Version of the room's user list.
        version: u64,
        /// Users in the list.
        head_count: u32,
    }

    /// Names the chat servers of a fleet, at each of which the user may resume. It comes after
    /// EnterAnswer and ResumeAnswer, and again whenever a server joins or leaves. A server that is
    /// the only one does not send it.
    0x0220 ChatNodes(ChatToClient, "") {
        /// The servers; the one that sends this may be among them.
        nodes: List<ChatNode, { limits::CHAT_NODES_MAX }>,
    }

    /// Introduces the sender; the first packet of both ends of a server link.
    0x0301 LinkHello(Link, "") {
        /// The sender's role.
        role: Role,
        /// The sender's configured name, for logs.
        name: Line<64>,
        /// A random number that the sender's process drew at its start.
        instance: u64,
        /// A chat server's address for clients; empty for other roles.
        client_address: Address,
        /// A chat server's public key for clients; zeros for other roles.
        client_key: [u8; 32],
    }

    /// Checks id and password and, if they are right, marks the account as online.
    0x0401 DbCheckPassword(ToDbAgent, "I_DB_REQ_ID_PW") {
        /// Repeated in the answer.
        request: u64,
        /// The account's id.
        id: IdText,
        /// The account's password.
        password: PasswordText,
        /// True to take over an account that is online (`kick`), false to refuse the login.
        take_over: bool,
        /// The client that logs in.
        origin: Origin,
    }

    /// Answers the check of a password.
    0x0402 DbCheckPasswordAnswer(FromDbAgent, "I_DB_ANS_ID_PW") {
        /// The request.
        request: u64,
        /// Ok, BadCredentials, AlreadyOnline, NoTime, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The claim that the requesting server now holds; zeros unless Ok.
        claim: Claim,
    }

    /// Loads an account's character and takes its claim over from the login server.
    0x0403 DbLoadCharacter(ToDbAgent, "I_DB_REQ_LOAD_DATA") {
        /// Repeated in the answer.
        request: u64,
        /// The claim to take over.
        claim: Claim,
    }

    /// Answers with the character.
    0x0404 DbLoadCharacterAnswer(FromDbAgent, "I_DB_ANS_PARSE_DATA") {
        /// The request.
        request: u64,
        /// Ok, NoCharacter, ClaimLost, TryAgainLater or InternalError. The claim is taken over only
        /// with Ok.
        outcome: Outcome,
        /// The claim of the request, so that the requester can undo an answer that comes too late.
        claim: Claim,
        /// The character, when Ok.
        character: Option<Character>,
    }

    /// Creates an account.
    0x0405 DbSignUp(ToDbAgent, "I_DB_REQ_CREATE_USER") {
        /// Repeated in the answer.
        request: u64,
        /// The requested id.
        id: IdText,
        /// The requested password.
        password: PasswordText,
        /// The client that signs up.
        origin: Origin,
    }

    /// Answers a sign-up.
    0x0406 DbSignUpAnswer(FromDbAgent, "I_DB_ANS_CREATE_USER") {
        /// The request.
        request: u64,
        /// As in SignUpAnswer, or NoTime.
        outcome: Outcome,
    }

    /// Checks id and password before the creation of a character, without marking the account as
    /// online.
    0x0407 DbVerifyAccount(ToDbAgent, "I_DB_REQ_CREATE_CHARACTER_ID_PW") {
        /// Repeated in the answer.
        request: u64,
        /// The account's id.
        id: IdText,
        /// The account's password.
        password: PasswordText,
        /// The client that asks.
        origin: Origin,
    }

    /// Answers the check of an account.
    0x0408 DbVerifyAccountAnswer(FromDbAgent, "I_DB_ANS_CREATE_CHARACTER_ID_PW") {
        /// The request.
        request: u64,
        /// Ok, BadCredentials, NoTime, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The account; 0 unless Ok.
        account: u64,
    }

    /// Creates a character for a verified account.
    0x0409 DbCreateCharacter(ToDbAgent, "I_DB_REQ_CREATE_CHARACTER") {
        /// Repeated in the answer.
        request: u64,
        /// The account.
        account: u64,
        /// The requested name.
        name: RequestedName,
    }

    /// Answers the creation of a character.
    0x040A DbCreateCharacterAnswer(FromDbAgent, "I_DB_ANS_CREATE_CHARACTER_SUCCESS") {
        /// The request.
        request: u64,
        /// As in CreateCharacterAnswer.
        outcome: Outcome,
    }

    /// Releases a claim: the account is not online any more. No answer; a claim that the sender
    /// does not hold is ignored.
    0x040B DbReleaseClaim(ToDbAgent, "") {
        /// The claim to release.
        claim: Claim,
    }

    /// One page of the list of all claims that this server process holds. A process sends the list
    /// when a link comes up, and when its link to another DB agent is lost. The DB agent adopts
    /// claims that it does not know. After the first list over a link it releases the claims that
    /// this process got through this agent and does not list: their release was lost with an
    /// earlier link.
    0x040C DbHeldClaims(ToDbAgent, "") {
        /// Number of the list: a process counts its lists from 1, over all its links. A list that
        /// arrives after a later one is void.
        list: u64,
        /// Claims on this page.
        claims: List<Claim, { limits::CLAIM_PAGE }>,
        /// True on the last page of the list.
        last: bool,
    }

    /// Tells that the claims have been compared and the void ones revoked. The link takes requests
    /// from now on; before it, only DbHeldClaims and DbReleaseClaim may be sent.
    0x040E DbClaimsSynced(FromDbAgent, "") {}

    /// Revokes a claim that another login has taken over. The session that rests on it must end.
    0x040D DbClaimRevoked(FromDbAgent, "") {
        /// The void claim.
        claim: Claim,
    }

    /// Marks a claim as away: its user has lost its connection, and its place is kept. A login to
    /// the account displaces the claim then, as if it took over. No answer; a claim that the sender
    /// does not hold through this agent is ignored. The list in DbHeldClaims clears all marks, so
    /// they are made anew after its comparison.
    0x040F DbClaimAway(ToDbAgent, "") {
        /// The claim.
        claim: Claim,
        /// True while the user is away, false once it is back.
        is_away: bool,
    }

    /// Announces an account that is on its way to the chat: the chat server loads its character and
    /// expects it.
    0x0501 ChatNotifyLogin(LoginToChat, "I_CHTTING_NOTIFY_ID") {
        /// Repeated in the answer.
        request: u64,
        /// The login's claim, which the chat server takes over.
        claim: Claim,
    }

    /// Answers whether the chat server expects the account.
    0x0502 LoginNotifyLoaded(ChatToLogin, "I_LOGIN_NOTIFY_ID_LOADED") {
        /// The request.
        request: u64,
        /// Ok, NoCharacter, ClaimLost, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The claim of the request.
        claim: Claim,
        /// The character, when Ok.
        character: Option<Character>,
    }

    /// Voids the ticket of a client that left the login server before it entered the chat.
    0x0503 ChatCancelLogin(LoginToChat, "") {
        /// The login's claim.
        claim: Claim,
    }

    /// Tells that the client has entered the chat, which ends the login server's part.
    0x0504 LoginNotifyEntered(ChatToLogin, "") {
        /// The login's claim.
        claim: Claim,
    }

    /// Tells how much room a node of a fleet has. It comes first after the hello, and then on a
    /// change. A login goes to the node with the most.
    0x0505 LoginNotifyRoom(ChatToLogin, "") {
        /// Users that the node may still take; 0 while it is cut off from its fleet.
        free: u32,
    }
}

impl TooFast {
    /// Refuses a packet of the type `packet` until `wait` has passed.
    pub fn new(packet: u16, stamp: u64, wait: Duration) -> Self {
        Self { packet, stamp, wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1) }
    }
}

/// Every enumeration that packets use, for docs/protocol.md.
pub const ENUMS: &[super::EnumInfo] = &[Outcome::INFO, CloseReason::INFO, Role::INFO, Scope::INFO];

/// Every group of fields that packets use, for docs/protocol.md.
pub const STRUCTS: &[(&str, &[super::FieldInfo])] = &[
    ("User", User::FIELDS),
    ("ChannelInfo", ChannelInfo::FIELDS),
    ("PastMessage", PastMessage::FIELDS),
    ("HeldChannel", HeldChannel::FIELDS),
    ("ChatNode", ChatNode::FIELDS),
    ("ServerTimes", ServerTimes::FIELDS),
    ("Character", Character::FIELDS),
    ("Claim", Claim::FIELDS),
    ("Origin", Origin::FIELDS),
];
