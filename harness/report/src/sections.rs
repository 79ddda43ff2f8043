//! The facts of a report in titled sections, from which the summary and the page are rendered.

use std::collections::BTreeMap;

use throng_harness_model::breakdown::SAMPLE;
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::{BotsReport, Churned, Moved, Reactions, Resumed, Spoken};
use throng_harness_model::scheduling::Waited;
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

use crate::{Checked, Report, Verdict};

/// CPU seconds below which no CPU time per delivery is shown: the kernel counts in steps of 10 ms.
pub(super) const CPU_MIN_S: f64 = 0.1;

/// Column heads of [`Report::latency_rows`].
pub(super) const LATENCY_HEADS: [&str; 8] = ["", "count", "mean", "p50", "p90", "p99", "p99.9", "max"];

/// Facts about one subject.
#[derive(Debug)]
pub(super) struct Section {
    /// The subject, in lower case and at most 10 characters long.
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// One fact. Value and label also read as a phrase: "3 missing", "2 of 2 connected".
#[derive(Debug)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) value: Value,
    /// Remark on the value; empty without one.
    pub(super) note: String,
    pub(super) place: Place,
    /// True if the summary leaves the row out while its value is 0.
    pub(super) is_rare: bool,
    /// True for a value that a good run does not have.
    pub(super) is_bad: bool,
}

/// A value of a [`Row`].
#[derive(Debug)]
pub(super) enum Value {
    Count(u64),
    /// The first of the second.
    Share(u64, u64),
    Text(String),
}

/// Prominence of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A tile at the top of the page.
    Headline,
    Plain,
    /// A line of its own, also in the summary.
    Item,
}

impl Row {
    fn new(label: impl Into<String>, value: Value) -> Self {
        let (label, note) = (label.into(), String::new());
        Self { label, value, note, place: Place::Plain, is_rare: false, is_bad: false }
    }

    fn count(label: impl Into<String>, count: u64) -> Self {
        Self::new(label, Value::Count(count))
    }

    fn share(label: &str, part: u64, whole: u64) -> Self {
        Self::new(label, Value::Share(part, whole))
    }

    fn text(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(label, Value::Text(value.into()))
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn headline(self) -> Self {
        Self { place: Place::Headline, ..self }
    }

    fn item(self) -> Self {
        Self { place: Place::Item, ..self }
    }

    fn rare(self) -> Self {
        Self { is_rare: true, ..self }
    }

    fn bad_if(self, is_bad: bool) -> Self {
        Self { is_bad, ..self }
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self.value, Value::Count(0))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => f.pad(&format_count(*count)),
            Self::Share(part, whole) => {
                f.pad(&format!("{} of {}", format_count(*part), format_count(*whole)))
            }
            Self::Text(text) => f.pad(text),
        }
    }
}

/// A verdict in a word, and its meaning in a sentence without capital and full stop.
pub fn verdict_text(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("PASS", "all thresholds held"),
        Verdict::Fail => ("FAIL", "failures are marked BROKEN"),
        Verdict::Invalid => ("INVALID", "harness or machine were not good enough to judge it"),
        Verdict::Interrupted => ("INTERRUPTED", "the results end at the interruption"),
    }
}

impl Report {
    /// The verdict and the validity of the latencies in some words, and their meaning in a sentence
    /// without capital and full stop.
    pub fn headline(&self) -> (&'static str, &'static str) {
        match (self.verdict, self.valid) {
            (Verdict::Pass, false) => {
                ("PASS, latencies INVALID", "all thresholds held, by latencies that are no evidence")
            }
            (Verdict::Fail, false) => ("FAIL, latencies INVALID", "failures are marked BROKEN"),
            (verdict, _) => verdict_text(verdict),
        }
    }
}

/// A time in microseconds.
pub fn micros(micros: f64) -> String {
    format_nanos(micros * 1e3)
}

fn seconds(seconds: f64) -> String {
    format_nanos(seconds * 1e9)
}

