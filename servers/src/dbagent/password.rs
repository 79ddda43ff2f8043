//! Password hashes: argon2id as PHC strings.
//!
//! A check takes the same time whether or not the account exists, and whatever the cost of its
//! hash: it hashes once at each cost that is in use. Costs change when the configuration does or
//! when hashes are imported; the check of a right password brings its hash to today's cost.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, MIN_SALT_LEN, Params, PasswordHash, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;
use throng_core::limits::{ARGON2_ITERATIONS_MAX, ARGON2_KIB_MAX, PASSWORD_COSTS_MAX};

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

/// Parameters on which the time of a hash depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    version: Version,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

impl Cost {
    fn params(self) -> Result<Params, StoredHashError> {
        let Self { memory_kib, iterations, lanes, .. } = self;
        let params = Params::new(memory_kib, iterations, lanes, Some(OUTPUT_BYTES));
        let params = params.map_err(|_| StoredHashError::Parameters)?;
        if memory_kib > ARGON2_KIB_MAX || iterations > ARGON2_ITERATIONS_MAX {
            return Err(StoredHashError::Cost);
        }
        Ok(params)
    }

    /// Parses the text of [`fmt::Display`]. `None` if no hash can have this cost.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut next = |name| parts.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let version = Version::try_from(next("v=")?).ok()?;
        let cost = Self { version, memory_kib: next("m=")?, iterations: next("t=")?, lanes: next("p=")? };
        cost.params().ok().filter(|_| parts.next().is_none()).map(|_| cost)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, memory_kib, iterations, lanes } = self;
        write!(f, "v={},m={memory_kib},t={iterations},p={lanes}", u32::from(*version))
    }
}

/// Returns the cost of a stored hash as the databases record it: `v=19,m=19456,t=2,p=1`. Empty if
/// no password can match the hash.
pub fn cost_of(stored: &str) -> String {
    let Ok(stored) = PasswordHash::new(stored) else { return String::new() };
    usable(&stored).map(|usable| usable.cost.to_string()).unwrap_or_default()
}

/// Result of [`Passwords::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// True if the password is right.
    pub is_right: bool,
    /// The hash of a right password at today's cost, if the stored one has another.
    pub renewed: Option<String>,
}

/// Hashes and verifies passwords. Each DB thread has its own.
///
/// The memory of a hash is kept between passwords. Mapping 19 MiB for each hash would cost 6 %
/// (measured: median 21.5 ms against 20.2 ms) and a longer tail.
pub struct Passwords {
    today: Cost,
    params: Params,
    memory: Vec<Block>,
    /// Costs of stored hashes, other than today's; at most [`PASSWORD_COSTS_MAX`].
    others: Vec<Cost>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("today", &self.today)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

impl Passwords {
    /// Creates a hasher of this cost.
    pub fn new(cost: PasswordCost) -> Result<Self, PasswordError> {
        let PasswordCost { memory_kib, iterations } = cost;
        let today = Cost { version: Version::V0x13, memory_kib, iterations, lanes: 1 };
        let params = today.params().map_err(|_| PasswordError::Cost { memory_kib, iterations })?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { today, params, memory, others: Vec::new() })
    }

    /// Sets the costs of stored hashes, as [`cost_of`] returns them. Unknown texts are ignored.
    pub fn set_costs_in_use(&mut self, costs: &[String]) {
        self.others.clear();
        costs.iter().filter_map(|text| Cost::parse(text)).for_each(|cost| self.add_cost(cost));
    }

    fn add_cost(&mut self, cost: Cost) {
        if cost == self.today || self.others.contains(&cost) {
            return;
        }
        if self.others.len() < PASSWORD_COSTS_MAX {
            self.others.push(cost);
        } else {
            tracing::warn!(%cost, "too many costs of password hashes are in use: the time of a login tells them apart");
        }
    }

    /// Returns the hash of a password with a new salt, as a PHC string.
    pub fn hash(&mut self, password: &Password) -> Result<String, PasswordError> {
        let salt = random::<SALT_BYTES>()?;
        let mut output = [0; OUTPUT_BYTES];
        Argon2::new(Algorithm::Argon2id, self.today.version, self.params.clone())
            .hash_password_into_with_memory(password.expose(), &salt, &mut output, &mut self.memory)
            .map_err(|error| PasswordError::Hash(error.to_string()))?;
        Ok(phc(&self.params, &salt, &output)?.to_string())
    }

