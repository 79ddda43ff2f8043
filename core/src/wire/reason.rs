//! Why a session ended: what the peer is told, what is logged and what is counted.

use super::table::wire_enum;

wire_enum! {
    /// Why a session ends. Values from 128 are never sent: they say what one side saw.
    CloseReason {
        /// The peer asked for it, or has nothing more to do here.
        Goodbye = 0,
        /// Every session slot is taken. Try again later.
        ServerFull = 1,
        /// The peer speaks another version of the protocol.
        VersionMismatch = 2,
        /// The handshake did not finish in time.
        HandshakeTimeout = 3,
        /// The handshake failed: wrong server key, wrong cluster key or damaged bytes.
        HandshakeFailed = 4,
        /// Nothing was asked in time after the handshake.
        FirstPacketTimeout = 5,
        /// Nothing was heard from the peer for too long; heartbeats went unanswered.
        IdleTimeout = 6,
        /// A frame is longer than this state allows.
        FrameTooLong = 7,
        /// A frame of a kind that has no place here.
        UnexpectedFrame = 8,
        /// A sealed frame did not open: changed, replayed, reordered or forged.
        SealBroken = 9,
        /// A frame opened but does not decode as a packet.
        MalformedPacket = 10,
        /// A packet that this peer may not send, or not in this state.
        PacketNotAllowed = 11,
        /// The ticket was not sealed with the cluster's key, or is for another server.
        TicketInvalid = 12,
        /// The ticket's time is over.
        TicketExpired = 13,
        /// The ticket has been used or revoked.
        TicketUsed = 14,
        /// The session is registered already.
        AlreadyRegistered = 15,
        /// The account is in the chat already.
        AlreadyOnline = 16,
        /// The account logged in from somewhere else, which took this session's place.
        LoggedInElsewhere = 17,
        /// The peer reads too slowly; what waits for it passed the limit.
        TooSlow = 18,
        /// The server is going down.
        ServerShutdown = 19,
        /// The client has entered the chat and needs the login server no more.
        HandedOver = 20,
        /// The server that was asked is of another role than expected, or is not configured as a peer.
        WrongPeer = 21,
        /// The server ran into a fault of its own.
        InternalError = 22,
        /// The connection could not be made.
        ConnectFailed = 128,
        /// The peer closed the connection without a word.
        PeerClosed = 129,
        /// The connection broke.
        ConnectionLost = 130,
    }
}

impl CloseReason {
    /// Whether the peer is told, or the reason only describes what was seen here.
    pub fn is_sent(self) -> bool {
        (self as u8) < 128
    }
}
