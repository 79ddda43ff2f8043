//! The packet table: every packet's number, name and fields, in one place.
//!
//! Encoding, decoding, the [`Packet`] enum and the tables in docs/protocol.md
//! follow from it. To add a packet, add it here and handle it in one role's
//! handler table. A number, once released, never means anything else.

use super::table::{packets, wire_enum, wire_struct};
use super::{Bytes, CloseReason, List, SecretBytes, SecretText, Text};
use crate::limits;

/// An account id as a client types it.
pub type IdText = Text<{ limits::ID_WIRE_MAX }>;
/// A password as a client types it.
pub type PasswordText = SecretText<{ limits::PASSWORD_WIRE_MAX }>;
/// A character name as a client asks for it.
pub type RequestedName = Text<{ limits::NAME_WIRE_MAX }>;
/// A character name that has been accepted.
pub type Name = Text<{ limits::NAME_BYTES_MAX }>;
/// A channel's name as a client types it.
pub type WishedChannel = Text<{ limits::CHANNEL_WIRE_MAX }>;
/// A channel's name that has been accepted.
pub type ChannelName = Text<{ limits::CHANNEL_BYTES_MAX }>;
/// A sealed ticket.
pub type TicketBytes = Bytes<{ limits::TICKET_MAX }>;
/// The text of a chat message.
pub type ChatText = Text<{ limits::CHAT_TEXT_MAX }>;
/// A network address, `host:port`.
pub type Address = Text<255>;

wire_enum! {
    /// How a request went.
    Outcome {
        /// It was done.
        Ok = 0,
        /// No such account, or not its password. The same answer, after the same time, for both.
        BadCredentials = 1,
        /// The account is online already.
        AlreadyOnline = 2,
        /// The account has no character yet.
        NoCharacter = 3,
        /// A server or database behind this one is not to be reached or has too much to do.
        TryAgainLater = 4,
        /// Another account has this id. Ids differ in more than case.
        IdTaken = 5,
        /// The id is too short, or has characters that an id cannot have.
        IdInvalid = 6,
        /// The id is too long.
        IdTooLong = 7,
        /// The password is too short, or has control characters.
        PasswordInvalid = 8,
        /// The password is too long.
        PasswordTooLong = 9,
        /// Another character has this name. Names differ in more than case.
        NameTaken = 10,
        /// The name is too short, or has characters that a name cannot have.
        NameInvalid = 11,
        /// The name is too long.
        NameTooLong = 12,
        /// The account has a character already.
        CharacterExists = 13,
        /// The account's online state went to another login meanwhile.
        ClaimLost = 14,
        /// The server ran into a fault of its own, which its log describes.
        InternalError = 15,
        /// There is no such channel.
        NoSuchChannel = 16,
        /// The user is not in that channel.
        NotAMember = 17,
        /// There are as many channels, or the user is in as many, as the server allows.
        TooManyChannels = 18,
        /// No such user is in the chat.
        NoSuchUser = 19,
        /// Only the channel's owner may do this.
        NotTheOwner = 20,
        /// The user has not said where it is.
        NoPosition = 21,
        /// The owner has put the user out of the channel.
        Kicked = 22,
    }
}

wire_enum! {
    /// What a server is.
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
    /// Whom a message is for.
    Scope {
        /// Everybody in the chat (the predecessor's CHAT_BROADCAST).
        World = 0,
        /// The members of a channel (one kind of the predecessor's CHAT_MULTICAST).
        Channel = 1,
        /// Whoever is nearby: in the sender's sector and its eight neighbours (the other kind of CHAT_MULTICAST).
        Nearby = 2,
        /// One other user.
        Whisper = 3,
    }
}

wire_struct! {
    /// A user in the chat.
    User {
        /// Its number in this chat server; never given to anybody else while the server lives.
        id: u32,
        /// Its character's name.
        name: Name,
    }
}

wire_struct! {
    /// A channel, as lists of channels show it.
    ChannelInfo {
        /// Its number; never given to another channel while the server lives.
        channel: u32,
        /// Its name.
        name: ChannelName,
        /// Users in it.
        head_count: u32,
    }
}

wire_struct! {
    /// Where a message's time went in the chat server, by the server's own monotonic clock. PongAnswer tells how that clock
    /// stands to the client's.
    ServerTimes {
        /// When the request was read: microseconds since the server started.
        received_us: u64,
        /// From then to its handler's start, in microseconds: the queue.
        queued_us: u32,
        /// From there to the message's being encoded for sealing, in microseconds.
        handled_us: u32,
    }
}