impl Report {
    /// All facts but latencies, thresholds and steps. A section that does not apply is left out.
    pub(super) fn sections(&self) -> Vec<Section> {
        let (sent_any, impaired) = (self.sent > 0, &self.impaired);
        let all = [
            (true, "clients", self.client_rows()),
            (self.reconnects.asked > 0, "reconnects", self.reconnect_rows()),
            (self.resume.cuts > 0, "cuts", self.cut_rows()),
            (true, "logins", self.login_rows()),
            (!sent_any, "entries", self.entry_rows()),
            (sent_any, "messages", self.message_rows()),
            (sent_any, "deliveries", self.delivery_rows()),
            (sent_any, "faults", self.fault_rows()),
            (self.gaps.told > 0, "gaps", self.gap_rows()),
            (impaired.deaf + impaired.slow > 0, "impaired", self.impaired_rows()),
            (self.lists.kept > 0, "user lists", self.list_rows()),
            (self.churn.joins + self.churn.leaves > 0, "channels", self.channel_rows()),
            (self.moves.made > 0, "moves", self.move_rows()),
            (true, "bots", self.personality_rows()),
            (true, "topics", self.share_rows(|bots| &bots.topics)),
            (true, "languages", self.share_rows(|bots| &bots.languages)),
            (true, "answers", self.answer_rows()),
            (true, "fairness", self.fairness_rows()),
            (true, "server", self.server_rows()),
            (true, "harness", self.harness_rows()),
        ];
        let all = all.into_iter().filter(|(applies, _, rows)| *applies && !rows.is_empty());
        all.map(|(_, title, rows)| Section { title, rows }).collect()
    }

    fn client_rows(&self) -> Vec<Row> {
        let (clients, requested) = (&self.clients, self.entries_requested());
        let rounds = if self.rounds > 1 { format!("{} rounds", self.rounds) } else { String::new() };
        let connected = Row::share("connected", clients.connected, requested)
            .note(rounds)
            .headline()
            .bad_if(clients.connected < requested || clients.disconnected > 0);
        let counts = [
            Row::count("refused", clients.refused),
            Row::count("failed", clients.failed),
            Row::count("disconnected", clients.disconnected),
        ];
        let reasons = clients.reasons.iter().map(|(reason, count)| Row::count(reason, *count).item());
        let retries = clients.retries.iter();
        let retries = retries.map(|(reason, count)| Row::count(format!("retried: {reason}"), *count).item());
        let queue = [
            ("waited in the queue at the door", clients.queued),
            ("largest position in it", clients.queue_position_max),
            ("positions that rose", clients.queue_position_rises),
        ];
        let queue = queue.into_iter().filter(|(_, count)| *count > 0);
        let queue = queue.map(|(name, count)| Row::count(name, count).item());
        [connected].into_iter().chain(counts).chain(reasons).chain(retries).chain(queue).collect()
    }

    fn reconnect_rows(&self) -> Vec<Row> {
        let reconnects = &self.reconnects;
        let back = Row::share("back in", reconnects.back, reconnects.asked);
        let storm = reconnects.storm_s.map(|time| Row::text("until all were back", seconds(time)));
        [back].into_iter().chain(storm).collect()
    }

    fn cut_rows(&self) -> Vec<Row> {
        let Resumed { cuts, resumed, refused, gaps, false_notices, back_us, last_back_us } = self.resume;
        let back = format!("p50 {}, p99 {}", micros(back_us.p50), micros(back_us.p99));
        let last = last_back_us.map(|time| Row::text("until all were back", micros(time)));
        let rows = [
            Row::share("resumed", resumed, cuts).note(back).bad_if(resumed < cuts),
            Row::count("refused", refused).bad_if(refused > 0),
            Row::count("messages not kept", gaps).bad_if(gaps > 0),
            Row::count("named in notices", false_notices).bad_if(false_notices > 0),
        ];
        rows.into_iter().chain(last).collect()
    }

    fn login_rows(&self) -> Vec<Row> {
        let row = |rate| Row::text("achieved", format!("{rate:.1}/s")).note("first attempt to last entry");
        self.rates.logins_per_s.map(row).map(Row::headline).into_iter().collect()
    }

    fn entry_rows(&self) -> Vec<Row> {
        let planned = match self.rates.offered_per_s {
            offered if offered > 0.0 => format!("{offered:.1}/s planned"),
            _ => "no rate planned".into(),
        };
        let achieved = format!("{:.1}/s", self.rates.achieved_per_s);
        vec![Row::text("achieved", achieved).note(planned).headline()]
    }

