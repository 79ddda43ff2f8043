//! Who the clients of a run are: accounts, names and passwords that no other run has, or accounts
//! that were made before.

use std::io;

use serde::{Deserialize, Serialize};
use throng_core::crypto::{ClusterKey, PublicKey, Ticket};
use throng_core::wire::packets::{IdText, Name, PasswordText, TicketBytes, WishedChannel, WishedName};
use throng_core::wire::{SecretText, Text};

use crate::cli::CLIENTS_MAX;

/// Set in every account number that a harness made up: databases count up from 1.
const SYNTHETIC: u64 = 1 << 63;

/// Bits of an account number that hold the client's.
const CLIENT_BITS: u32 = 20;

/// How long a minted ticket is good, in milliseconds. It is made when it is needed.
const TICKET_LIFETIME_MS: u64 = 60_000;

const _: () = assert!(CLIENTS_MAX <= 1 << CLIENT_BITS);

/// Accounts that `throng db seed` has made, each with a character of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeded {
    /// What their ids begin with.
    pub prefix: String,
    /// The password of all of them. It is written down for other processes of the harness only.
    #[serde(with = "secret")]
    pub password: PasswordText,
}

/// How a password is written down for another process.
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
        PasswordText::new(text).map_err(|_| D::Error::custom("a password is longer than any may be"))
    }
}

impl Seeded {
    /// The id of the account that a client uses, and its character's name. Accounts count from 1.
    pub fn id(&self, client: u32) -> String {
        format!("{}-{:06}", self.prefix, client + 1)
    }
}

/// The clients of one run, as the servers know them.
#[derive(Debug, Clone)]
pub struct Cast {
    run: u32,
    seed: u64,
    seeded: Option<Seeded>,
}

impl Cast {
    /// The clients of `run`, a number that no other run has; `seed` decides their passwords.
    pub fn new(run: u32, seed: u64) -> Self {
        Self { run, seed, seeded: None }
    }

    /// The clients of `run` with the accounts of `seeded`, if there are any.
    #[must_use]
    pub fn with_accounts(self, seeded: Option<Seeded>) -> Self {
        Self { seeded, ..self }
    }

    /// Whether the clients' accounts, and characters, were there before the run.
    pub fn has_accounts(&self) -> bool {
        self.seeded.is_some()
    }

    /// The account of a client that comes with a minted ticket.
    pub fn account(&self, client: u32) -> u64 {
        SYNTHETIC | u64::from(self.run) << CLIENT_BITS | u64::from(client)
    }

    /// A ticket for the chat server with the public key `chat_key`, good from `now_ms` (since
    /// 1970) for a minute. Fails only when the system has no randomness to give.
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

    /// The id that a client signs up, or only logs in, with.
    pub fn id(&self, client: u32) -> IdText {
        Text::truncated(&self.text(client))
    }

    /// The name of a client's character.
    pub fn name(&self, client: u32) -> WishedName {
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
        SecretText::new(text).expect("16 digits and a number are shorter than any password may be")
    }

    fn text(&self, client: u32) -> String {
        match &self.seeded {
            Some(seeded) => seeded.id(client),
            None => format!("h{:08x}n{client}", self.run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throng_core::limits::{ID_CHARS_MAX, NAME_CHARS_MAX, PASSWORD_CHARS_MIN};

    #[test]
    fn nobody_is_two_clients() {
        let (one, other) = (Cast::new(1, 5), Cast::new(2, 5));
        let accounts = [one.account(0), one.account(CLIENTS_MAX - 1), other.account(0), other.account(1)];
        assert!(accounts.windows(2).all(|pair| pair[0] < pair[1]), "{accounts:x?}");
        assert!(accounts.iter().all(|account| *account >= SYNTHETIC));
        assert_ne!(one.id(7), other.id(7));
        assert_ne!(one.password(7), other.password(7));
    }

    #[test]
    fn ids_names_and_passwords_are_allowed() {
        let last = CLIENTS_MAX - 1;
        let cast = Cast::new(u32::MAX, u64::MAX);
        assert_eq!(&*cast.id(last), "hffffffffn999999");
        assert!(cast.id(last).len() <= ID_CHARS_MAX && cast.name(last).len() <= NAME_CHARS_MAX);
        assert!(cast.password(0).expose().len() >= PASSWORD_CHARS_MIN);
    }

    #[test]
    fn accounts_that_exist_have_one_password_and_count_from_one() {
        let password = PasswordText::new("secret-secret").expect("short");
        let seeded = Seeded { prefix: "seed".into(), password: password.clone() };
        let cast = Cast::new(1, 5).with_accounts(Some(seeded));
        assert!(cast.has_accounts() && !Cast::new(1, 5).with_accounts(None).has_accounts());
        for (client, id) in [(0, "seed-000001"), (98, "seed-000099"), (CLIENTS_MAX - 1, "seed-1000000")] {
            assert_eq!((&*cast.id(client), &*cast.name(client)), (id, id));
            assert_eq!(cast.password(client), password);
        }
    }

    #[test]
    fn a_ticket_is_for_one_chat_server() {
        let cluster = ClusterKey::from_bytes([1; 32]);
        let ticket = Cast::new(3, 4).ticket(5, &cluster, [6; 32], 1000).expect("random bytes");
        let (_, opened) = Ticket::open(&cluster, &ticket, &[6; 32], 1000).expect("good");
        assert_eq!(
            (opened.account, opened.claim, &*opened.name),
            (SYNTHETIC | 3 << 20 | 5, 0, "h00000003n5")
        );
        assert!(Ticket::open(&cluster, &ticket, &[7; 32], 1000).is_err());
    }
}
