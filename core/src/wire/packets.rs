//! The packet table: every packet's number, name and fields, in one place.
//!
//! Encoding, decoding, the [`Packet`] enum and the tables in docs/protocol.md
//! follow from it. To add a packet, add it here and handle it in one role's
//! handler table. A number, once released, never means anything else.

use super::table::{packets, wire_enum, wire_struct};
use super::{Bytes, CloseReason, List, SecretText, Text};
use crate::limits;

/// An account id as a client types it.
pub type IdText = Text<{ limits::ID_WIRE_MAX }>;
/// A password as a client types it.
pub type PasswordText = SecretText<{ limits::PASSWORD_WIRE_MAX }>;
/// A character name as a client asks for it.
pub type WishedName = Text<{ limits::NAME_WIRE_MAX }>;
/// A character name that has been accepted.
pub type Name = Text<{ limits::NAME_BYTES_MAX }>;
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
        name: WishedName,
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
    }

    /// The next page of the user list, please.
    0x0203 UserListRequest(ClientToChat, "") {
        /// The last user id of the page before; 0 for the first page.
        after: u32,
    }

    /// A page of the user list, by ascending user id. Whoever enters or leaves while
    /// pages are fetched is told by UserEntered and UserLeft, in the right order with the pages.
    0x0204 UserList(ChatToClient, "E_S_ANS_USER_LIST") {
        /// Users in the chat, the receiver included, at this moment.
        head_count: u32,
        /// The users of this page.
        users: List<User, { limits::USER_PAGE }>,
        /// Whether there are users after this page.
        more: bool,
    }

    /// Somebody entered.
    0x0205 UserEntered(ChatToClient, "E_S_ANS_NEW_USER_NOTIFY") {
        /// Who.
        user: User,
    }

    /// Somebody left, on purpose or not.
    0x0206 UserLeft(ChatToClient, "E_S_ANS_EXIT_USER") {
        /// The user's number.
        user: u32,
    }

    /// Say something to everybody, the sender included.
    0x0207 ChatRequest(ClientToChat, "C_REQ_CHATTING") {
        /// What; not empty.
        text: ChatText,
    }

    /// Somebody said something.
    0x0208 ChatMessage(ChatToClient, "S_ANS_CHATTING") {
        /// The message's number in the room; the next message has the next number.
        sequence: u64,
        /// Who said it.
        sender: User,
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
        name: WishedName,
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
pub const ENUMS: &[super::EnumInfo] = &[Outcome::INFO, CloseReason::INFO, Role::INFO];

/// Every group of fields that packets use, for docs/protocol.md.
pub const STRUCTS: &[(&str, &[super::FieldInfo])] =
    &[("User", User::FIELDS), ("Character", Character::FIELDS), ("Claim", Claim::FIELDS)];
