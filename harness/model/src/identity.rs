//! Identities of a run's clients: accounts, names and passwords of the run's own, or seeded
//! accounts.

use std::io;

use serde::{Deserialize, Serialize};
use throng_core::crypto::{ClusterKey, PublicKey, Ticket};
use throng_core::wire::packets::{IdText, Name, PasswordText, RequestedName, TicketBytes, WishedChannel};
use throng_core::wire::{SecretText, Text};

use crate::limits::CLIENT_BITS;

/// Set in every account number that a harness makes up; databases count up from 1.
const SYNTHETIC: u64 = 1 << 63;

/// The fewest digits of a seeded account's number.
const SEEDED_DIGITS: usize = 6;

/// Validity of a minted ticket in milliseconds. A ticket is minted right before its use.
const TICKET_LIFETIME_MS: u64 = 60_000;

/// Accounts made by `throng db seed`, each with a character of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeded {
    /// The prefix of the accounts' ids.
    pub prefix: String,
    /// The password of all accounts. It is serialized for other processes of the harness only.
    #[serde(with = "secret")]
    pub password: PasswordText,
}

mod secret {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use throng_core::wire::packets::PasswordText;

    pub(super) fn serialize<S: Serializer>(
        password: &PasswordText,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(password.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PasswordText, D::Error> {
        let text = String::deserialize(deserializer)?;
        PasswordText::new(text).map_err(|_| D::Error::custom("the password is too long"))
    }
}

impl Seeded {
    /// The id of a client's account, which is also its character's name. Accounts count from 1.
    pub fn id(&self, client: u32) -> String {
        format!("{}{:0SEEDED_DIGITS$}", self.stem(), client + 1)
    }

    fn stem(&self) -> String {
        format!("{}-", self.prefix)
    }
}

/// The clients of one run, as the servers see them.
#[derive(Debug, Clone)]
pub struct Identities {
    run: u32,
    seed: u64,
    seeded: Option<Seeded>,
    /// The prefix of all names; the client's number follows.
    stem: String,
}

impl Identities {
    /// The clients of `run`, a number unique to the run; `seed` determines their passwords.
    pub fn new(run: u32, seed: u64) -> Self {
        Self { run, seed, seeded: None, stem: format!("h{run:08x}n") }
    }

    /// The clients of `run` with the accounts of `seeded`, if there are any.
    #[must_use]
    pub fn with_accounts(self, seeded: Option<Seeded>) -> Self {
        let stem = seeded.as_ref().map_or(self.stem, Seeded::stem);
        Self { seeded, stem, ..self }
    }

    /// True if the clients' accounts and characters existed before the run.
    pub fn has_accounts(&self) -> bool {
        self.seeded.is_some()
    }

    /// The account of a client that enters with a minted ticket.
    pub fn account(&self, client: u32) -> u64 {
        SYNTHETIC | u64::from(self.run) << CLIENT_BITS | u64::from(client)
    }

    /// Mints a ticket for the chat server with the public key `chat_key`, valid for a minute from
    /// `now_ms` (milliseconds since 1970). Fails only if the system's random source does.
    pub fn ticket(
        &self,
        client: u32,
        cluster: &ClusterKey,
        chat_key: PublicKey,
        now_ms: u64,
    ) -> io::Result<TicketBytes> {
        let account = self.account(client);
        let name = Name::truncated(&self.text(client));
        let expires_ms = now_ms + TICKET_LIFETIME_MS;
        Ticket { account, claim: 0, character: account, name, chat_key, issued_ms: now_ms, expires_ms }
            .mint(cluster)
    }

    /// The id with which a client signs up or logs in.
    pub fn id(&self, client: u32) -> IdText {
        Text::truncated(&self.text(client))
    }

    /// The name of a client's character.
    pub fn name(&self, client: u32) -> RequestedName {
        Text::truncated(&self.text(client))
    }

    /// The name of a channel.
    pub fn channel(&self, channel: u32) -> WishedChannel {
        Text::truncated(&format!("h{:08x}c{channel}", self.run))
    }

    /// A client's password.
    pub fn password(&self, client: u32) -> PasswordText {
        if let Some(seeded) = &self.seeded {
            return seeded.password.clone();
        }
        let text = format!("{:016x}-{client}", self.seed ^ u64::from(self.run));
        SecretText::new(text).expect("16 digits and a number are below the limit")
    }

    /// Returns true if a chat user's name is that of one of the run's first `clients` clients, in
    /// any process. Called for each user of a list, so it does not allocate. The case of a seeded
    /// prefix is ignored, since a server may write it differently from the command line.
    pub fn is_client(&self, name: &str, clients: u32) -> bool {
        let Some((stem, digits)) = name.split_at_checked(self.stem.len()) else { return false };
        if !stem.eq_ignore_ascii_case(&self.stem) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return false;
        }
        let has_zeros = digits.starts_with('0');
        let Ok(number) = digits.parse::<u32>() else { return false };
        match &self.seeded {
            // Seeded accounts have at least six digits and count from 1.
            Some(_) => {
                (digits.len() == SEEDED_DIGITS || digits.len() > SEEDED_DIGITS && !has_zeros)
                    && (1..=clients).contains(&number)
            }
            None => (digits.len() == 1 || !has_zeros) && number < clients,
        }
    }

    fn text(&self, client: u32) -> String {
        match &self.seeded {
            Some(seeded) => seeded.id(client),
            None => format!("{}{client}", self.stem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLIENTS_MAX;
    use throng_core::limits::{ID_CHARS_MAX, NAME_CHARS_MAX, PASSWORD_CHARS_MIN};

    #[test]
    fn clients_of_all_runs_differ() {
        let (one, other) = (Identities::new(1, 5), Identities::new(2, 5));
        let accounts = [one.account(0), one.account(CLIENTS_MAX - 1), other.account(0), other.account(1)];
        assert!(accounts.windows(2).all(|pair| pair[0] < pair[1]), "{accounts:x?}");
        assert!(accounts.iter().all(|account| *account >= SYNTHETIC));
        assert_ne!(one.id(7), other.id(7));
        assert_ne!(one.password(7), other.password(7));
    }

    #[test]
    fn ids_names_and_passwords_are_within_the_limits() {
        let last = CLIENTS_MAX - 1;
        let identities = Identities::new(u32::MAX, u64::MAX);
        assert_eq!(&*identities.id(last), "hffffffffn999999");
        assert!(identities.id(last).len() <= ID_CHARS_MAX && identities.name(last).len() <= NAME_CHARS_MAX);
        assert!(identities.password(0).expose().len() >= PASSWORD_CHARS_MIN);
    }

    #[test]
    fn seeded_accounts_share_a_password_and_count_from_one() {
        let password = PasswordText::new("secret-secret").expect("short");
        let seeded = Seeded { prefix: "seed".into(), password: password.clone() };
        let identities = Identities::new(1, 5).with_accounts(Some(seeded));
        assert!(identities.has_accounts() && !Identities::new(1, 5).with_accounts(None).has_accounts());
        for (client, id) in [(0, "seed-000001"), (98, "seed-000099"), (CLIENTS_MAX - 1, "seed-1000000")] {
            assert_eq!((&*identities.id(client), &*identities.name(client)), (id, id));
            assert_eq!(identities.password(client), password);
        }
    }

    #[test]
    fn clients_of_the_run_are_recognized_by_name() {
        let check = |identities: &Identities, foreign: &[&str]| {
            for client in [0, 9, 10, 41] {
                assert!(identities.is_client(&identities.name(client), 42), "{}", &*identities.name(client));
            }
            assert!(!identities.is_client(&identities.name(42), 42) && !identities.is_client("", 42));
            for name in foreign {
                assert!(!identities.is_client(name, 42), "{name}");
            }
        };
        let identities = Identities::new(0x1a, 5);
        let foreign = [
            "h0000001an",
            "h0000001an01",
            "h0000001an+1",
            "h0000001an7x",
            "h0000001bn7",
            "h0000001an99999999999",
        ];
        check(&identities, &foreign);
        check(&identities, &["h0000001é7", "Ann"]);
        let password = PasswordText::new("secret-secret").expect("short");
        let seeded = Identities::new(1, 5).with_accounts(Some(Seeded { prefix: "seed".into(), password }));
        check(
            &seeded,
            &["seed-000000", "seed-7", "seed-0000007", "seed-00007x", "seeds-000007", "h00000001n7"],
        );
        assert!(seeded.is_client("Seed-000007", 42));
    }

    #[test]
    fn a_ticket_is_for_one_chat_server() {
        let cluster = ClusterKey::from_bytes([1; 32]);
        let ticket = Identities::new(3, 4).ticket(5, &cluster, [6; 32], 1000).expect("random bytes");
        let (_, opened) = Ticket::open(&cluster, &ticket, &[6; 32], 1000).expect("good");
        assert_eq!(
            (opened.account, opened.claim, &*opened.name),
            (SYNTHETIC | 3 << 20 | 5, 0, "h00000003n5")
        );
        assert!(Ticket::open(&cluster, &ticket, &[7; 32], 1000).is_err());
    }
}
