//! How fine amounts of resources are kept (upstream: `SetDefaults_ResourceList`): in thousandths. What is finer is rounded up.

use portcullis_model::quantity::{Format, Quantity};

use crate::views::{Map, MapEdit};

/// The amounts of a map that are finer than thousandths, rounded up to them.
#[must_use]
pub fn finer(amounts: Map<'_, &str>) -> Vec<(String, String)> {
    amounts.iter().filter_map(|(name, amount)| Some((name.to_owned(), rounded_up(amount)?))).collect()
}

/// Writes amounts over those of a map. To open a map that is absent is to have one, so there are some.
pub fn insert(mut map: MapEdit<'_>, amounts: &[(String, String)]) {
    for (name, amount) in amounts {
        map.insert(name, amount);
    }
}

/// The amount in thousandths, if it is finer than that.
fn rounded_up(amount: &str) -> Option<String> {
    // What is written without a fraction or one of the smallest units is no finer, and that is nearly everything.
    if !amount.contains(['.', 'n', 'u', 'e', 'E']) {
        return None;
    }
    let amount = Quantity::parse(amount).ok()?;
    let rounded = Quantity::from_milli(amount.milli_value(), amount.format());
    let is_finer = rounded != amount && amount.milli_value().unsigned_abs() < i64::MAX.unsigned_abs();
    let format = if amount.format() == Format::BinarySi { Format::DecimalSi } else { amount.format() };
    is_finer.then(|| Quantity::from_milli(amount.milli_value(), format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_the_finest() {
        let check = |amount: &str, expected: Option<&str>| {
            assert_eq!(rounded_up(amount).as_deref(), expected, "{amount}");
        };
        for fine in ["1", "100m", "1.5", "1Gi", "0.001", "1e3", "1E", "9E"] {
            check(fine, None);
        }
        check("100u", Some("1m"));
        check("1n", Some("1m"));
        check("0.0015", Some("2m"));
        check("1.0001", Some("1001m"));
    }
}
