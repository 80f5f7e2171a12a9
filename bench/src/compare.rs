//! Figures with their spread, and ratios that say when they mean nothing. Pure.

use std::fmt;

use serde_json::{Value, json};

/// The least, the middle and the greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) med: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `figures`; all zero where there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        let last = figures.len().saturating_sub(1);
        Self {
            min: at(0),
            med: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
            max: at(last),
        }
    }

    /// Each figure as `of / figure`: seconds become a speed.
    pub(crate) fn per(self, of: f64) -> Self {
        Self {
            min: of / self.max,
            med: of / self.med,
            max: of / self.min,
        }
    }

    pub(crate) fn to_json(self) -> Value {
        let round = |figure: f64| (figure * 1e4).round() / 1e4;
        json!({ "min": round(self.min), "med": round(self.med), "max": round(self.max) })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.med < 1.0 {
            3
        } else if self.med < 100.0 {
            2
        } else {
            0
        };
        write!(
            f,
            "{:.digits$}/{:.digits$}/{:.digits$}",
            self.min, self.med, self.max
        )
    }
}

/// How many times a rival spends what we spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    spread: Spread,
    /// The spreads overlap: neither side is better.
    is_tie: bool,
}

impl Ratio {
    /// The medians' ratio, and what the extremes would give.
    pub(crate) fn of(rival: Spread, ours: Spread) -> Self {
        let spread = Spread {
            min: rival.min / ours.max,
            med: rival.med / ours.med,
            max: rival.max / ours.min,
        };
        Self {
            spread,
            is_tie: rival.min <= ours.max && ours.min <= rival.max,
        }
    }

    pub(crate) fn to_json(self) -> Value {
        let mut json = self.spread.to_json();
        json["tie"] = self.is_tie.into();
        json
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { min, med, max } = self.spread;
        if self.is_tie {
            return f.write_str("a tie");
        }
        write!(f, "{med:.1}x ({min:.1}-{max:.1})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_median() {
        assert_eq!(
            Spread::of([3.0, 1.0, 2.0]),
            Spread {
                min: 1.0,
                med: 2.0,
                max: 3.0
            }
        );
        assert_eq!(Spread::of([4.0, 1.0]).med, 2.5);
        assert_eq!(Spread::of([]).max, 0.0);
    }

    #[test]
    fn overlapping_spreads_tie() {
        let (ours, rival) = (Spread::of([1.0, 2.0, 3.0]), Spread::of([6.0, 8.0, 9.0]));
        assert_eq!(Ratio::of(rival, ours).to_string(), "4.0x (2.0-9.0)");
        assert_eq!(Ratio::of(Spread::of([3.0, 9.0]), ours).to_string(), "a tie");
        assert!(!Ratio::of(ours, rival).is_tie);
    }
}
