//! Requests to the DB threads, and their answers.

use std::time::Instant;

use throng_core::wire::packets::{Character, Claim, IdText, Origin, Outcome, PasswordText, RequestedName};

use super::procedures::Held;

/// A request to the DB threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Checks id and password, and claims the account if both are right (`DbCheckPassword`).
    CheckPassword {
        /// Id of the account.
        id: IdText,
        /// Password of the account.
        password: PasswordText,
        /// True to displace a valid claim on the account.
        take_over: bool,
        /// The login server process that gets the claim.
        instance: u64,
    },
    /// Loads the character of an account and moves the claim to `instance` (`DbLoadCharacter`). If
    /// the account has no character, the claim stays with its holder.
    LoadCharacter {
        /// The claim.
        claim: Claim,
        /// The chat server process that gets it.
        instance: u64,
    },
    /// Creates an account (`DbSignUp`).
    SignUp {
        /// Requested id.
        id: IdText,
        /// Requested password.
        password: PasswordText,
    },
    /// Checks id and password (`DbVerifyAccount`).
    VerifyAccount {
        /// Id of the account.
        id: IdText,
        /// Password of the account.
        password: PasswordText,
    },
    /// Creates a character (`DbCreateCharacter`).
    CreateCharacter {
        /// Account of the character, verified before.
        account: u64,
        /// Requested name.
        name: RequestedName,
    },
    /// Releases a claim (`DbReleaseClaim`).
    ReleaseClaim {
        /// The claim.
        claim: Claim,
        /// The process that held it.
        instance: u64,
    },
    /// Undoes a `CheckPassword` that failed after its claim may have been made. Without it the
    /// account would stay online with a claim that no server knows of. The claim may also have
    /// displaced another one, even without `take_over` if that one was away. No certain record of
    /// it remains: an undoing may be repeated, and a later login may have replaced the claim.
    UndoClaim {
        /// The claim.
        claim: Claim,
        /// The process that would hold it.
        instance: u64,
    },
    /// Marks a claim as away or back (`DbClaimAway`).
    MarkClaim {
        /// The claim.
        claim: Claim,
        /// The process that holds it.
        instance: u64,
        /// True while the user is away.
        is_away: bool,
    },
    /// Compares all claims of a process with the database and renews its lease (`DbHeldClaims`, all
    /// pages).
    SyncHeld {
        /// The process.
        instance: u64,
        /// Number of the list; each process counts its lists.
        list: u64,
        /// True for the first list over a link.
        is_first: bool,
        /// All claims that the process holds.
        claims: Vec<Claim>,
        /// End of the lease. A step of the wall clock moves no lease.
        lease_until: Instant,
    },
    /// Sets the lease of a process.
    RenewHolder {
        /// The process.
        instance: u64,
        /// End of the lease. A step of the wall clock moves no lease.
        lease_until: Instant,
    },
    /// Ends the leases that earlier processes with this agent's name gave.
    AgentStart {
        /// Latest end of those leases.
        until: Instant,
    },
}

/// Queue of a request, in descending order of priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Online state. Requests of one instance keep their order, never expire, and are retried while
    /// the database is away.
    Control {
        /// The process whose requests keep their order.
        instance: u64,
    },
    /// Requests without a password hash. Most belong to logins that have waited for their hash
    /// already.
    Quick,
    /// Requests that hash a password: some 20 ms on one core. Fair to the addresses of clients.
    Hashing,
}

impl Request {
    pub(super) fn lane(&self) -> Lane {
        match *self {
            Self::ReleaseClaim { instance, .. }
            | Self::UndoClaim { instance, .. }
            | Self::MarkClaim { instance, .. }
            | Self::SyncHeld { instance, .. }
            | Self::RenewHolder { instance, .. } => Lane::Control { instance },
            Self::AgentStart { .. } => Lane::Control { instance: 0 },
            Self::LoadCharacter { .. } | Self::CreateCharacter { .. } => Lane::Quick,
            Self::CheckPassword { .. } | Self::SignUp { .. } | Self::VerifyAccount { .. } => Lane::Hashing,
        }
    }

    /// Answer to a request that finds no time or no room: NoTime if it hashes a password, which
    /// waits for its turn at the login server then.
    pub(crate) fn no_time(&self) -> Answer {
        let is_hash = self.lane() == Lane::Hashing;
        self.refused(if is_hash { Outcome::NoTime } else { Outcome::TryAgainLater })
    }

    /// Answer to a request that was not executed.
    pub(crate) fn refused(&self, outcome: Outcome) -> Answer {
        match self {
            Self::CheckPassword { .. } => {
                Answer::CheckPassword { outcome, claim: Claim { account: 0, id: 0 }, displaced: None }
            }
            Self::LoadCharacter { .. } => Answer::LoadCharacter { outcome, character: None },
            Self::SignUp { .. } => Answer::SignUp { outcome },
            Self::VerifyAccount { .. } => Answer::VerifyAccount { outcome, account: 0 },
            Self::CreateCharacter { .. } => Answer::CreateCharacter { outcome },
            Self::ReleaseClaim { .. } => Answer::ReleaseClaim { outcome },
            Self::UndoClaim { .. } => Answer::UndoClaim { outcome },
            Self::MarkClaim { is_away, .. } => Answer::MarkClaim { outcome, is_away: *is_away },
            Self::SyncHeld { .. } => Answer::SyncHeld { outcome, conflicts: Vec::new() },
            Self::RenewHolder { .. } => Answer::RenewHolder { outcome },
            Self::AgentStart { .. } => Answer::AgentStart { outcome },
        }
    }
}

