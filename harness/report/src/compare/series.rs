//! What of a report's timeline is compared, row by row.

use throng_harness_model::results::Second;

use crate::Report;

/// A figure of every second of one run, in such a form that any choice of seconds has a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Series {
    /// Values above 0. What stands for several is their geometric mean: a server that is 10 % slower makes each value 10 % larger, and
    /// one stalled second among sixty does not decide the result.
    Values(Vec<f64>),
    /// Amounts, and what they are counted by. What stands for several seconds is all the amounts by all that they are counted by.
    Ratios(Vec<(f64, f64)>),
}

impl Series {
    /// Rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Ratios(ratios) => ratios.len(),
        }
    }
}

/// The rows that count of a run, each with the one before it: full seconds, without the first and the last one of those in which there was
/// anything to be measured.
pub(super) fn counted(report: &Report) -> &[Second] {
    let rows = &report.timeline[..];
    let (from, to) = (report.measured_from_s, report.measured_from_s + report.measured_s);
    let is_busy = |before: &Second, row: &Second| {
        if report.sent > 0 {
            row.sent > before.sent
        } else if report.rates.logins_per_s.is_some() {
            entries(row) > entries(before)
        } else {
            from > 0.0 && before.at_s <= to && row.at_s > from
        }
    };
    let busy = |at: &usize| is_busy(&rows[at - 1], &rows[*at]);
    let first = (1..rows.len()).find(busy);
    let last = (1..rows.len()).rev().find(busy);
    match first.zip(last) {
        // The row before the first that counts is the first that was busy.
        Some((first, last)) if first < last => &rows[first..last],
        _ => &[],
    }
}

/// How often somebody has come in so far.
fn entries(row: &Second) -> u64 {
    row.connected + row.left + row.disconnected
}

/// A figure of the rows, each with the one before it. A second without a value, as a latency where nothing arrived, is left out: what was
/// late in it counts when it comes.
pub(super) fn values(rows: &[Second], value: impl Fn(&Second, &Second) -> f64) -> Series {
    let values = rows.iter().zip(rows.iter().skip(1)).map(|(before, row)| value(before, row));
    Series::Values(values.filter(|value| value.is_finite() && *value > 0.0).collect())
}

/// A ratio of two figures of each row and the one before it; rows that have not both are left out.
pub(super) fn ratios(rows: &[Second], ratio: impl Fn(&Second, &Second) -> Option<(f64, f64)>) -> Series {
    let pairs = rows.iter().zip(rows.iter().skip(1));
    Series::Ratios(pairs.filter_map(|(before, row)| ratio(before, row)).collect())
}

/// Seconds from one row to the next.
pub(super) fn seconds(before: &Second, row: &Second) -> f64 {
    row.at_s - before.at_s
}

/// Deliveries from one row to the next.
pub(super) fn received(before: &Second, row: &Second) -> f64 {
    row.received.saturating_sub(before.received) as f64
}

/// Entries from one row to the next.
pub(super) fn entered(before: &Second, row: &Second) -> f64 {
    entries(row).saturating_sub(entries(before)) as f64
}

#[cfg(test)]
mod tests {

    use throng_harness_model::results::Rates;

    use super::*;

    fn rows(sent: &[u64]) -> Vec<Second> {
        let row = |(at, sent): (usize, &u64)| Second {
            at_s: at as f64 + 1.0,
            sent: *sent,
            received: sent * 10,
            left: *sent,
            p50_us: *sent as f64,
            ..Second::default()
        };
        sent.iter().enumerate().map(row).collect()
    }

    #[test]
    fn only_full_seconds_of_the_measured_part_count() {
        let timeline = rows(&[0, 0, 3, 10, 20, 30, 40, 44, 44, 44]);
        let mut report = Report { sent: 44, timeline: timeline.clone(), ..Report::default() };
        let found = |report: &Report| counted(report).iter().map(|row| row.sent).collect::<Vec<_>>();
        assert_eq!(found(&report), [3, 10, 20, 30, 40]);
        assert_eq!(
            values(counted(&report), |_, row| row.p50_us),
            Series::Values(vec![10.0, 20.0, 30.0, 40.0])
        );
        let rate =
            ratios(counted(&report), |before, row| Some((received(before, row), seconds(before, row))));
        assert_eq!(rate, Series::Ratios(vec![(70.0, 1.0), (100.0, 1.0), (100.0, 1.0), (100.0, 1.0)]));
        report.sent = 0;
        assert_eq!(found(&report), [0; 0]);
        report.rates = Rates { logins_per_s: Some(1.0), ..Rates::default() };
        assert_eq!(found(&report), [3, 10, 20, 30, 40]);
        report.rates = Rates::default();
        (report.measured_from_s, report.measured_s) = (3.5, 4.0);
        assert_eq!(counted(&report).iter().map(|row| row.at_s).collect::<Vec<_>>(), [4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn a_run_without_rows_has_nothing_that_counts() {
        for timeline in [vec![], rows(&[1]), rows(&[0, 5]), rows(&[0, 0, 0])] {
            let report = Report { sent: 5, timeline, ..Report::default() };
            assert_eq!(counted(&report), []);
        }
    }
}
