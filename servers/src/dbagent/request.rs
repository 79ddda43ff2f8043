//! What the DB threads are asked and what they answer.

use std::time::Instant;

use throng_core::wire::packets::{Character, Claim, IdText, Outcome, PasswordText, RequestedName};

use super::procedures::Held;

/// A piece of work for the DB threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Check id and password and, if they are right, call the account online (`DbCheckPassword`).
    CheckPassword {
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
        /// Whether an account that is online is taken over.
        take_over: bool,
        /// The login server process that gets the claim.
        instance: u64,
    },
    /// Load an account's character, and move its claim to `instance` (`DbLoadCharacter`). Without a
    /// character the claim stays where it is.
    LoadCharacter {
        /// The claim.
        claim: Claim,
        /// The chat server process that gets it.
        instance: u64,
    },
    /// Make an account (`DbSignUp`).
    SignUp {
        /// The id wanted.
        id: IdText,
        /// The password wanted.
        password: PasswordText,
    },
    /// Check id and password (`DbVerifyAccount`).
    VerifyAccount {
        /// The account's id.
        id: IdText,
        /// Its password.
        password: PasswordText,
    },
    /// Make a character (`DbCreateCharacter`).
    CreateCharacter {
        /// The account, verified before.
        account: u64,
        /// The name wanted.
        name: RequestedName,
    },
    /// An account is not online any more (`DbReleaseClaim`).
    ReleaseClaim {
        /// The claim given up.
        claim: Claim,
        /// The process that held it.
        instance: u64,
    },
    /// The claims that a process holds, all of them (`DbHeldClaims`, its pages put together). Renews its lease.
    SyncHeld {
        /// The process.
        instance: u64,
        /// The list's number among those of the process.
        list: u64,
        /// Whether it is the first one over its link.
        is_first: bool,
        /// What it holds.
        claims: Vec<Claim>,
        /// The end of its lease, in milliseconds since 1970 (UTC).
        lease_until_ms: u64,
    },
    /// A process lives.
    RenewHolder {
        /// The process.
        instance: u64,
        /// The end of its lease, in milliseconds since 1970 (UTC).
        lease_until_ms: u64,
    },
    /// This DB agent starts: leases that earlier processes of its name gave end soon.
    AgentStart {
        /// When, in milliseconds since 1970 (UTC).
        until_ms: u64,
    },
}

/// Which of the pool's queues a request waits in. The first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Online state, which must be right whatever else happens: in order for each instance, never
    /// expired, tried again while the database is away.
    Control {
        /// The process whose requests keep their order.
        instance: u64,
    },
    /// No password is hashed; most belong to logins that have waited for their hash already.
    Quick,
    /// A password is hashed: some 20 ms on one core.
    Hashing,
}

impl Request {
    pub(super) fn lane(&self) -> Lane {
        match *self {
            Self::ReleaseClaim { instance, .. }
            | Self::SyncHeld { instance, .. }
            | Self::RenewHolder { instance, .. } => Lane::Control { instance },
            Self::AgentStart { .. } => Lane::Control { instance: 0 },
            Self::LoadCharacter { .. } | Self::CreateCharacter { .. } => Lane::Quick,
            Self::CheckPassword { .. } | Self::SignUp { .. } | Self::VerifyAccount { .. } => Lane::Hashing,
        }
    }

    /// The answer when it was not done.
    pub(super) fn refused(&self, outcome: Outcome) -> Answer {
        match self {
            Self::CheckPassword { .. } => {
                Answer::CheckPassword { outcome, claim: Claim { account: 0, id: 0 }, displaced: None }
            }
            Self::LoadCharacter { .. } => Answer::LoadCharacter { outcome, character: None },
            Self::SignUp { .. } => Answer::SignUp { outcome },
            Self::VerifyAccount { .. } => Answer::VerifyAccount { outcome, account: 0 },
            Self::CreateCharacter { .. } => Answer::CreateCharacter { outcome },
            Self::ReleaseClaim { .. } => Answer::ReleaseClaim { outcome },
            Self::SyncHeld { .. } => Answer::SyncHeld { outcome, conflicts: Vec::new() },
            Self::RenewHolder { .. } => Answer::RenewHolder { outcome },
            Self::AgentStart { .. } => Answer::AgentStart { outcome },
        }
    }
}

