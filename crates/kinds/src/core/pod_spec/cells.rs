//! What tables show of a template and of what selects its pods (upstream: `printers/internalversion`: `layoutContainerCells`,
//! `FormatLabels`, `FormatLabelSelector`).

use std::fmt::Write as _;

use crate::strategy::Cell;
use crate::views::Map;
use crate::views::core_v1::PodSpec;
use crate::views::meta_v1::LabelSelector;
use crate::vocabulary::selectors;

/// What a table shows where there is nothing.
pub const NONE: &str = "<none>";
/// What a table shows of a selector that cannot be one.
const ERROR: &str = "<error>";

/// The names of the containers: `web,log`.
#[must_use]
pub fn containers(spec: PodSpec<'_>) -> Cell {
    joined(spec.containers().iter().map(|container| container.name()))
}

/// The images of the containers, in their order.
#[must_use]
pub fn images(spec: PodSpec<'_>) -> Cell {
    joined(spec.containers().iter().map(|container| container.image()))
}

/// Labels as `app=web,tier=front`, or `<none>`.
#[must_use]
pub fn labels(map: Map<'_, &str>) -> Cell {
    let mut text = String::new();
    for (key, value) in map.iter() {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{key}={value}");
    }
    Cell::Text(if text.is_empty() { NONE.to_owned() } else { text })
}

/// A selector's text, or `<none>`.
#[must_use]
pub fn selector(selector: Option<LabelSelector<'_>>) -> Cell {
    let text = match selector.map(|selector| selectors::read(selector).to_selector()) {
        None => String::new(),
        Some(Ok(selector)) => selector.to_string(),
        Some(Err(_)) => ERROR.to_owned(),
    };
    Cell::Text(if text.is_empty() { NONE.to_owned() } else { text })
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> Cell {
    let mut out = String::new();
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(text);
    }
    Cell::Text(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;
    use crate::views;
    use crate::views::apps_v1::ReplicaSet;

    #[test]
    fn a_template_and_its_selector_are_shown() {
        let check = |spec: &str, expected: [&str; 4]| {
            let tree = read("apps/v1", "ReplicaSet", &format!(r#"{{"spec":{spec}}}"#));
            let spec = views::read::<ReplicaSet<'_>>(&tree).spec();
            let pods = spec.template().spec();
            let shown = [
                containers(pods),
                images(pods),
                labels(spec.template().metadata().labels()),
                selector(spec.selector()),
            ];
            assert_eq!(shown, expected.map(|text| Cell::Text(text.to_owned())), "{tree:?}");
        };
        check("{}", ["", "", NONE, NONE]);
        check(
            r#"{"selector":{"matchLabels":{"b":"1"},"matchExpressions":[{"key":"a","operator":"In","values":["y","x"]}]},
                "template":{"metadata":{"labels":{"b":"1","a":"x"}},"spec":{"containers":[{"name":"c","image":"i:1"},{"name":"d","image":"j"}]}}}"#,
            ["c,d", "i:1,j", "a=x,b=1", "a in (x,y),b=1"],
        );
        check(r#"{"selector":{}}"#, ["", "", NONE, NONE]);
        check(r#"{"selector":{"matchLabels":{"!":"1"}}}"#, ["", "", NONE, "<error>"]);
    }
}
