//! Password hashes: argon2id as PHC strings.
//!
//! The verification of a password takes the same time whether or not the account exists.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, MIN_SALT_LEN, Params, PasswordHash, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;
use throng_core::limits::{ARGON2_ITERATIONS_MAX, ARGON2_KIB_MAX};

use crate::rules::Password;

const OUTPUT_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Longest hash that the databases store, in characters.
const STORED_CHARS_MAX: usize = 255;

/// Cost of a password hash. The default, OWASP's second choice, takes 20 ms on one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB, from 8 to [`ARGON2_KIB_MAX`]. Every DB thread keeps this much.
    pub memory_kib: u32,
    /// Passes over the memory, from 1 to [`ARGON2_ITERATIONS_MAX`].
    pub iterations: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2 }
    }
}

/// Error of a password hash or of its cost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// The configured cost is out of range.
    #[error(
        "the password hash cannot cost {memory_kib} KiB and {iterations} iterations: \
         memory is 8 to {ARGON2_KIB_MAX} KiB, iterations are 1 to {ARGON2_ITERATIONS_MAX}"
    )]
    Cost {
        /// Configured memory in KiB.
        memory_kib: u32,
        /// Configured iterations.
        iterations: u32,
    },
    /// A stored hash is invalid, or not one that this program makes.
    #[error("a stored password hash cannot be used ({0}): this account needs a new password")]
    Stored(#[from] StoredHashError),
    /// The hash function failed.
    #[error("the password hash failed ({0}): this is a bug in the program, please report it")]
    Hash(String),
    /// The system has no random numbers.
    #[error("the system returns no random numbers ({0}): check /dev/urandom")]
    Random(String),
}

/// Reason why a stored hash cannot be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoredHashError {
    /// Longer than the databases store.
    #[error("it is too long")]
    TooLong,
    /// Not a PHC string.
    #[error("it does not look like $argon2id$v=19$m=19456,t=2,p=1$(salt)$(hash)")]
    NotPhc,
    /// Another algorithm.
    #[error("it is not argon2id")]
    Algorithm,
    /// A PHC string without a salt or a hash.
    #[error("it has no salt or no hash")]
    Incomplete,
    /// A salt shorter than argon2 permits.
    #[error("its salt is too short")]
    ShortSalt,
    /// An unknown version of argon2.
    #[error("its version is unknown")]
    Version,
    /// Parameters that argon2 does not permit.
    #[error("its parameters are impossible")]
    Parameters,
    /// A cost above [`ARGON2_KIB_MAX`] or [`ARGON2_ITERATIONS_MAX`].
    #[error("its cost is too high")]
    Cost,
    /// An error of argon2 itself.
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
}

/// Hashes and verifies passwords. Each DB thread has its own.
///
/// The memory of a hash is kept between passwords. Mapping 19 MiB for each hash would cost 6 %
/// (measured: median 21.5 ms against 20.2 ms) and a longer tail.
pub struct Passwords {
    params: Params,
    memory: Vec<Block>,
    /// Hash that passwords of unknown ids are verified against. No password matches it.
    dummy: PasswordHash,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

impl Passwords {
    /// Creates a hasher of this cost.
    pub fn new(cost: PasswordCost) -> Result<Self, PasswordError> {
        let PasswordCost { memory_kib, iterations } = cost;
        let params = Params::new(memory_kib, iterations, 1, Some(OUTPUT_BYTES))
            .ok()
            .filter(|_| memory_kib <= ARGON2_KIB_MAX && iterations <= ARGON2_ITERATIONS_MAX)
            .ok_or(PasswordError::Cost { memory_kib, iterations })?;
        let dummy = phc(&params, &random::<SALT_BYTES>()?, &random::<OUTPUT_BYTES>()?)?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { params, memory, dummy })
    }

    /// Returns the hash of a password with a new salt, as a PHC string.
    pub fn hash(&mut self, password: &Password) -> Result<String, PasswordError> {
        let salt = random::<SALT_BYTES>()?;
        let mut output = [0; OUTPUT_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
            .hash_password_into_with_memory(password.expose(), &salt, &mut output, &mut self.memory)
            .map_err(|error| PasswordError::Hash(error.to_string()))?;
        Ok(phc(&self.params, &salt, &output)?.to_string())
    }

    /// Returns true if `password` matches the stored hash. Without one it never matches but takes
    /// as long, so the time does not reveal whether an id exists. A hash of another cost takes the
    /// time of that cost.
    pub fn verify(&mut self, stored: Option<&str>, password: &Password) -> Result<bool, PasswordError> {
        match stored {
            Some(stored) => {
                let stored = PasswordHash::new(stored).map_err(|_| StoredHashError::NotPhc)?;
                verify(&stored, password, &mut self.memory)
            }
            None => verify(&self.dummy, password, &mut self.memory).map(|_| false),
        }
    }
}

/// Checks whether a hash from elsewhere can be stored and verified here.
pub fn check_stored(text: &str) -> Result<(), StoredHashError> {
    if text.len() > STORED_CHARS_MAX {
        return Err(StoredHashError::TooLong);
    }
    let stored = PasswordHash::new(text).map_err(|_| StoredHashError::NotPhc)?;
    usable(&stored).map(|_| ())
}

/// Parameters and output of a stored hash.
struct Usable<'h> {
    version: Version,
    params: Params,
    salt: &'h Salt,
    hash: &'h Output,
}

