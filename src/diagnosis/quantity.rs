//! Amounts as Kubernetes writes them: `500m`, `2Gi`, `1e3`.

/// An amount in thousandths; nothing where it is none.
pub fn quantity(text: &str) -> Option<i128> {
    let text = text.trim();
    let number = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(number);
    let factor: f64 = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Ei" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        exponent => return exact(digits, exponent.strip_prefix(['e', 'E'])?),
    };
    let thousandths = (digits.parse::<f64>().ok()? * factor * 1e3).round();
    within(thousandths)
}

fn exact(digits: &str, exponent: &str) -> Option<i128> {
    within((format!("{digits}e{exponent}").parse::<f64>().ok()? * 1e3).round())
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the bound is checked, and whole numbers of that size lose at most what nobody counts"
)]
fn within(thousandths: f64) -> Option<i128> {
    (thousandths.is_finite() && thousandths.abs() < 1e30).then_some(thousandths as i128)
}

/// An amount as people write one like `like`: in its unit where that comes out even.
pub fn written(thousandths: i128, like: &str) -> String {
    let suffix: String = like.trim().chars().skip_while(|c| !c.is_ascii_alphabetic()).collect();
    if let Some(unit) = quantity(&format!("1{suffix}")).filter(|unit| *unit > 0 && !suffix.is_empty())
        && thousandths % unit == 0
    {
        return format!("{}{suffix}", thousandths / unit);
    }
    if thousandths % 1000 == 0 {
        (thousandths / 1000).to_string()
    } else {
        format!("{thousandths}m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, thousandths) in [
            ("1", 1000),
            ("500m", 500),
            ("1.5", 1500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1Gi", 1_073_741_824_000),
            ("1e3", 1_000_000),
            ("0", 0),
        ] {
            assert_eq!(quantity(text), Some(thousandths), "{text}");
        }
        for text in ["", "many", "1Xi", "Gi", "1e"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn sums_are_written_in_a_unit_of_theirs() {
        let sum = |a: &str, b: &str| written(quantity(a).unwrap() + quantity(b).unwrap(), a);
        assert_eq!(sum("1Gi", "2Gi"), "3Gi");
        assert_eq!(sum("1Gi", "512Mi"), "1610612736");
        assert_eq!(sum("200m", "1"), "1200m");
        assert_eq!(sum("3", "2"), "5");
    }
}