    fn message_rows(&self) -> Vec<Row> {
        let rates = &self.rates;
        let note = format!("{:.1}/s of {:.1}/s offered", rates.achieved_per_s, rates.offered_per_s);
        vec![
            Row::count("sent", self.sent).note(note).headline(),
            Row::count("received by no client", self.deliveries.unheard_messages).rare(),
            Row::count("numbered inconsistently", self.deliveries.inconsistent).rare(),
        ]
    }

    fn delivery_rows(&self) -> Vec<Row> {
        let made = &self.deliveries;
        let faulty = made.missing + made.duplicated + made.reordered + made.leaked + made.corrupted;
        let rate = format!("{}/s", format_rate(self.rates.deliveries_per_s));
        vec![
            Row::share("received", made.received, made.expected).note(rate).headline(),
            Row::count("faulty", faulty).headline().bad_if(faulty > 0),
            Row::count("undecidable", made.indeterminate).note("recipient entering or leaving").rare(),
            Row::count("from outside the run", made.foreign).rare(),
        ]
    }

    fn fault_rows(&self) -> Vec<Row> {
        let made = &self.deliveries;
        let counts = [
            Row::count("missing", made.missing),
            Row::count("duplicated", made.duplicated),
            Row::count("reordered", made.reordered),
            Row::count("leaked", made.leaked),
            Row::count("corrupted", made.corrupted),
        ];
        let examples = made.missing_examples.iter().map(|pair| {
            Row::text(format!("missed message {}", pair.message), format!("client {}", pair.client)).item()
        });
        counts.into_iter().chain(examples).collect()
    }

    fn gap_rows(&self) -> Vec<Row> {
        let gaps = &self.gaps;
        let times = if gaps.told == 1 { "time" } else { "times" };
        vec![
            Row::count("announced as missed", gaps.messages)
                .note(format!("told {} {times}", format_count(gaps.told))),
            Row::count("at clients reading at full speed", gaps.of_readers).bad_if(gaps.of_readers > 0),
        ]
    }

    fn impaired_rows(&self) -> Vec<Row> {
        let impaired = &self.impaired;
        let counts = [
            Row::count("not reading", impaired.deaf),
            Row::count("reading slowly", impaired.slow),
            Row::count("closed", impaired.closed),
            Row::count("deliveries behind", self.deliveries.behind),
        ];
        let reasons = impaired.reasons.iter().map(|(reason, count)| Row::count(reason, *count).item());
        counts.into_iter().chain(reasons).collect()
    }

    fn list_rows(&self) -> Vec<Row> {
        let lists = &self.lists;
        let after = lists.exact_s.map_or("never all".into(), |time| format!("after {}", seconds(time)));
        let mismatches = lists.head_count_mismatches;
        vec![
            Row::text("until all entered", seconds(lists.entered_s)),
            Row::text("until the last page", seconds(lists.complete_s)),
            Row::share("exact", lists.exact, lists.kept).note(after).bad_if(lists.exact_s.is_none()),
            Row::count("notices", lists.notices),
            Row::count("incomplete notices", lists.incomplete),
            Row::count("resyncs", lists.resyncs),
            Row::count("head-count mismatches", mismatches).bad_if(mismatches > 0),
        ]
    }

    fn channel_rows(&self) -> Vec<Row> {
        let Churned { joins, leaves, skipped } = self.churn;
        vec![
            Row::count("joins", joins),
            Row::count("leaves", leaves),
            Row::count("skipped turns", skipped).note("awaiting an answer"),
        ]
    }

    fn move_rows(&self) -> Vec<Row> {
        let Moved { made, skipped } = self.moves;
        vec![
            Row::count("moves", made).note("to a neighboring sector"),
            Row::count("skipped turns", skipped).note("awaiting an answer"),
        ]
    }

    /// Messages by the personality of the bot that sent them.
    fn personality_rows(&self) -> Vec<Row> {
        let personalities = self.bots.iter().flat_map(|bots| &bots.personalities);
        let row = |(name, spoken): (&String, &Spoken)| {
            let [bots, answers] = [spoken.bots, spoken.reactions].map(format_count);
            Row::count(name.replace('_', " "), spoken.messages)
                .note(format!("bots: {bots}, answers: {answers}"))
        };
        personalities.map(row).collect()
    }

