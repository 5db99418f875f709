//! Durations as people write them: `3s`, `1m30s`, `4m`, `500ms`.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A duration in a scenario file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, JsonSchema)]
#[schemars(with = "String", extend("pattern" = r"^(\d+(ms|h|m|s))+$"))]
pub struct Span(pub Duration);

impl Span {
    /// Reads `1m30s`; the error says what was expected.
    ///
    /// # Errors
    /// When there is no number, or a unit other than `h`, `m`, `s` or `ms`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write it like 90s, 4m or 1m30s");
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let units = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |end| digits + end);
            let unit = match &rest[digits..units] {
                "h" => Duration::from_hours(1),
                "m" => Duration::from_mins(1),
                "s" => Duration::from_secs(1),
                "ms" => Duration::from_millis(1),
                _ => return Err(wrong()),
            };
            total += unit.checked_mul(u32::try_from(number).map_err(|_| wrong())?).ok_or_else(wrong)?;
            rest = &rest[units..];
        }
        Ok(Self(total))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// `1m30s`, `20s`, `1.5s`
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&human(self.0))
    }
}

/// A duration for people: `4m00s`, `20s`, `1.5s`, `350ms`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, duration.subsec_millis()) {
        (0, millis) if millis > 0 => format!("{millis}ms"),
        (0..60, 0) => format!("{seconds}s"),
        (0..60, millis) => format!(
            "{:.1}s",
            f64::from(u32::try_from(seconds).unwrap_or(0)) + f64::from(millis) / 1000.0
        ),
        (60..3600, _) => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m{:02}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [("20s", 20.0), ("4m", 240.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h", 3600.0)] {
            assert!((Span::parse(text).unwrap().0.as_secs_f64() - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "20", "s", "4 m", "-3s", "99999999999h", "4x"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_people_read() {
        let texts = [0, 350, 1500, 20_000, 59_999, 90_000, 240_000, 3_661_000].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(texts, ["0s", "350ms", "1.5s", "20s", "60.0s", "1m30s", "4m00s", "1h01m01s"]);
    }
}