/// A request in the pool.
#[derive(Debug)]
pub struct Job<T> {
    /// The request.
    pub request: Request,
    /// The client behind the request. Requests that hash a password are served fairly by it.
    pub origin: Origin,
    /// Data of the caller, returned with the answer.
    pub tag: T,
    /// Time at which the caller stops waiting. A request that has not started by then is answered
    /// TryAgainLater, and so is one whose hash would end after it. Releases, marks, lists, renewals
    /// and the agent's start are executed however late.
    pub deadline: Instant,
}

/// Reply to a [`Job`]. Every accepted job gets exactly one, unless the pool has shut down while a
/// DB thread hangs with the job. [`Answer::Overtaken`], or the answer to an undoing, may follow.
#[derive(Debug)]
pub struct Reply<T> {
    /// Tag of the job.
    pub tag: T,
    /// Answer to its request.
    pub answer: Answer,
}

/// Answer to a [`Request`], variant by variant.
///
/// The receiver of an Ok for `CheckPassword` or `LoadCharacter` must submit a `ReleaseClaim` for
/// the peer's instance if the peer is gone: its list of claims may have been compared before this
/// claim was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answer to [`Request::CheckPassword`].
    CheckPassword {
        /// Ok, BadCredentials, AlreadyOnline, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The claim that the instance holds now; zeros unless Ok.
        claim: Claim,
        /// The claim that was displaced; its holder must be told (`DbClaimRevoked`).
        displaced: Option<Held>,
    },
    /// Answer to [`Request::LoadCharacter`].
    LoadCharacter {
        /// Ok, NoCharacter, ClaimLost, TryAgainLater or InternalError.
        outcome: Outcome,
        /// The character if Ok.
        character: Option<Character>,
    },
    /// Answer to [`Request::SignUp`].
    SignUp {
        /// Ok, IdTaken, IdInvalid, IdTooLong, PasswordInvalid, PasswordTooLong, TryAgainLater or
        /// InternalError.
        outcome: Outcome,
    },
    /// Answer to [`Request::VerifyAccount`].
    VerifyAccount {
        /// Ok, BadCredentials, TryAgainLater or InternalError.
        outcome: Outcome,
        /// Number of the account; 0 unless Ok.
        account: u64,
    },
    /// Answer to [`Request::CreateCharacter`].
    CreateCharacter {
        /// Ok, BadCredentials (no such account), NameTaken, NameInvalid, NameTooLong,
        /// CharacterExists, TryAgainLater or InternalError.
        outcome: Outcome,
    },
    /// Answer to [`Request::ReleaseClaim`].
    ReleaseClaim {
        /// Ok (also if the claim was not held), InternalError, or TryAgainLater: it has not been
        /// released, because the pool is closed or full, or a DB thread was given up that hangs
        /// with the claim's transfer.
        outcome: Outcome,
    },
    /// Answer to [`Request::UndoClaim`], which follows the reply to the request that failed. All
    /// processes have to list their claims anew, since one of them may hold a displaced one.
    UndoClaim {
        /// Ok (also if the claim was not made), InternalError, or TryAgainLater: it has not been
        /// undone, because the pool is closed or full, or a DB thread was given up that hangs with
        /// the claim.
        outcome: Outcome,
    },
    /// Answer to [`Request::MarkClaim`].
    MarkClaim {
        /// Ok (also if the claim was not held), TryAgainLater (the pool is closed or full) or
        /// InternalError.
        outcome: Outcome,
        /// The mark of the request. One that says away and was not made keeps a player waiting; one
        /// that says back and was not made would let another login in.
        is_away: bool,
    },
    /// Answer to [`Request::SyncHeld`].
    SyncHeld {
        /// Ok, TryAgainLater (the pool is closed) or InternalError.
        outcome: Outcome,
        /// The listed claims that are void; their holder must be told (`DbClaimRevoked`).
        conflicts: Vec<Claim>,
    },
    /// Answer to [`Request::RenewHolder`].
    RenewHolder {
        /// Ok, TryAgainLater (the pool is closed) or InternalError.
        outcome: Outcome,
    },
    /// Answer to [`Request::AgentStart`].
    AgentStart {
        /// Ok, TryAgainLater (the pool is closed) or InternalError.
        outcome: Outcome,
    },
    /// A further reply about a process whose lease or claims are uncertain until it lists them
    /// anew. A DB thread that had hung with a list, a mark or a renewal returned after another one
    /// had answered: its call may have taken effect after later ones.
    Overtaken,
}

impl Answer {
    /// Outcome of the request.
    pub fn outcome(&self) -> Outcome {
        match *self {
            Self::CheckPassword { outcome, .. }
            | Self::LoadCharacter { outcome, .. }
            | Self::SignUp { outcome }
            | Self::VerifyAccount { outcome, .. }
            | Self::CreateCharacter { outcome }
            | Self::ReleaseClaim { outcome }
            | Self::UndoClaim { outcome }
            | Self::MarkClaim { outcome, .. }
            | Self::SyncHeld { outcome, .. }
            | Self::RenewHolder { outcome }
            | Self::AgentStart { outcome } => outcome,
            Self::Overtaken => Outcome::TryAgainLater,
        }
    }
}

/// Reason for refusing a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    /// Its hash would end after its deadline.
    Late,
    Closed,
}