    /// Counts that are not 0, each with its share of the sum.
    fn share_rows(&self, counts: fn(&BotsReport) -> &BTreeMap<String, u64>) -> Vec<Row> {
        let counts = self.bots.iter().flat_map(counts).filter(|(_, count)| **count > 0);
        let sum: u64 = counts.clone().map(|(_, count)| count).sum();
        let row = |(name, count): (&String, &u64)| {
            let share = *count as f64 / sum as f64 * 100.0;
            Row::count(name.replace('_', " "), *count).note(format!("{share:.1}%"))
        };
        counts.map(row).collect()
    }

    fn answer_rows(&self) -> Vec<Row> {
        let Some(bots) = &self.bots else { return Vec::new() };
        let Reactions { sent, unprovoked } = bots.reactions;
        vec![
            Row::count("sent", sent),
            Row::count("not sent", unprovoked).note("message to answer not received in time"),
        ]
    }

    fn fairness_rows(&self) -> Vec<Row> {
        let Some(fairness) = &self.fairness else { return Vec::new() };
        let (slowest, groups) = (&fairness.slowest, fairness.by_entry.len());
        let mut rows = vec![
            Row::text("Jain's index", format!("{:.3}", fairness.jain)).note("1 if all are served alike"),
            Row::text("p5 of client means", micros(fairness.p5_us))
                .note(format!("{} clients", format_count(fairness.clients))),
            Row::text("p50 of client means", micros(fairness.p50_us)),
            Row::text("p95 of client means", micros(fairness.p95_us)),
            Row::text("longest client mean", micros(slowest.mean_us))
                .note(format!("client {}", slowest.client)),
        ];
        if groups > 1 {
            let slowest = fairness.slowest_by_entry();
            rows.push(
                Row::text("slowest over fastest entry group", format!("x{:.2}", fairness.by_entry_ratio))
                    .note(format!("group {slowest} of {groups}")),
            );
        }
        rows.extend(fairness.by_shard.iter().map(|shard| {
            let label = format!("mean on server event loop {}", shard.shard);
            let clients = format!("{} clients", format_count(shard.group.clients));
            Row::text(label, micros(shard.group.mean_us)).note(clients).item()
        }));
        rows
    }

    fn server_rows(&self) -> Vec<Row> {
        let Some(server) = &self.server else { return Vec::new() };
        let [cpu, memory, peak] = usage_rows(server, self.measured_s, self.shown_cpu_per_delivery());
        let gone = (!server.alive).then(|| Row::text("before the end", "GONE").bad_if(true));
        let cpu = cpu.headline().bad_if(!server.alive);
        let withheld = self.scheduling.as_ref().and_then(|found| found.server.as_ref()).map(withheld_row);
        [cpu, memory.headline(), peak].into_iter().chain(withheld).chain(gone).collect()
    }

    fn harness_rows(&self) -> Vec<Row> {
        let Some(harness) = &self.harness else { return Vec::new() };
        let load = format!("{:.0}% of its threads", self.harness_load * 100.0);
        let [cpu, memory, peak] = usage_rows(harness, self.measured_s, Some(load));
        // 0 in reports of versions that did not measure it.
        let each = self.harness_memory.per_client_bytes;
        let each = (each > 0.0).then(|| Row::text("per client", format!("{} bytes", format_rate(each))));
        let withheld = self.scheduling.as_ref().map(|found| withheld_row(&found.harness));
        [cpu, memory, peak].into_iter().chain(each).chain(withheld).collect()
    }

    /// The server's CPU time per delivery; none below [`CPU_MIN_S`].
    fn shown_cpu_per_delivery(&self) -> Option<String> {
        let is_enough = self.server.is_some_and(|server| server.cpu_s >= CPU_MIN_S);
        let each = self.server_cpu_us_per_delivery.filter(|_| is_enough);
        each.map(|micros| format!("{micros:.2} us per delivery"))
    }

    /// Every latency that was measured, with its name. A part of the row above is indented.
    fn measured_latencies(&self) -> impl Iterator<Item = (&str, &LatencyUs)> {
        let whole = [("latency", &self.latency_us), ("  uncorrected", &self.latency_uncorrected_us)];
        let others = [
            ("first recipient", &self.first_recipient_us),
            ("last recipient", &self.last_recipient_us),
            ("  skew", &self.recipient_skew_us),
            ("sender's delay", &self.sender_delay_us),
            ("read lag", &self.read_lag_us),
            ("back", &self.resume.back_us),
        ];
        let phases = self.phases_us.iter().map(|(name, latency)| (name.as_str(), latency));
        let rows = whole.into_iter().chain(self.breakdown_us.parts()).chain(others);
        rows.chain(phases).filter(|(_, latency)| latency.count > 0)
    }

