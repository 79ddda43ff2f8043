//! Reasons for which sessions end: told to the peer, logged and counted.

use super::table::wire_enum;

wire_enum! {
    /// The reason for which a session ended. Values from 128 on are never sent: they describe an
    /// end that this side observed.
    CloseReason {
        /// The peer asked for the end, or has nothing more to do here.
        Goodbye = 0,
        /// Every session slot is taken. Try again later.
        ServerFull = 1,
        /// The peer speaks another version of the protocol.
        VersionMismatch = 2,
        /// The handshake did not finish in time.
        HandshakeTimeout = 3,
        /// The handshake failed: wrong server key, wrong cluster key or damaged bytes.
        HandshakeFailed = 4,
        /// No request came in time after the handshake.
        FirstPacketTimeout = 5,
        /// Nothing was received from the peer for too long; heartbeats went unanswered.
        IdleTimeout = 6,
        /// A frame is longer than this state allows.
        FrameTooLong = 7,
        /// A frame has an unknown kind, or one that this state does not allow.
        UnexpectedFrame = 8,
        /// A sealed frame did not open: it was changed, replayed, reordered or forged.
        SealBroken = 9,
        /// A frame opened but does not decode as a packet.
        MalformedPacket = 10,
        /// The peer may not send this packet, or not in this state.
        PacketNotAllowed = 11,
        /// The ticket was not sealed with the cluster's key, or is for another server.
        TicketInvalid = 12,
        /// The ticket has expired.
        TicketExpired = 13,
        /// The ticket has been used or revoked.
        TicketUsed = 14,
        /// The session has already entered the chat.
        AlreadyRegistered = 15,
        /// The account is already in the chat.
        AlreadyOnline = 16,
        /// Another login of the account has taken this session's place.
        LoggedInElsewhere = 17,
        /// The peer reads too slowly: its unsent data passed the limit, or it took none for too
        /// long.
        TooSlow = 18,
        /// The server is shutting down.
        ServerShutdown = 19,
        /// The client has entered the chat and does not need the login server any more.
        HandedOver = 20,
        /// The server has another role than expected, or is not configured as a peer.
        WrongPeer = 21,
        /// An internal fault of the server.
        InternalError = 22,
        /// The client has held a seat of the login server for too long without a ticket.
        LoginTimeout = 23,
        /// The client went on sending too fast after it was told to wait.
        TooFast = 24,
        /// The address of the client has as many connections as it may have.
        TooManyConnections = 25,
        /// The user's place cannot be resumed: it was given up, or the token is not its newest one.
        /// Log in again.
        PlaceLost = 26,
        /// Another connection has resumed this session's place.
        ResumedElsewhere = 27,
        /// The server cannot take part in the chat now. Try again later.
        Unavailable = 28,
        /// The server gives up the connection, and the user's place is kept. Resume it, at another
        /// server if there is one.
        Moved = 29,
        /// The connection could not be made.
        ConnectFailed = 128,
        /// The peer closed the connection without sending Close.
        PeerClosed = 129,
        /// The connection broke.
        ConnectionLost = 130,
    }
}

impl CloseReason {
    /// Returns true if the peer is told the reason, false if it only describes what this side
    /// observed.
    pub fn is_sent(self) -> bool {
        (self as u8) < 128
    }
}
