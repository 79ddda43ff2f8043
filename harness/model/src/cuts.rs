//! Cuts: the connections that clients lose while messages flow, drawn by the seed before the run.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, nanos};
use crate::split_mix::mixed;

/// Hundredths of a percent in the whole.
const WHOLE: u32 = 10_000;

/// Mixed into the seed, so that the draws differ from those of `--churn` and `--moves`.
const SALT: u64 = 0x6375_7473;

/// The clients that are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutPattern {
    /// A share of them each second, in hundredths of a percent, from 1.
    PerSecond(u32),
    /// All of them at once, in the middle of the run.
    All,
}

impl FromStr for CutPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let percent = text.strip_suffix("/s").unwrap_or(text).trim().strip_suffix('%');
        match percent.and_then(|percent| hundredths(percent.trim())) {
            Some(hundredths) if (1..=WHOLE).contains(&hundredths) => Ok(Self::PerSecond(hundredths)),
            _ => Err(format!(
                "`{text}` is no share of the clients: write 0.01%/s to 100%/s, or `all` for all at once"
            )),
        }
    }
}

/// Reads a number with at most two decimals, as hundredths.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = if part.len() > 2 { None } else { format!("{part:0<2}").parse::<u32>().ok() };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part?)
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutKind {
    /// The client resets it.
    Reset,
    /// The client neither reads nor writes any more, and the server is not told.
    Silence,
}

/// One cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// From the start of the counted messages.
    pub after: Nanos,
    /// The client.
    pub client: u32,
    /// The end of its connection.
    pub kind: CutKind,
}

/// The cuts of a run, in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    pattern: CutPattern,
    clients: u32,
    /// The time in which connections are cut.
    duration: Nanos,
    seed: u64,
}

impl Cuts {
    /// The cuts of `clients` clients in `duration`.
    pub fn new(pattern: CutPattern, clients: u32, duration: Duration, seed: u64) -> Self {
        Self { pattern, clients, duration: nanos(duration), seed: seed ^ SALT }
    }

    /// Returns true if all clients are cut at once.
    pub fn are_at_once(&self) -> bool {
        self.pattern == CutPattern::All
    }

    /// Returns cut number `index`; none after the last.
    pub fn get(&self, index: u32) -> Option<Cut> {
        let drawn = mixed(self.seed ^ u64::from(index));
        // The bits that draw the client draw nothing else.
        let kind = if drawn >> 32 & 1 == 0 { CutKind::Reset } else { CutKind::Silence };
        match self.pattern {
            CutPattern::All => {
                let is_client = index < self.clients;
                is_client.then_some(Cut { after: self.duration / 2, client: index, kind })
            }
            CutPattern::PerSecond(hundredths) => {
                let per_second = u64::from(hundredths) * u64::from(self.clients);
                let interval = (1_000_000_000 * u64::from(WHOLE) / per_second.max(1)).max(1);
                // Each has an interval of its own, and any time within it.
                let within = mixed(drawn) % interval;
                let after = interval.saturating_mul(u64::from(index)).saturating_add(within);
                let client = drawn as u32 % self.clients.max(1);
                (after < self.duration).then_some(Cut { after, client, kind })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &str, clients: u32, seconds: u64, seed: u64) -> Vec<Cut> {
        let cuts = Cuts::new(pattern.parse().unwrap(), clients, Duration::from_secs(seconds), seed);
        (0..).map_while(|index| cuts.get(index)).collect()
    }

    #[test]
    fn a_share_of_the_clients_is_cut_each_second() {
        let cuts = all("2%/s", 5_000, 60, 7);
        assert!((5_999..=6_000).contains(&cuts.len()), "{}", cuts.len());
        assert!(cuts.is_sorted_by_key(|cut| cut.after) && cuts.iter().all(|cut| cut.client < 5_000));
        let mut clients: Vec<_> = cuts.iter().map(|cut| cut.client).collect();
        clients.sort_unstable();
        clients.dedup();
        // 5,000 x (1 - e^-1.2).
        assert!((3_350..3_650).contains(&clients.len()), "{}", clients.len());
        let silent = cuts.iter().filter(|cut| cut.kind == CutKind::Silence).count();
        assert!((2_800..3_200).contains(&silent), "{silent}");
        let whole_ms = cuts.iter().filter(|cut| cut.after % 1_000_000 == 0).count();
        assert!(whole_ms < 10, "at any time: {whole_ms}");
        assert_eq!(cuts, all("2%/s", 5_000, 60, 7));
        assert_ne!(cuts, all("2%/s", 5_000, 60, 8));
        // One client in a hundred seconds.
        assert!(all("0.01%/s", 100, 200, 1).len() <= 2);
    }

    #[test]
    fn all_are_cut_in_the_middle() {
        let cuts = all("all", 9_000, 10, 7);
        assert_eq!(cuts.len(), 9_000);
        assert!(cuts.iter().zip(0..).all(|(cut, at)| (cut.client, cut.after) == (at, 5_000_000_000)));
    }

    #[test]
    fn patterns_are_shares_or_all() {
        for (text, pattern) in [
            ("2%/s", CutPattern::PerSecond(200)),
            ("0.01%/s", CutPattern::PerSecond(1)),
            ("2.5%/s", CutPattern::PerSecond(250)),
            ("100 %", CutPattern::PerSecond(10_000)),
            ("all", CutPattern::All),
        ] {
            assert_eq!(text.parse(), Ok(pattern), "{text}");
        }
        for text in ["2/s", "0%/s", "101%/s", "-1%/s", "x%/s", "NaN%/s", "0.001%/s", "2.-5%/s", ""] {
            assert!(text.parse::<CutPattern>().is_err_and(|error| error.contains("0.01%/s")), "{text}");
        }
    }
}
