//! Records of many samples: a bounded history, and the judgment of the limits.

use serde::Serialize;

use super::follow::Sample;
use super::limit::Limit;

/// Most samples kept of each server. Beyond, neighboring samples are merged into one with the worst
/// figures of both.
pub const SAMPLES_KEPT: usize = 3_600;

/// The samples of one server, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    samples: Vec<Sample>,
    /// Samples merged into one, as a power of two.
    shift: u32,
    /// The merged samples since the last one in `samples`, and their number.
    pending: Option<(Sample, usize)>,
    capacity: usize,
}

impl History {
    /// An empty history of at most `capacity` samples, at least 2.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(2), ..Self::default() }
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: Sample) {
        let (sample, count) = match self.pending.take() {
            Some((before, count)) => (worse(&before, sample), count + 1),
            None => (sample, 1),
        };
        if count < 1 << self.shift {
            self.pending = Some((sample, count));
            return;
        }
        self.samples.push(sample);
        if self.samples.len() >= self.capacity {
            let mut samples = std::mem::take(&mut self.samples).into_iter();
            while let Some(first) = samples.next() {
                self.samples.push(match samples.next() {
                    Some(second) => worse(&first, second),
                    None => first,
                });
            }
            self.shift += 1;
        }
    }

    /// Returns the samples, including the last, unfinished one.
    pub fn into_samples(mut self) -> Vec<Sample> {
        self.samples.extend(self.pending.take().map(|(sample, _)| sample));
        self.samples
    }
}

/// Merges two neighboring samples: down if either is, the worse of each figure, and otherwise the
/// later values.
fn worse(before: &Sample, after: Sample) -> Sample {
    let most = |of: fn(&Sample) -> Option<f64>| match (of(before), of(&after)) {
        (Some(before), Some(after)) => Some(before.max(after)),
        (before, after) => before.or(after),
    };
    let (is_up, state) = match (before.is_up, after.is_up) {
        (true, _) => (after.is_up, after.state.clone()),
        (false, _) => (false, before.state.clone()),
    };
    Sample {
        is_up,
        state,
        cpu: most(|sample| sample.cpu),
        rss_bytes: most(|sample| sample.rss_bytes),
        files: most(|sample| sample.files),
        sockets: most(|sample| sample.sockets),
        sessions: most(|sample| sample.sessions),
        users: most(|sample| sample.users),
        content_queue: most(|sample| sample.content_queue),
        mailbox: most(|sample| sample.mailbox),
        db_queue: most(|sample| sample.db_queue),
        log_pool_bytes: most(|sample| sample.log_pool_bytes),
        packets_in_per_s: most(|sample| sample.packets_in_per_s),
        bytes_out_per_s: most(|sample| sample.bytes_out_per_s),
        links_up: match (before.links_up, after.links_up) {
            (Some(before), Some(after)) => Some(before.min(after)),
            (before, after) => before.or(after),
        },
        ..after
    }
}

/// Consecutive crossings of one limit by one server.
#[derive(Debug, Clone, Copy, Default)]
struct Streak {
    is_crossed: bool,
    length: u64,
}

/// The record of one limit.
#[derive(Debug)]
pub struct Judge {
    limit: Limit,
    servers: Vec<Streak>,
    measured: u64,
    crossed: u64,
    longest: u64,
    /// The worst figure: its badness, its text, and the server's name.
    worst: Option<(f64, String, String)>,
}

/// The result of one threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The threshold as given.
    pub threshold: String,
    /// The worst figure, and the number of crossings.
    pub found: String,
    /// Samples in which the figure was known, over all servers.
    #[serde(rename = "looks")]
    pub samples: u64,
    /// Samples that crossed the threshold.
    pub crossed: u64,
    /// Most consecutive crossings by one server.
    pub crossed_in_a_row: u64,
    /// True if the threshold held.
    pub held: bool,
}

impl Judge {
    /// A record without samples.
    pub fn new(limit: Limit) -> Self {
        Self { limit, servers: Vec::new(), measured: 0, crossed: 0, longest: 0, worst: None }
    }

    /// Measures a sample of the server with index `server`. Returns a message if the server starts
    /// or stops crossing the limit.
    pub fn observe(&mut self, server: usize, name: &str, sample: &Sample) -> Option<String> {
        let measured = self.limit.measure(sample)?;
        if self.servers.len() <= server {
            self.servers.resize(server + 1, Streak::default());
        }
        let streak = &mut self.servers[server];
        let was_crossed = std::mem::replace(&mut streak.is_crossed, measured.is_crossed);
        streak.length = if measured.is_crossed { streak.length + 1 } else { 0 };
        self.longest = self.longest.max(streak.length);
        self.measured += 1;
        self.crossed += u64::from(measured.is_crossed);
        if self.worst.as_ref().is_none_or(|(badness, ..)| measured.badness > *badness) {
            self.worst = Some((measured.badness, measured.shown.clone(), name.to_owned()));
        }
        let limit = &self.limit;
        match (was_crossed, measured.is_crossed) {
            (false, true) => Some(format!("WARNING {name}: {}, threshold {limit}", measured.shown)),
            (true, false) => Some(format!("{name}: {}, threshold {limit} holds again", measured.shown)),
            _ => None,
        }
    }

