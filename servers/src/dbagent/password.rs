//! Password hashes: argon2id, as PHC strings.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, MIN_SALT_LEN, Params, PasswordHash, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;
use throng_core::limits::{ARGON2_ITERATIONS_MAX, ARGON2_KIB_MAX};

const OUTPUT_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Characters of a stored hash that the databases keep.
const STORED_CHARS_MAX: usize = 255;

/// What a password hash costs. The default, OWASP's second choice, takes 20 ms on one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB, from 8 to [`ARGON2_KIB_MAX`]. Each DB thread holds this much.
    pub memory_kib: u32,
    /// Passes over that memory, from 1 to [`ARGON2_ITERATIONS_MAX`].
    pub iterations: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2 }
    }
}

/// What is wrong with a password hash or its cost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// The configured cost is out of range.
    #[error(
        "the password hash cannot cost {memory_kib} KiB and {iterations} iterations: \
         memory is 8 to {ARGON2_KIB_MAX} KiB, iterations are 1 to {ARGON2_ITERATIONS_MAX}"
    )]
    Cost {
        /// KiB asked for.
        memory_kib: u32,
        /// Iterations asked for.
        iterations: u32,
    },
    /// A stored hash is none, or one that this program does not make.
    #[error("a stored password hash cannot be used ({0}): this account needs a new password")]
    Stored(String),
    /// The hash function failed.
    #[error("the password hash failed ({0}): this is a fault of the program, please report it")]
    Hash(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers ({0}): check /dev/urandom")]
    Random(String),
}

/// Hashes and verifies passwords. Each DB thread has its own.
///
/// It keeps the memory that a hash fills from one password to the next: mapping 19 MiB
/// anew each time costs 6 % (measured: median 21.5 ms against 20.2 ms) and a longer tail.
pub struct Passwords {
    params: Params,
    memory: Vec<Block>,
    /// What passwords of unknown ids are verified against. Nothing matches it.
    dummy: PasswordHash,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

impl Passwords {
    /// Hashes at this cost.
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

    /// The hash of a password, with a new salt, as a PHC string.
    pub fn hash(&mut self, password: &str) -> Result<String, PasswordError> {
        let salt = random::<SALT_BYTES>()?;
        let mut output = [0; OUTPUT_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
            .hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, &mut self.memory)
            .map_err(|error| PasswordError::Hash(error.to_string()))?;
        Ok(phc(&self.params, &salt, &output)?.to_string())
    }

    /// Whether this is the password. Without a stored hash it never is, but finding that out
    /// takes as long: nobody learns from the time whether an id exists. (A hash stored
    /// at another cost takes the time of that cost.)
    pub fn verify(&mut self, stored: Option<&str>, password: &str) -> Result<bool, PasswordError> {
        match stored {
            Some(stored) => {
                let stored =
                    PasswordHash::new(stored).map_err(|error| PasswordError::Stored(error.to_string()))?;
                verify(&stored, password, &mut self.memory)
            }
            None => verify(&self.dummy, password, &mut self.memory).map(|_| false),
        }
    }
}

/// Whether a hash that was made elsewhere can be kept and verified here; if not, why.
pub fn check_stored(text: &str) -> Result<(), &'static str> {
    if text.len() > STORED_CHARS_MAX {
        return Err("it is too long");
    }
    let stored = PasswordHash::new(text)
        .map_err(|_| "it does not look like $argon2id$v=19$m=19456,t=2,p=1$(salt)$(hash)")?;
    usable(&stored).map(|_| ())
}

/// What a stored hash was made with, and what came out.
struct Usable<'h> {
    version: Version,
    params: Params,
    salt: &'h Salt,
    hash: &'h Output,
}

fn usable(stored: &PasswordHash) -> Result<Usable<'_>, &'static str> {
    if stored.algorithm != ARGON2ID_IDENT {
        return Err("it is not argon2id");
    }
    let (Some(salt), Some(hash)) = (&stored.salt, &stored.hash) else {
        return Err("it has no salt or no hash");
    };
    if salt.len() < MIN_SALT_LEN {
        return Err("its salt is too short");
    }
    let version = stored.version.map_or(Ok(Version::default()), Version::try_from);
    let version = version.map_err(|_| "its version is unknown")?;
    let params = Params::try_from(stored).map_err(|_| "its parameters are impossible")?;
    if params.m_cost() > ARGON2_KIB_MAX || params.t_cost() > ARGON2_ITERATIONS_MAX {
        return Err("its cost is beyond all reason");
    }
    Ok(Usable { version, params, salt, hash })
}

fn verify(stored: &PasswordHash, password: &str, memory: &mut Vec<Block>) -> Result<bool, PasswordError> {
    let unusable = |why: &str| PasswordError::Stored(why.to_owned());
    let Usable { version, params, salt, hash } = usable(stored).map_err(unusable)?;
    // A stored hash of a higher cost than today's gets memory of its own, for once.
    let mut more = Vec::new();
    let blocks = params.block_count();
    let memory = if blocks > memory.len() {
        more.resize(blocks, Block::new());
        &mut more
    } else {
        memory
    };
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..hash.len()).ok_or_else(|| unusable("its hash is too long"))?;
    Argon2::new(Algorithm::Argon2id, version, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, output, memory)
        .map_err(|error| PasswordError::Stored(error.to_string()))?;
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
    use std::time::Instant;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 64, iterations: 1 };

    #[test]
    fn only_the_right_password_is_right() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let stored = passwords.hash("correct horse 김").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert_ne!(stored, passwords.hash("correct horse 김").unwrap(), "the salt is random");
        let mut check = |stored: Option<&str>, password: &str, expected| {
            assert_eq!(passwords.verify(stored, password).unwrap(), expected, "{password}");
        };
        check(Some(&stored), "correct horse 김", true);
        check(Some(&stored), "correct horse 금", false);
        check(Some(&stored), "", false);
        check(None, "correct horse 김", false);
    }

    #[test]
    fn a_hash_of_another_cost_verifies() {
        let dear = PasswordCost { memory_kib: 128, iterations: 2 };
        let stored = Passwords::new(dear).unwrap().hash("password").unwrap();
        assert!(Passwords::new(CHEAP).unwrap().verify(Some(&stored), "password").unwrap());
        let stored = Passwords::new(CHEAP).unwrap().hash("password").unwrap();
        assert!(Passwords::new(dear).unwrap().verify(Some(&stored), "password").unwrap());
    }

    #[test]
    fn the_reference_implementation_agrees() {
        // From the test vectors of the reference implementation (phc-winner-argon2, test.c).
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(Passwords::new(CHEAP).unwrap().verify(Some(stored), "password").unwrap());
    }

    #[test]
    fn useless_hashes_and_costs_are_errors() {
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
            let error = passwords.verify(Some(stored), "password").unwrap_err();
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
        let stored = passwords.hash("the right one").unwrap();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..31 {
            // In turns, so that whatever else the machine does meets both.
            for (times, stored) in times.iter_mut().zip([None, Some(&*stored)]) {
                let start = Instant::now();
                assert!(!passwords.verify(stored, "a wrong one").unwrap());
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let [unknown, wrong] = times.map(|mut times| {
            times.sort_unstable_by(f64::total_cmp);
            times[times.len() / 2]
        });
        let ratio = unknown / wrong;
        assert!((0.5..2.0).contains(&ratio), "ratio of the medians: {ratio}");
    }
}
