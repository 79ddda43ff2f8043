//! One figure of two sides, and whether it differs.
//!
//! What a machine gives its processes changes from minute to minute when others use it too, by more than many a difference that
//! is looked for. The harness opens and checks the same messages on both sides, so what that cost it is a control: a time in units of it
//! has the moods of the machine divided out (a control variate, of which the coefficient is set to 1 because runs are too few to fit one).
//! Where that explains what runs differ by, its interval is the narrower one, and it decides. Where it explains nothing, as with
//! times that a network takes, it only adds its own noise and is the wider one. The cost of a delivery depends on how many come with one
//! read, too, and so on the server; therefore nothing counts as different that is so in these units alone.

use serde::Serialize;

use super::bootstrap::{difference, middle};
use super::metrics::{Better, HARNESS_COST};
use super::series::Series;

/// What a figure's comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// No difference that is both certain and larger than the noise.
    Same,
    /// Better.
    Better,
    /// Worse.
    Worse,
    /// Different, and neither better nor worse.
    Different,
    /// There are too few seconds, or too few runs, to tell.
    Untested,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// A time.
    #[serde(rename = "us")]
    Micros,
    /// So many a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A share: 1 is 100 %.
    #[serde(rename = "share")]
    Share,
    /// A size.
    #[serde(rename = "bytes")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
}

/// A change in units of what a delivery cost the harness in the same seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Controlled {
    /// How much more the new side has: 0.1 is 10 %.
    pub change: f64,
    /// Between which changes the true one lies with 99 % certainty; null if that cannot be told.
    pub interval: Option<[f64; 2]>,
    /// Whether this decides: its interval is narrower than that of the change itself.
    pub decides: bool,
}

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What it is.
    pub name: String,
    /// What it is measured in.
    pub unit: Unit,
    /// What stands for the baseline.
    pub baseline: f64,
    /// What stands for the new side.
    pub new: f64,
    /// How much more the new side has: 0.1 is 10 %; null if the baseline has none.
    pub change: Option<f64>,
    /// Between which changes the true one lies with 99 % certainty; null if that cannot be told.
    pub interval: Option<[f64; 2]>,
    /// The same in units of what a delivery cost the harness; null if that is no measure of the figure, or says nothing here.
    pub controlled: Option<Controlled>,
    /// What that comes to.
    pub finding: Finding,
}

/// How a figure of the new side stands to the baseline's, as natural logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// What stands for the baseline, and for the new side.
    sides: [f64; 2],
    /// Between which bounds their difference lies.
    interval: Option<[f64; 2]>,
}

impl Change {
    /// Of both sides' runs; none if one has no value. Without a seed there is too little to tell a difference by.
    pub(super) fn of([baseline, new]: &[Vec<Series>; 2], seed: Option<u64>) -> Option<Self> {
        let sides = [middle(baseline)?, middle(new)?];
        let found = seed.and_then(|seed| difference(baseline, new, seed));
        Some(Self { sides, interval: found.map(|found| found.interval) })
    }

    fn log(&self) -> f64 {
        self.sides[1] - self.sides[0]
    }

    fn is_certain(&self) -> bool {
        self.interval.is_some_and(|[low, high]| low > 0.0 || high < 0.0)
    }

    fn width(&self) -> f64 {
        self.interval.map_or(f64::INFINITY, |[low, high]| high - low)
    }
}

impl Compared {
    /// What a change comes to, by itself and, if it can be controlled, in units of the harness's cost. Changes up to the share `noise`
    /// count as none.
    pub(super) fn new(
        name: String,
        unit: Unit,
        better: Better,
        change: Change,
        controlled: Option<Change>,
        noise: f64,
    ) -> Self {
        let decides = controlled.filter(|controlled| controlled.width() < change.width());
        let judged = decides.unwrap_or(change);
        // What came out in other units only is as well the control's doing.
        let is_large = [change, judged].iter().all(|change| change.log().abs() > noise.ln_1p());
        let is_one_way = change.log().signum() == judged.log().signum();
        let finding = match judged.interval {
            None => Finding::Untested,
            Some(_) if judged.is_certain() && is_large && is_one_way => direction(better, change.log()),
            Some(_) => Finding::Same,
        };
        let share = |interval: Option<[f64; 2]>| interval.map(|bounds| bounds.map(f64::exp_m1));
        Self {
            name,
            unit,
            baseline: change.sides[0].exp(),
            new: change.sides[1].exp(),
            change: Some(change.log().exp_m1()),
            interval: share(change.interval),
            controlled: controlled.map(|controlled| Controlled {
                change: controlled.log().exp_m1(),
                interval: share(controlled.interval),
                decides: decides.is_some(),
            }),
            finding,
        }
    }
}

/// What a change of a figure comes to that is a difference.
pub(super) fn direction(better: Better, change: f64) -> Finding {
    match better {
        Better::Neither => Finding::Different,
        Better::Lower if change > 0.0 => Finding::Worse,
        Better::Higher if change < 0.0 => Finding::Worse,
        _ => Finding::Better,
    }
}

/// If a delivery came to cost the harness more, then so may everything else, once on the server's side and once on the harness's: what
/// rose by no more than twice as much says nothing of the server, unless it was judged in units of that cost. Likewise if it came to
/// cost less, for what fell.
pub(super) fn allow_for_the_machine(figures: &mut [Compared]) {
    let control = figures.iter().find(|figure| figure.name == HARNESS_COST);
    let Some(shift) = control.filter(|figure| figure.finding == Finding::Different).and_then(|it| it.change)
    else {
        return;
    };
    let allowed = 2.0 * shift.ln_1p();
    for figure in figures {
        let is_decided = matches!(figure.finding, Finding::Worse | Finding::Better);
        let is_controlled = figure.controlled.is_some_and(|controlled| controlled.decides);
        let is_within = figure.change.is_some_and(|change| (0.0..=1.0).contains(&(change.ln_1p() / allowed)));
        if is_decided && !is_controlled && is_within && figure.unit == Unit::Micros {
            figure.finding = Finding::Same;
        }
    }
}
