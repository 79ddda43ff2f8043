//! What a comparison lacks in which nothing could be tested.

use super::series::counted;
use super::{Comparison, Named, ROWS_MIN, ROWS_OF_RUN_MIN, RUNS_MIN};

impl Comparison {
    /// Why no figure could be tested, and what to do about it; none if one was. `baseline` and `new` are what was compared.
    pub fn untested_because(&self, baseline: &[Named], new: &[Named]) -> Option<String> {
        if self.figures.iter().any(|figure| figure.interval.is_some()) {
            return None;
        }
        let sides = [("baseline", baseline), ("new", new)];
        let short: Vec<_> = sides.iter().filter_map(|(name, side)| shortage(name, side)).collect();
        Some(if short.is_empty() {
            format!(
                "the reports have no figure of their seconds in common, and figures of whole runs take {RUNS_MIN} runs a side: compare so many \
                 (--baseline FILE), or reports in which more was measured"
            )
        } else {
            format!(
                "it takes {ROWS_MIN} full seconds a side, and {ROWS_OF_RUN_MIN} of each run, and there are {}: make longer runs (30s are enough), \
                 or compare several a side (--baseline FILE)",
                short.join(" and ")
            )
        })
    }
}

/// How many full seconds a side has, if those are too few.
fn shortage(name: &str, side: &[Named]) -> Option<String> {
    // The first of the rows that count is the one before them.
    let of_runs = side.iter().map(|named| (counted(&named.report).len().saturating_sub(1), &named.path));
    let all: usize = of_runs.clone().map(|(rows, _)| rows).sum();
    if all < ROWS_MIN {
        return Some(format!("{all} on the {name} side"));
    }
    let (rows, path) = of_runs.min_by_key(|(rows, _)| *rows)?;
    (rows < ROWS_OF_RUN_MIN).then(|| format!("{rows} in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compare, side};
    use super::*;

    fn because(baseline: &[Named], new: &[Named]) -> Option<String> {
        compare(baseline, new).untested_because(baseline, new)
    }

    #[test]
    fn what_is_missing_is_said() {
        let (whole, other) = (side(0..1, 1.0), side(1..2, 1.0));
        assert_eq!(because(&whole, &other), None);
        let short = |seed, rows| {
            let mut side = side(seed..seed + 1, 5.0);
            side[0].report.timeline.truncate(rows);
            side
        };
        let said = because(&whole, &short(1, 12)).expect("nothing is tested");
        assert!(said.contains("there are 8 on the new side: make longer runs"), "{said}");
        let said = because(&short(2, 4), &short(1, 12)).expect("nothing is tested");
        assert!(said.contains("there are 0 on the baseline side and 8 on the new side:"), "{said}");
        // Long enough together, but for one that is not.
        let many: Vec<Named> = side(3..5, 1.0).into_iter().chain(short(5, 6)).collect();
        let said = because(&many, &whole).expect("nothing is tested");
        assert!(said.contains("there are 2 in 5.json: make longer runs"), "{said}");
        // Long enough, and with nothing in their seconds.
        let silent = |seed| {
            let mut side = side(seed..seed + 1, 1.0);
            let report = &mut side[0].report;
            (report.sent, report.measured_from_s, report.measured_s) = (0, 2.0, 60.0);
            for row in &mut report.timeline {
                *row = throng_harness_model::results::Second { at_s: row.at_s, ..Default::default() };
            }
            side
        };
        let said = because(&silent(1), &silent(2)).expect("nothing is tested");
        assert!(said.contains("figures of whole runs take 5 runs a side: compare so many"), "{said}");
    }
}
