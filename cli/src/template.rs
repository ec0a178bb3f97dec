//! Message templates: `{{n}}`, `{{time}}`, `{{ms}}`, `{{random 100}}`, `{{text 20}}`.
//!
//! **What**  A template is read once and filled for every message. What stands in other braces is left as it is, so that JSON
//! needs no escapes.

use base::Rng;
use std::fmt::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The number of the message, from 1.
    Number,
    /// Unix milliseconds.
    Millis,
    /// RFC 3339, UTC.
    Time,
    /// A number below the bound.
    Random(u64),
    /// So many random letters.
    Letters(u64),
}

/// A template that is ready to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// Most letters of one `{{text N}}`.
const LETTERS_MAX: u64 = 5 << 20;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// For `{{…}}` that is none of the known forms.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let Some((inside, after)) = behind.split_once("}}") else { break };
            parts.push(Part::Text(before.to_owned()));
            parts.push(placeholder(inside.trim())?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// The text of message `n`, sent at `wall_ms`.
    pub(crate) fn fill(&self, n: u64, wall_ms: u64, rng: &mut Rng) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                // Writing to a String does not fail.
                Part::Number => drop(write!(out, "{n}")),
                Part::Millis => drop(write!(out, "{wall_ms}")),
                Part::Time => out.push_str(&rfc3339(wall_ms)),
                Part::Random(bound) => drop(write!(out, "{}", rng.below(*bound))),
                Part::Letters(count) => out.extend((0..*count).map(|_| letter(rng))),
            }
        }
        out
    }
}

fn letter(rng: &mut Rng) -> char {
    char::from(b'a' + u8::try_from(rng.below(26)).unwrap_or(0))
}

fn placeholder(inside: &str) -> Result<Part, String> {
    let bad = || {
        format!(
            "{{{{{inside}}}}} is unknown: use {{{{n}}}}, {{{{time}}}}, {{{{ms}}}}, {{{{random N}}}} or {{{{text N}}}}"
        )
    };
    let (word, number) = inside.split_once(' ').unwrap_or((inside, ""));
    let number = || number.trim().parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(bad);
    match word {
        "n" => Ok(Part::Number),
        "ms" => Ok(Part::Millis),
        "time" => Ok(Part::Time),
        "random" => Ok(Part::Random(number()?)),
        "text" => Ok(Part::Letters(number()?.min(LETTERS_MAX))),
        _ => Err(bad()),
    }
}

/// UTC with milliseconds. Days to civil date by counting 400-year eras that begin in March.
pub(crate) fn rfc3339(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let template = Template::parse("{\"n\":{{n}},\"at\":{{ ms }}} {{").unwrap();
        assert_eq!(template.fill(7, 1000, &mut Rng::new(1)), "{\"n\":7,\"at\":1000} {{");
        let letters = Template::parse("{{text 20}}").unwrap().fill(1, 0, &mut Rng::new(1));
        assert!(letters.len() == 20 && letters.chars().all(|c| c.is_ascii_lowercase()));
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for bad in ["{{x}}", "{{random}}", "{{random 0}}", "{{text a}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_civil_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_372_479_123), "2026-11-22T18:34:39.123Z");
    }
}