    /// Checks a password against the stored hash of its account, or against none.
    ///
    /// Hashes once at each cost in use, so the time tells neither whether there is an account nor
    /// which cost its hash has. At the stored hash's cost it verifies; at today's, if that differs,
    /// it makes the hash to store instead.
    pub fn check(&mut self, stored: Option<&str>, password: &Password) -> Result<Checked, PasswordError> {
        let stored = stored.map(PasswordHash::new).transpose().map_err(|_| StoredHashError::NotPhc)?;
        let own = stored.as_ref().map(usable).transpose()?.map(|usable| usable.cost);
        if let Some(cost) = own {
            // New since the costs were read.
            self.add_cost(cost);
        }
        let mut renewed = None;
        if own != Some(self.today) {
            renewed = Some(self.hash(password)?);
        }
        for at in 0..self.others.len() {
            let cost = self.others[at];
            if own != Some(cost) {
                self.spend(cost, password)?;
            }
        }
        let is_right = match &stored {
            Some(stored) => verify(stored, password, &mut self.memory)?,
            None => false,
        };
        Ok(Checked { is_right, renewed: renewed.filter(|_| is_right) })
    }

    /// Takes the time of a hash of this cost.
    fn spend(&mut self, cost: Cost, password: &Password) -> Result<(), PasswordError> {
        let salt = random::<SALT_BYTES>()?;
        derive(cost, password, &salt, &mut [0; OUTPUT_BYTES], &mut self.memory)
    }

    /// Returns true if `password` matches the stored hash. Takes the time of its cost.
    pub fn verify(&mut self, stored: &str, password: &Password) -> Result<bool, PasswordError> {
        let stored = PasswordHash::new(stored).map_err(|_| StoredHashError::NotPhc)?;
        verify(&stored, password, &mut self.memory)
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

/// Cost, salt and output of a stored hash.
struct Usable<'h> {
    cost: Cost,
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
    let (memory_kib, iterations, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let cost = Cost { version, memory_kib, iterations, lanes };
    cost.params()?;
    Ok(Usable { cost, salt, hash })
}

/// Hashes into `output`. A cost above the configured one gets memory of its own.
fn derive(
    cost: Cost,
    password: &Password,
    salt: &[u8],
    output: &mut [u8],
    memory: &mut [Block],
) -> Result<(), PasswordError> {
    let params = cost.params()?;
    let mut larger = Vec::new();
    let blocks = params.block_count();
    let memory = if blocks > memory.len() {
        larger.resize(blocks, Block::new());
        &mut larger
    } else {
        memory
    };
    Argon2::new(Algorithm::Argon2id, cost.version, params)
        .hash_password_into_with_memory(password.expose(), salt, output, memory)
        .map_err(StoredHashError::Argon2)?;
    Ok(())
}

fn verify(stored: &PasswordHash, password: &Password, memory: &mut [Block]) -> Result<bool, PasswordError> {
    let Usable { cost, salt, hash } = usable(stored)?;
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..hash.len()).ok_or(StoredHashError::TooLong)?;
    derive(cost, password, salt, output, memory)?;
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
        assert!(passwords.verify(&stored, &of(decomposed)).unwrap());
    }

    #[test]
    fn only_the_right_password_matches() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let stored = passwords.hash(&of("correct horse 김")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert_ne!(stored, passwords.hash(&of("correct horse 김")).unwrap(), "the salt is random");
        let mut check = |stored: Option<&str>, password: &str, expected| {
            let wanted = Checked { is_right: expected, renewed: None };
            assert_eq!(passwords.check(stored, &of(password)).unwrap(), wanted, "{password}");
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
        assert!(Passwords::new(CHEAP).unwrap().verify(&stored, &of("password")).unwrap());
        let stored = Passwords::new(CHEAP).unwrap().hash(&of("password")).unwrap();
        assert!(Passwords::new(costly).unwrap().verify(&stored, &of("password")).unwrap());
    }

    #[test]
    fn the_reference_implementation_agrees() {
        // From the test vectors of the reference implementation (phc-winner-argon2, test.c).
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(Passwords::new(CHEAP).unwrap().verify(stored, &of("password")).unwrap());
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
            let error = passwords.verify(stored, &of("password")).unwrap_err();
            assert!(matches!(error, PasswordError::Stored(_)), "{stored}: {error}");
        }
        for (memory_kib, iterations) in [(0, 1), (7, 1), (64, 0), (ARGON2_KIB_MAX + 1, 1)] {
            let cost = PasswordCost { memory_kib, iterations };
            assert!(matches!(Passwords::new(cost), Err(PasswordError::Cost { .. })), "{cost:?}");
        }
    }