impl Copy for ServerTimes {}

wire_struct! {
    /// A character as the database has it.
    Character {
        /// Its number.
        id: u64,
        /// Its name.
        name: Name,
        /// Its level, from 1.
        level: u32,
        /// Its experience points.
        experience: u64,
    }
}

wire_struct! {
    /// The right of one session of one server process to call an account online.
    Claim {
        /// The account.
        account: u64,
        /// The claim's number; another for each login. 0 is no claim.
        id: u64,
    }
}

impl Copy for Claim {}

packets! {
    /// The sender ends the session and says why. Nothing follows it.
    0x0001 Close(Any, "") {
        /// Why.
        reason: CloseReason,
        /// More about it, for a log or a person; may be empty.
        detail: Text<255>,
    }

    /// Are you there? Sent by a server that has heard nothing for the heartbeat interval.
    0x0002 Heartbeat(Any, "") {
        /// Comes back in the answer.
        token: u64,
    }

    /// Answer to a heartbeat, at once.
    0x0003 HeartbeatAnswer(Any, "") {
        /// The heartbeat's token.
        token: u64,
    }

    /// Log in.
    0x0101 LoginRequest(ClientToLogin, "C_REQ_ID_PW") {
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
    }

    /// The login failed. The session stays open, and another attempt may follow.
    0x0102 LoginRefused(LoginToClient, "S_ANS_ID_PW_FAIL") {
        /// Why: BadCredentials, AlreadyOnline, NoCharacter, TryAgainLater, ClaimLost or InternalError.
        outcome: Outcome,
    }

    /// The login succeeded: where to chat, and the ticket that admits there and only there.
    /// The client keeps this session open until it has entered the chat; closing it before revokes the ticket.
    0x0103 LoginGranted(LoginToClient, "S_ANS_ID_PW_SUCCESS") {
        /// The chat server's address.
        chat_address: Address,
        /// The chat server's public key.
        chat_key: [u8; 32],
        /// The character's name.
        name: Name,
        /// The ticket, for EnterRequest.
        ticket: TicketBytes,
        /// Milliseconds until the ticket is void.
        ticket_lifetime_ms: u32,
    }

    /// Make an account.
    0x0104 SignUpRequest(ClientToLogin, "C_REQ_CREATE_USER") {
        /// The id wanted: 3 to 32 characters.
        id: IdText,
        /// The password wanted: at least 8 characters, at most 256 bytes.
        password: PasswordText,
    }

    /// How the sign-up went.
    0x0105 SignUpAnswer(LoginToClient, "S_ANS_CREATE_USER") {
        /// Ok, IdTaken, IdInvalid, IdTooLong, PasswordInvalid, PasswordTooLong, TryAgainLater or InternalError.
        outcome: Outcome,
    }

    /// Make a character for an account.
    0x0106 CreateCharacterRequest(ClientToLogin, "C_REQ_CREATE_CHARACTER_ID_PW") {
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
        /// The character's name: 2 to 24 characters.
        name: RequestedName,
    }

    /// How the character's creation went.
    0x0107 CreateCharacterAnswer(LoginToClient, "S_ANS_CREATE_CHARACTER") {
        /// Ok, BadCredentials, NameTaken, NameInvalid, NameTooLong, CharacterExists, TryAgainLater or InternalError.
        outcome: Outcome,
    }

    /// Enter the chat; the first packet of a chat session, sent once. A ticket that is refused closes the session with the reason.
    0x0201 EnterRequest(ClientToChat, "C_REQ_REGIST_CHATTING_NAME") {
        /// The ticket of LoginGranted.
        ticket: TicketBytes,
    }

    /// Entered. The first page of the user list follows.
    0x0202 EnterAnswer(ChatToClient, "S_ANS_REGIST_CHATTING_NAME") {
        /// Who the client is here.
        user: User,
        /// Users in the chat, this one included.
        head_count: u32,
        /// The server's event loop that has the session, from 0. It means nothing to a game; whoever measures how fair the
        /// loops are to their clients needs it.
        shard: u8,
    }

    /// The next page of the user list, please. A channel's list is for its members only; others get an empty page.
    0x0203 UserListRequest(ClientToChat, "") {
        /// The channel whose users are wanted; 0 for everybody in the chat.
        channel: u32,
        /// The last user id of the page before; 0 for the first page.
        after: u32,
    }

    /// A page of a user list, by ascending user id. A page overtakes notices that are on their way; each UsersChanged may
    /// be applied to it all the same, whatever their order: see "Who is there".
    0x0204 UserList(ChatToClient, "E_S_ANS_USER_LIST") {
        /// The channel; 0 for everybody in the chat.
        channel: u32,
        /// The list's version at this moment.
        version: u64,
        /// Users there, the receiver included, at this moment.
        head_count: u32,
        /// Whether there are users after this page.
        more: bool,
        /// The users of this page.
        users: List<User, { limits::USER_PAGE }>,
    }

    /// Who entered and who left, on purpose or not. Told at once where few are; with many, what happened in an
    /// interval is told together.
    0x0205 UsersChanged(ChatToClient, "E_S_ANS_NEW_USER_NOTIFY, E_S_ANS_EXIT_USER") {
        /// The channel; 0 for everybody in the chat.
        channel: u32,
        /// The version of the list that this changes. A client whose version is lower has missed a notice.
        since: u64,
        /// The list's version after it. Each entering and each leaving is one version more.
        version: u64,
        /// Users there at that version.
        head_count: u32,
        /// Whether everybody who entered or left is named. If not, pages of the list tell the rest.
        complete: bool,
        /// Who entered and is still there.
        entered: List<User, { limits::ENTERED_MAX }>,
        /// The numbers of those who left and are not there, also of those who had entered in the same interval.
        left: List<u32, { limits::LEFT_MAX }>,
    }

    /// Say something. The sender is among the recipients, whatever the scope.
    0x0207 ChatRequest(ClientToChat, "C_REQ_CHATTING") {
        /// To whom.
        scope: Scope,
        /// The channel, or the user to whisper to; 0 for the other scopes.
        target: u32,
        /// Comes back in the message or the refusal. Clients put their own time in it, or any number.
        stamp: u64,
        /// What; not empty.
        text: ChatText,
    }

    /// Somebody said something.
    0x0208 ChatMessage(ChatToClient, "S_ANS_CHATTING") {
        /// To whom.
        scope: Scope,
        /// The channel, or the user whispered to; 0 for the other scopes.
        target: u32,
        /// The message's number in the chat or in its channel; the next message there has the next number, and who gets it not
        /// is told by ChatGap. Nearby and whispered messages have 0.
        sequence: u64,
        /// Who said it.
        sender: User,
        /// The stamp of the request.
        stamp: u64,
        /// Where its time went.
        times: ServerTimes,
        /// What.
        text: ChatText,
    }

    /// Leave the chat.
    0x0209 ExitRequest(ClientToChat, "C_REQ_CHAT_EXIT") {}

    /// The user has left. The server closes the session after it, with Goodbye.
    0x020A ExitAnswer(ChatToClient, "S_ANS_EXIT") {}

    /// Measures the way to the content threads and back.
    0x020B PingRequest(ClientToChat, "C_REQ_PING") {
        /// Comes back in the answer.
        token: u64,
    }

    /// Answer to a ping.
    0x020C PongAnswer(ChatToClient, "S_ANS_PONG") {
        /// The ping's token.
        token: u64,
        /// Microseconds between the server's reading the ping and its handler: the queue's share of the round trip.
        queued_us: u32,
        /// When the server read the ping: microseconds since it started, by its monotonic clock.
        server_us: u64,
    }

    /// The key of what is said in the chat or a channel from now on: frames of kind 3 with this key's number
    /// open with it. It is sent before the first of them. It takes the place of the room's older key at once.
    0x020D RoomKey(ChatToClient, "") {
        /// The channel; 0 for everybody in the chat.
        room: u32,
        /// The key's number; never that of another key while the server lives.
        key: u32,
        /// The key.
        secret: SecretBytes<32>,
        /// The number of the next message that is sealed with it. What has a lower one was said before.
        message: u64,
        /// The number of the next notice.
        notice: u64,
    }

    /// A message was not delivered to anybody.
    0x020E ChatRefused(ChatToClient, "") {
        /// The stamp of the request.
        stamp: u64,
        /// Why: NotAMember, NoSuchUser or NoPosition.
        outcome: Outcome,
    }

    /// The client reads too slowly and has missed messages; the next one follows.
    0x020F ChatGap(ChatToClient, "") {
        /// Where: World, Channel, or Nearby, which stands for whispers too.
        scope: Scope,
        /// The channel; 0 for the other scopes.
        channel: u32,
        /// How many messages were missed.
        missed: u64,
    }

    /// Make a channel, and join it as its owner.
    0x0210 ChannelCreateRequest(ClientToChat, "") {
        /// The name wanted: 2 to 32 characters.
        name: WishedChannel,
    }

    /// Join a channel. Joining twice is once.
    0x0211 ChannelJoinRequest(ClientToChat, "") {
        /// Its name.
        name: WishedChannel,
    }

    /// How the creating or joining went. With Ok, the first page of its user list follows.
    0x0212 ChannelAnswer(ChatToClient, "") {
        /// Ok, NoSuchChannel, TooManyChannels, NameTaken, NameInvalid or NameTooLong.
        outcome: Outcome,
        /// The channel; 0 unless Ok.
        channel: u32,
        /// The name as asked for or, with Ok, as the channel has it.
        name: WishedChannel,
        /// Users in it, this one included; 0 unless Ok.
        head_count: u32,
    }

    /// Leave a channel. A channel that everybody has left is no more.
    0x0213 ChannelLeaveRequest(ClientToChat, "") {
        /// Which.
        channel: u32,
    }

    /// The user is in the channel no more. None of its messages follows.
    0x0214 ChannelLeft(ChatToClient, "") {
        /// Which.
        channel: u32,
        /// Ok when the user asked for it, NotAMember when it was not in it, PutOut when the owner has put it out.
        outcome: Outcome,
    }

    /// Put a user out of a channel. For the channel's owner: who made it, and when that one leaves, who entered the chat first
    /// of those who are in it.
    0x0215 ChannelKickRequest(ClientToChat, "") {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
    }

    /// How the putting out went.
    0x0216 ChannelKickAnswer(ChatToClient, "") {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
        /// Ok, NotAMember (either of the two), or NotTheOwner.
        outcome: Outcome,
    }

    /// The next page of the list of channels, please.
    0x0217 ChannelListRequest(ClientToChat, "") {
        /// The last channel of the page before; 0 for the first page.
        after: u32,
    }

    /// A page of the list of channels, by ascending number.
    0x0218 ChannelList(ChatToClient, "") {
        /// The channels of this page.
        channels: List<ChannelInfo, { limits::CHANNEL_PAGE }>,
        /// Whether there are channels after this page.
        more: bool,
    }

    /// Where the user is now, for messages to those nearby. No answer.
    0x0219 PositionUpdate(ClientToChat, "") {
        /// In the game's own units.
        x: i32,
        /// In the game's own units.
        y: i32,
    }

    /// Who the sender is; the first packet of both ends of a server link.
    0x0301 LinkHello(Link, "") {
        /// The sender's role.
        role: Role,
        /// The sender's configured name, for logs.
        name: Text<64>,
        /// A number that this process drew at its start.
        instance: u64,
        /// A chat server's address for clients; empty for other roles.
        client_address: Address,
        /// A chat server's public key for clients; zeros for other roles.
        client_key: [u8; 32],
    }

    /// Check id and password and, if they are right, call the account online.
    0x0401 DbCheckPassword(ToDbAgent, "I_DB_REQ_ID_PW") {
        /// Comes back in the answer.
        request: u64,
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
        /// Whether an account that is online is taken over (`kick`) or the login refused.
        take_over: bool,
    }

    /// How the check went.
    0x0402 DbCheckPasswordAnswer(FromDbAgent, "I_DB_ANS_ID_PW") {
        /// The request.
        request: u64,
        /// Ok, BadCredentials, AlreadyOnline, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The claim that the asking server now holds; zeros unless Ok.
        claim: Claim,
    }

    /// Load an account's character, and take its claim over from the login server.
    0x0403 DbLoadCharacter(ToDbAgent, "I_DB_REQ_LOAD_DATA") {
        /// Comes back in the answer.
        request: u64,
        /// The claim to take over.
        claim: Claim,
    }

    /// The character.
    0x0404 DbLoadCharacterAnswer(FromDbAgent, "I_DB_ANS_PARSE_DATA") {
        /// The request.
        request: u64,
        /// Ok, NoCharacter, ClaimLost, TryAgainLater or InternalError. Only with Ok is the claim taken over.
        outcome: Outcome,
        /// The claim of the request, so that an answer that comes too late can be undone.
        claim: Claim,
        /// The character, when Ok.
        character: Option<Character>,
    }

    /// Make an account.
    0x0405 DbSignUp(ToDbAgent, "I_DB_REQ_CREATE_USER") {
        /// Comes back in the answer.
        request: u64,
        /// The id wanted.
        id: IdText,
        /// The password wanted.
        password: PasswordText,
    }

    /// How the sign-up went.
    0x0406 DbSignUpAnswer(FromDbAgent, "I_DB_ANS_CREATE_USER") {
        /// The request.
        request: u64,
        /// As in SignUpAnswer.
        outcome: Outcome,
    }

    /// Check id and password before a character is made; nobody comes online by it.
    0x0407 DbVerifyAccount(ToDbAgent, "I_DB_REQ_CREATE_CHARACTER_ID_PW") {
        /// Comes back in the answer.
        request: u64,
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
    }

    /// How the check went.
    0x0408 DbVerifyAccountAnswer(FromDbAgent, "I_DB_ANS_CREATE_CHARACTER_ID_PW") {
        /// The request.
        request: u64,
        /// Ok, BadCredentials, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The account; 0 unless Ok.
        account: u64,
    }

    /// Make a character for an account that has been verified.
    0x0409 DbCreateCharacter(ToDbAgent, "I_DB_REQ_CREATE_CHARACTER") {
        /// Comes back in the answer.
        request: u64,
        /// The account.
        account: u64,
        /// The character's name.
        name: RequestedName,
    }

    /// How the creation went.
    0x040A DbCreateCharacterAnswer(FromDbAgent, "I_DB_ANS_CREATE_CHARACTER_SUCCESS") {
        /// The request.
        request: u64,
        /// As in CreateCharacterAnswer.
        outcome: Outcome,
    }

    /// The account is not online any more. No answer; a claim that is not held is ignored.
    0x040B DbReleaseClaim(ToDbAgent, "") {
        /// The claim given up.
        claim: Claim,
    }

    /// All claims that this server process holds, in one or more pages: sent when a link comes up, and
    /// when the link to another DB agent is lost. The DB agent takes up those it does not know; with the first list
    /// over a link it releases those that this process got by way of this agent and that are not among them
    /// (their release was lost with an earlier link).
    0x040C DbHeldClaims(ToDbAgent, "") {
        /// The list's number: a process counts its lists from 1, over whatever link it sends them. One that comes after a
        /// later one is void.
        list: u64,
        /// This page's claims.
        claims: List<Claim, { limits::CLAIM_PAGE }>,
        /// Whether this is the last page.
        last: bool,
    }

    /// The claims have been compared, those that are void have been revoked, and the link takes
    /// requests from now on. Before it, only DbHeldClaims and DbReleaseClaim may be sent.
    0x040E DbClaimsSynced(FromDbAgent, "") {}

    /// A claim went to somebody else: the session that rests on it must end.
    0x040D DbClaimRevoked(FromDbAgent, "") {
        /// The claim that is void.
        claim: Claim,
    }

    /// An account is on its way to the chat: load its character and expect it.
    0x0501 ChatNotifyLogin(LoginToChat, "I_CHTTING_NOTIFY_ID") {
        /// Comes back in the answer.
        request: u64,
        /// The login's claim, which the chat server takes over.
        claim: Claim,
    }

    /// The chat server expects the account, or not.
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

    /// The client left the login server before it entered the chat: its ticket is void.
    0x0503 ChatCancelLogin(LoginToChat, "") {
        /// The login's claim.
        claim: Claim,
    }

    /// The client has entered the chat; the login server's part is over.
    0x0504 LoginNotifyEntered(ChatToLogin, "") {
        /// The login's claim.
        claim: Claim,
    }
}

/// Every enumeration that packets use, for docs/protocol.md.
pub const ENUMS: &[super::EnumInfo] = &[Outcome::INFO, CloseReason::INFO, Role::INFO, Scope::INFO];

/// Every group of fields that packets use, for docs/protocol.md.
pub const STRUCTS: &[(&str, &[super::FieldInfo])] = &[
    ("User", User::FIELDS),
    ("ChannelInfo", ChannelInfo::FIELDS),
    ("ServerTimes", ServerTimes::FIELDS),
    ("Character", Character::FIELDS),
    ("Claim", Claim::FIELDS),
];
