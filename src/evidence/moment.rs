//! Moments that something may be of. A calendar ends somewhere, and what is broken or made to do harm names its last moment: whatever is
//! added to that has no place any more. So what comes in is bounded, and everything behind may add hours and years.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};

/// The first moment: 0001-01-01, which programs in Go write where they know none.
const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// The last: 9000-01-01. The calendar ends with the year 9999.
const LAST: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// A moment as the API writes it; nothing where it is none, or none of ours.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok().and_then(bounded)
}

/// The longest time that anything is said to take: what a number of 32 bits holds in seconds, as the API's own fields do. 68 years.
const LONGEST: SignedDuration = SignedDuration::from_secs(i32::MAX as i64);

/// So many seconds, and no more than anything takes.
pub fn seconds(seconds: i64) -> SignedDuration {
    lasting(SignedDuration::from_secs(seconds))
}

/// A time that was told, and no longer than anything takes.
pub fn lasting(told: SignedDuration) -> SignedDuration {
    told.clamp(-LONGEST, LONGEST)
}

/// A moment, where it is one of ours.
pub fn bounded(at: Timestamp) -> Option<Timestamp> {
    (FIRST..=LAST).contains(&at).then_some(at)
}

/// Reads a moment that has to be there.
///
/// # Errors
/// As with any timestamp.
pub fn clamped<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    Ok(Timestamp::deserialize(from)?.clamp(FIRST, LAST))
}

/// Reads a moment that may be absent, and is where it is none of ours.
///
/// # Errors
/// As with any timestamp.
pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<Timestamp>::deserialize(from)?.and_then(bounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_years_may_be_added_to() {
        assert_eq!(parse("0001-01-01T00:00:00Z"), Some(FIRST));
        assert!(parse("2026-01-02T03:04:05Z").is_some());
        assert_eq!(parse("9999-12-30T22:00:00.999999999Z"), None);
        assert_eq!(parse("-009999-01-02T01:59:59Z"), None);
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn nothing_takes_longer_than_can_be_added() {
        for told in [i64::MIN, i64::MAX] {
            let last = LAST.checked_add(seconds(told)).and_then(|at| at.checked_sub(seconds(told)));
            assert!(last.is_ok() && FIRST.checked_sub(seconds(told)).is_ok(), "{told}");
        }
        assert_eq!(seconds(7), SignedDuration::from_secs(7));
    }

    #[test]
    fn what_is_noted_is_moved_to_the_nearest() {
        let at = |text: &str| clamped(serde_json::Value::from(text)).ok();
        assert_eq!(at("9999-12-30T22:00:00Z"), Some(LAST));
        assert_eq!(at("-009999-01-02T01:59:59Z"), Some(FIRST));
        assert_eq!(at("2026-01-02T03:04:05Z"), parse("2026-01-02T03:04:05Z"));
        assert_eq!(optional(serde_json::json!("9999-12-30T22:00:00Z")).ok(), Some(None));
    }
}