/// A request on its way through the pool.
#[derive(Debug)]
pub struct Job<T> {
    /// What to do.
    pub request: Request,
    /// The caller's own, handed back with the answer.
    pub tag: T,
    /// When the caller stops waiting: from then on the request is answered TryAgainLater
    /// and not begun. Releases, lists, renewals and the agent's start are done however late.
    pub deadline: Instant,
}

/// What came of a request. Every accepted [`Job`] yields exactly one.
#[derive(Debug)]
pub struct Reply<T> {
    /// The job's tag.
    pub tag: T,
    /// The answer.
    pub answer: Answer,
}

/// The record that answers a [`Request`], variant by variant.
///
/// Whoever receives an Ok for `CheckPassword` or `LoadCharacter` and finds the peer
/// that asked gone must submit a `ReleaseClaim` for that peer's instance: its list of
/// claims may have been synchronised before this claim was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::CheckPassword`].
    CheckPassword {
        /// Ok, BadCredentials, AlreadyOnline, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The claim that the instance holds now; zeros unless Ok.
        claim: Claim,
        /// The claim that went for it: its holder must be told (`DbClaimRevoked`).
        displaced: Option<Held>,
    },
    /// To [`Request::LoadCharacter`].
    LoadCharacter {
        /// Ok, NoCharacter, ClaimLost, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The character, when Ok.
        character: Option<Character>,
    },
    /// To [`Request::SignUp`].
    SignUp {
        /// Ok, IdTaken, IdInvalid, IdTooLong, PasswordInvalid, PasswordTooLong, TryAgainLater or InternalError.
        outcome: Outcome,
    },
    /// To [`Request::VerifyAccount`].
    VerifyAccount {
        /// Ok, BadCredentials, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The account; 0 unless Ok.
        account: u64,
    },
    /// To [`Request::CreateCharacter`].
    CreateCharacter {
        /// Ok, BadCredentials (no such account), NameTaken, NameInvalid, NameTooLong, CharacterExists,
        /// TryAgainLater or InternalError.
        outcome: Outcome,
    },
    /// To [`Request::ReleaseClaim`].
    ReleaseClaim {
        /// Ok (also when there was nothing to release), TryAgainLater (the pool closed) or InternalError.
        outcome: Outcome,
    },
    /// To [`Request::SyncHeld`].
    SyncHeld {
        /// Ok, TryAgainLater (the pool closed) or InternalError.
        outcome: Outcome,
        /// The listed claims that are void: their holder must be told (`DbClaimRevoked`).
        conflicts: Vec<Claim>,
    },
    /// To [`Request::RenewHolder`].
    RenewHolder {
        /// Ok, TryAgainLater (the pool closed) or InternalError.
        outcome: Outcome,
    },
    /// To [`Request::AgentStart`].
    AgentStart {
        /// Ok, TryAgainLater (the pool closed) or InternalError.
        outcome: Outcome,
    },
}

impl Answer {
    /// How the request went.
    pub fn outcome(&self) -> Outcome {
        match *self {
            Self::CheckPassword { outcome, .. }
            | Self::LoadCharacter { outcome, .. }
            | Self::SignUp { outcome }
            | Self::VerifyAccount { outcome, .. }
            | Self::CreateCharacter { outcome }
            | Self::ReleaseClaim { outcome }
            | Self::SyncHeld { outcome, .. }
            | Self::RenewHolder { outcome }
            | Self::AgentStart { outcome } => outcome,
        }
    }
}