    /// Latencies as a table under [`LATENCY_HEADS`].
    pub(super) fn latency_rows(&self) -> Vec<Vec<String>> {
        let row = |(name, l): (&str, &LatencyUs)| {
            let times = [l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(micros);
            [name.replace('_', " "), format_count(l.count)].into_iter().chain(times).collect()
        };
        self.measured_latencies().map(row).collect()
    }

    /// Definitions of the latencies and the precision of their breakdown, in sentences.
    pub(super) fn latency_notes(&self) -> Vec<String> {
        let definitions = (self.latency_us.count > 0).then(|| {
            "Latency: from the scheduled send time of a message to its arrival. Uncorrected: from the actual send time. \
             First recipient, last recipient and skew: one value per message."
                .to_owned()
        });
        let clock = self.server_clock.as_ref().map(|clock| {
            format!(
                "Network in, queue, processing, fan-out and network out: of one delivery in {SAMPLE}, chosen at random, \
                 from the actual send time. Network out includes the wait in the sweep over all recipients. \
                 The server's clock is known to {} from {} pings.",
                micros(clock.error_us as f64),
                format_count(clock.pings)
            )
        });
        definitions.into_iter().chain(clock).collect()
    }

    /// The changes of the rate during the run.
    pub(super) fn shown_rate_changes(&self) -> String {
        let changes = self.rate_changes.iter();
        let changes: Vec<_> = changes
            .map(|change| format!("{:.1}/s from {}", 1e6 / change.interval_us, seconds(change.at_s)))
            .collect();
        format!("the rate was CHANGED by hand: {}", changes.join(", "))
    }

    /// A warning that the rate was not the planned one throughout.
    pub(super) fn rate_change_warning(&self) -> Option<String> {
        let is_changed = !self.rate_changes.is_empty();
        is_changed.then(|| format!("This is not the planned run: {}.", self.shown_rate_changes()))
    }

    /// The meaning of INVALID for this report.
    pub(super) fn invalid_text(&self) -> &'static str {
        if self.require_valid {
            "these latencies are no evidence about the server, and --require-valid is set"
        } else {
            "these latencies are no evidence about the server (deliveries are exact all the same)"
        }
    }

    /// Thresholds that the run could have broken, and those that it has broken first: those of
    /// deliveries only if any message was sent, those of user lists only if any list was kept, and
    /// those of cuts only if there were any.
    pub(super) fn applicable_thresholds(&self) -> impl Iterator<Item = &Checked> {
        let is_silent = self.sent == 0 && self.deliveries.expected == 0;
        let applicable = move |held: bool| {
            self.thresholds
                .iter()
                .filter(move |checked| checked.held == held)
                .filter(move |checked| !(is_silent && checked.held && checked.is_about_deliveries()))
                .filter(|checked| !(self.lists.kept == 0 && checked.held && checked.is_about_lists()))
                .filter(|checked| !(self.resume.cuts == 0 && checked.held && checked.is_about_cuts()))
        };
        applicable(false).chain(applicable(true))
    }
}

/// The share of the time that others withheld a core from the thread that waited the most.
fn withheld_row(waited: &Waited) -> Row {
    let share = format!("{:.1}%", waited.withheld * 100.0);
    Row::text("of the time without a core that others had", share).note(format!("thread {}", waited.thread))
}

/// CPU time with a further `note`, memory and peak memory of a process. The share of a core is
/// unknown if nothing was measured.
fn usage_rows(usage: &Usage, measured_s: f64, note: Option<String>) -> [Row; 3] {
    let time = format!("{:.2} s", usage.cpu_s);
    let cpu = if measured_s > 0.0 {
        let share = format!("{:.0}%", usage.cpu_s / measured_s * 100.0);
        let notes: Vec<_> = [time].into_iter().chain(note).collect();
        Row::text("CPU of one core", share).note(notes.join(", "))
    } else {
        Row::text("CPU time", time).note(note.unwrap_or_default())
    };
    [
        cpu,
        Row::text("memory", format_bytes(usage.rss_bytes))
            .note(format!("{} at the start", format_bytes(usage.rss_start_bytes))),
        Row::text("peak memory", format_bytes(usage.rss_peak_bytes)),
    ]
}