fn usable(stored: &PasswordHash) -> Result<Usable<'_>, StoredHashError> {
    if stored.algorithm != ARGON2ID_IDENT {
        return Err(StoredHashError::Algorithm);
    }
    let salt = stored.salt.as_ref().ok_or(StoredHashError::Incomplete)?;
    let hash = stored.hash.as_ref().ok_or(StoredHashError::Incomplete)?;
    if salt.len() < MIN_SALT_LEN {
        return Err(StoredHashError::ShortSalt);
    }
    let version = stored.version.map_or(Ok(Version::default()), Version::try_from);
    let version = version.map_err(|_| StoredHashError::Version)?;
    let params = Params::try_from(stored).map_err(|_| StoredHashError::Parameters)?;
    if params.m_cost() > ARGON2_KIB_MAX || params.t_cost() > ARGON2_ITERATIONS_MAX {
        return Err(StoredHashError::Cost);
    }
    Ok(Usable { version, params, salt, hash })
}

fn verify(
    stored: &PasswordHash,
    password: &Password,
    memory: &mut Vec<Block>,
) -> Result<bool, PasswordError> {
    let Usable { version, params, salt, hash } = usable(stored)?;
    // A stored hash of a higher cost than the configured one gets memory of its own.
    let mut larger = Vec::new();
    let blocks = params.block_count();
    let memory = if blocks > memory.len() {
        larger.resize(blocks, Block::new());
        &mut larger
    } else {
        memory
    };
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..hash.len()).ok_or(StoredHashError::TooLong)?;
    Argon2::new(Algorithm::Argon2id, version, params)
        .hash_password_into_with_memory(password.expose(), salt, output, memory)
        .map_err(StoredHashError::Argon2)?;
    let found = Output::new(output).map_err(|error| PasswordError::Hash(error.to_string()))?;
    // `Output` compares in constant time.
    Ok(found == *hash)
}

fn phc(params: &Params, salt: &[u8], output: &[u8]) -> Result<PasswordHash, PasswordError> {
    let failed = |error: argon2::password_hash::phc::Error| PasswordError::Hash(error.to_string());
    Ok(PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|error| PasswordError::Hash(error.to_string()))?,
        salt: Some(Salt::new(salt).map_err(failed)?),
        hash: Some(Output::new(output).map_err(failed)?),
    })
}

fn random<const N: usize>() -> Result<[u8; N], PasswordError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| PasswordError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbagent::cpu_time_fixture::{median, thread_cpu_seconds};

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 64, iterations: 1 };

    fn of(text: &str) -> Password {
        Password::to_check(text)
    }

    #[test]
    fn a_password_signed_up_in_one_form_matches_in_the_other() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let stored = passwords.hash(&Password::new("비밀번호 pässwort").unwrap()).unwrap();
        let decomposed = "비밀번호 pa\u{308}sswort";
        assert!(passwords.verify(Some(&stored), &of(decomposed)).unwrap());
    }

    #[test]
    fn only_the_right_password_matches() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let stored = passwords.hash(&of("correct horse 김")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert_ne!(stored, passwords.hash(&of("correct horse 김")).unwrap(), "the salt is random");
        let mut check = |stored: Option<&str>, password: &str, expected| {
            assert_eq!(passwords.verify(stored, &of(password)).unwrap(), expected, "{password}");
        };
        check(Some(&stored), "correct horse 김", true);
        check(Some(&stored), "correct horse 금", false);
        check(Some(&stored), "", false);
        check(None, "correct horse 김", false);
    }

    #[test]
    fn a_hash_of_another_cost_verifies() {
        let costly = PasswordCost { memory_kib: 128, iterations: 2 };
        let stored = Passwords::new(costly).unwrap().hash(&of("password")).unwrap();
        assert!(Passwords::new(CHEAP).unwrap().verify(Some(&stored), &of("password")).unwrap());
        let stored = Passwords::new(CHEAP).unwrap().hash(&of("password")).unwrap();
        assert!(Passwords::new(costly).unwrap().verify(Some(&stored), &of("password")).unwrap());
    }

    #[test]
    fn the_reference_implementation_agrees() {
        // From the test vectors of the reference implementation (phc-winner-argon2, test.c).
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(Passwords::new(CHEAP).unwrap().verify(Some(stored), &of("password")).unwrap());
    }

    #[test]
    fn invalid_hashes_and_costs_are_errors() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        for stored in [
            "",
            "hunter2",
            "$argon2id",
            "$argon2id$v=19$m=64,t=1,p=1",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
            "$argon2id$v=77$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=64,t=4294967295,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ] {
            let error = passwords.verify(Some(stored), &of("password")).unwrap_err();
            assert!(matches!(error, PasswordError::Stored(_)), "{stored}: {error}");
        }
        for (memory_kib, iterations) in [(0, 1), (7, 1), (64, 0), (ARGON2_KIB_MAX + 1, 1)] {
            let cost = PasswordCost { memory_kib, iterations };
            assert!(matches!(Passwords::new(cost), Err(PasswordError::Cost { .. })), "{cost:?}");
        }
    }

    #[test]
    fn an_unknown_id_and_a_wrong_password_take_the_same_time() {
        let mut passwords = Passwords::new(PasswordCost { memory_kib: 512, iterations: 1 }).unwrap();
        let stored = passwords.hash(&of("the right one")).unwrap();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..31 {
            for (times, stored) in times.iter_mut().zip([None, Some(&*stored)]) {
                let start = thread_cpu_seconds();
                assert!(!passwords.verify(stored, &of("a wrong one")).unwrap());
                times.push(thread_cpu_seconds() - start);
            }
        }
        let [unknown, wrong] = times.map(median);
        let ratio = unknown / wrong;
        assert!((0.5..2.0).contains(&ratio), "ratio of the medians: {ratio}");
    }
}