    #[test]
    fn a_right_password_is_hashed_anew_at_todays_cost() {
        let old = PasswordCost { memory_kib: 128, iterations: 2 };
        let stored = Passwords::new(old).unwrap().hash(&of("password")).unwrap();
        assert_eq!(cost_of(&stored), "v=19,m=128,t=2,p=1");
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let checked = passwords.check(Some(&stored), &of("password")).unwrap();
        assert!(checked.is_right);
        let renewed = checked.renewed.unwrap();
        assert_eq!(cost_of(&renewed), "v=19,m=64,t=1,p=1");
        let again = passwords.check(Some(&renewed), &of("password")).unwrap();
        assert_eq!(again, Checked { is_right: true, renewed: None });
        let nothing = Checked { is_right: false, renewed: None };
        assert_eq!(passwords.check(Some(&stored), &of("a wrong one")).unwrap(), nothing);
        assert_eq!(passwords.check(None, &of("password")).unwrap(), nothing);
    }

    #[test]
    fn costs_in_use_are_bounded_and_read_back() {
        let mut passwords = Passwords::new(CHEAP).unwrap();
        let text = |memory| format!("v=19,m={memory},t=1,p=1");
        passwords.set_costs_in_use(&[text(64), text(128), text(128), String::new(), "nonsense".into()]);
        assert_eq!(passwords.others.iter().map(Cost::to_string).collect::<Vec<_>>(), [text(128)]);
        let impossible = [
            "v=77,m=64,t=1,p=1",
            "v=19,m=4294967295,t=1,p=1",
            "v=19,m=64,t=101,p=1",
            "v=19,m=64,t=1,p=1,x=2",
        ];
        passwords.set_costs_in_use(&impossible.map(str::to_owned));
        assert!(passwords.others.is_empty(), "a cost above the limit is not paid");
        let many: Vec<String> = (100..200).map(text).collect();
        passwords.set_costs_in_use(&many);
        assert_eq!(passwords.others.len(), PASSWORD_COSTS_MAX);
        for unusable in ["", "$hash of bob$", "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR"]
        {
            assert_eq!(cost_of(unusable), "", "{unusable}");
        }
    }

    /// Ids could be told by timing once the cost had been changed, up or down.
    #[test]
    fn an_account_of_any_cost_takes_the_time_of_an_unknown_id() {
        let [low, high] = [256, 2048].map(|memory_kib| PasswordCost { memory_kib, iterations: 1 });
        for (old, today) in [(low, low), (low, high), (high, low)] {
            let old = Passwords::new(old).unwrap().hash(&of("the right one")).unwrap();
            let mut passwords = Passwords::new(today).unwrap();
            let new = passwords.hash(&of("the right one")).unwrap();
            passwords.set_costs_in_use(&[cost_of(&old), cost_of(&new)]);
            let checks = [
                (None, "a wrong one"),
                (Some(&*old), "a wrong one"),
                (Some(&*new), "a wrong one"),
                (Some(&*old), "the right one"),
            ];
            let mut times = checks.map(|_| Vec::new());
            for _ in 0..31 {
                for (times, (stored, password)) in times.iter_mut().zip(checks) {
                    let start = thread_cpu_seconds();
                    let checked = passwords.check(stored, &of(password)).unwrap();
                    times.push(thread_cpu_seconds() - start);
                    assert_eq!(checked.is_right, password == "the right one");
                }
            }
            let [unknown, others @ ..] = times.map(median);
            for other in others {
                let ratio = other / unknown;
                assert!((0.6..1.6).contains(&ratio), "{today:?}: ratio of the medians: {ratio}");
            }
        }
    }
}
