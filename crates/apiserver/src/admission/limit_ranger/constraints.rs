//! One limit against what is asked for.

use portcullis_kinds::core::pod_requests::{Amounts, amounts};
use portcullis_kinds::views::core_v1::LimitRangeItem;
use portcullis_model::quantity::Quantity;

/// Thousandths of larger numbers do not fit into 64 bits, so that whole ones are compared.
const EXACT_MAX: i64 = i64::MAX / 1000;

/// What a container, a pod or a claim asks for.
pub struct Asked<'t> {
    pub requests: Amounts<'t>,
    pub limits: Amounts<'t>,
}

impl Asked<'_> {
    /// Holds it against an item, and says what is wrong.
    pub fn check(&self, item: LimitRangeItem<'_>, found: &mut Vec<String>) {
        let ty = item.type_();
        found.extend(amounts(item.min()).iter().filter_map(|(name, min)| self.below(ty, name, *min)));
        found.extend(amounts(item.max()).iter().filter_map(|(name, max)| self.above(ty, name, *max)));
        let ratios = amounts(item.max_limit_request_ratio());
        found.extend(ratios.iter().filter_map(|(name, ratio)| self.beyond(ty, name, *ratio)));
    }

    /// As [`Asked::check`], of what has no limits.
    pub fn check_requests(&self, item: LimitRangeItem<'_>, found: &mut Vec<String>) {
        let ty = item.type_();
        found.extend(amounts(item.min()).iter().filter_map(|(name, min)| self.below(ty, name, *min)));
        found.extend(amounts(item.max()).iter().filter_map(|(name, max)| {
            let begin = format!("maximum {name} usage per {ty} is {max}");
            let Some(request) = self.requests.get(name) else {
                return Some(format!("{begin}.  No request is specified"));
            };
            let [asked, allowed] = exact([*request, *max]);
            (asked > allowed).then(|| format!("{begin}, but request is {request}"))
        }));
    }

    fn below(&self, ty: &str, name: &str, min: Quantity) -> Option<String> {
        let begin = format!("minimum {name} usage per {ty} is {min}");
        let Some(request) = self.requests.get(name).copied() else {
            return Some(format!("{begin}.  No request is specified"));
        };
        let limit = self.limits.get(name).copied();
        let [asked, limited, least] = exact([request, limit.unwrap_or(Quantity::ZERO), min]);
        if asked < least {
            return Some(format!("{begin}, but request is {request}"));
        }
        limit.filter(|_| limited < least).map(|limit| format!("{begin}, but limit is {limit}"))
    }

    fn above(&self, ty: &str, name: &str, max: Quantity) -> Option<String> {
        let begin = format!("maximum {name} usage per {ty} is {max}");
        let Some(limit) = self.limits.get(name).copied() else {
            return Some(format!("{begin}.  No limit is specified"));
        };
        let request = self.requests.get(name).copied();
        let [asked, limited, most] = exact([request.unwrap_or(Quantity::ZERO), limit, max]);
        if limited > most {
            return Some(format!("{begin}, but limit is {limit}"));
        }
        request.filter(|_| asked > most).map(|request| format!("{begin}, but request is {request}"))
    }

    fn beyond(&self, ty: &str, name: &str, max: Quantity) -> Option<String> {
        let begin = format!("{name} max limit to request ratio per {ty} is {max}");
        let of = |amounts: &Amounts<'_>| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
        let [request, limit, _] = exact([of(&self.requests), of(&self.limits), max]);
        if request == 0 {
            return Some(format!("{begin}, but no request is specified or request is 0"));
        }
        if limit == 0 {
            return Some(format!("{begin}, but no limit is specified or limit is 0"));
        }
        let ratio = limit as f64 / request as f64;
        let is_beyond = match max.value() <= EXACT_MAX {
            true => ratio * 1000.0 > max.milli_value() as f64,
            false => ratio > max.value() as f64,
        };
        is_beyond.then(|| format!("{begin}, but provided ratio is {ratio:.6}"))
    }
}

/// Amounts in a unit that all of them fit in.
fn exact<const N: usize>(amounts: [Quantity; N]) -> [i64; N] {
    if amounts.iter().all(|amount| amount.value() <= EXACT_MAX) {
        return amounts.map(|amount| amount.milli_value());
    }
    amounts.map(|amount| amount.value())
}