    /// True if any server crosses the limit now.
    pub fn is_crossed(&self) -> bool {
        self.servers.iter().any(|streak| streak.is_crossed)
    }

    /// The limit.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Judges the limit after `samples` rounds of samples: `patience` consecutive crossings break
    /// it, or all rounds if there were fewer. A limit that was never measured is broken.
    pub fn judge(&self, patience: u64, samples: u64) -> Judged {
        let needed = if self.limit.is_strict() { 1 } else { patience.min(samples).max(1) };
        let found = match &self.worst {
            None => "nothing measured".into(),
            Some((_, shown, name)) if self.crossed == 0 => format!("{shown} at worst ({name})"),
            Some((_, shown, name)) => format!(
                "{shown} at worst ({name}); crossed in {} of {} samples, {} in a row",
                self.crossed, self.measured, self.longest
            ),
        };
        Judged {
            threshold: self.limit.to_string(),
            found,
            samples: self.measured,
            crossed: self.crossed,
            crossed_in_a_row: self.longest,
            held: self.measured > 0 && self.longest < needed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: f64, cpu: f64) -> Sample {
        Sample { at_s, is_up: true, state: "ok".into(), cpu: Some(cpu), ..Sample::default() }
    }

    #[test]
    fn a_long_history_is_bounded_and_keeps_its_peaks() {
        let mut history = History::new(100);
        for second in 0..10_000_u32 {
            let mut sample = sample(second.into(), if second == 4_321 { 9.0 } else { 0.5 });
            sample.is_up = second != 7_777;
            history.add(sample);
        }
        let samples = history.into_samples();
        assert!((25..=100).contains(&samples.len()), "{}", samples.len());
        assert!(samples.iter().any(|sample| sample.cpu == Some(9.0)));
        assert_eq!(samples.iter().filter(|sample| !sample.is_up).count(), 1);
        assert!(
            samples.is_sorted_by(|a, b| a.at_s < b.at_s)
                && samples.last().is_some_and(|sample| sample.at_s > 9_998.5)
        );
    }

    #[test]
    fn a_short_history_is_unchanged() {
        let mut history = History::new(100);
        let samples: Vec<Sample> = (0..99_u32).map(|second| sample(second.into(), 0.1)).collect();
        for sample in &samples {
            history.add(sample.clone());
        }
        assert_eq!(history.into_samples(), samples);
    }

    fn judged(limit: &str, cpus: &[f64], patience: u64) -> (Judged, Vec<String>) {
        let mut judge = Judge::new(limit.parse().expect("valid"));
        let mut messages = Vec::new();
        for (second, cpu) in (0_u32..).zip(cpus) {
            messages.extend(judge.observe(1, "chat", &sample(second.into(), *cpu)));
            messages.extend(judge.observe(0, "login", &sample(second.into(), 0.0)));
        }
        (judge.judge(patience, cpus.len() as u64), messages)
    }

    #[test]
    fn consecutive_crossings_break_a_limit() {
        let check = |cpus: &[f64], held: bool, in_a_row: u64| {
            let (judged, _) = judged("cpu=80%", cpus, 3);
            assert_eq!((judged.held, judged.crossed_in_a_row), (held, in_a_row), "{cpus:?}");
        };
        check(&[0.9, 0.9, 0.1, 0.9, 0.9], true, 2);
        check(&[0.1, 0.9, 0.9, 0.9], false, 3);
        check(&[0.1, 0.1, 0.1], true, 0);
        // All samples of a run shorter than the patience.
        check(&[0.9, 0.9], false, 2);
    }

    #[test]
    fn a_crossing_is_reported_once_and_so_is_its_end() {
        let (judged, messages) = judged("cpu=80%", &[0.1, 0.9, 0.95, 0.5], 3);
        assert_eq!(
            messages,
            ["WARNING chat: 90%, threshold cpu=80%", "chat: 50%, threshold cpu=80% holds again"]
        );
        assert_eq!(judged.found, "95% at worst (chat); crossed in 2 of 8 samples, 2 in a row");
        assert_eq!((judged.samples, judged.crossed), (8, 2));
    }

    #[test]
    fn a_limit_that_was_never_measured_is_broken() {
        let (judged, messages) = judged("queue=5", &[0.1, 0.1], 3);
        assert_eq!((judged.held, judged.found.as_str(), messages.len()), (false, "nothing measured", 0));
    }
}
