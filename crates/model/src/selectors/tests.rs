#![allow(clippy::unwrap_used)]
use super::*;

fn look_up<'a>(labels: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
    |key| labels.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
}

#[test]
fn label_selectors_select() {
    fn check(text: &str, canonical: &str, yes: &[&[(&str, &str)]], no: &[&[(&str, &str)]]) {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.to_string(), canonical);
        assert_eq!(Selector::parse(canonical).unwrap(), selector);
        for labels in yes {
            assert!(selector.matches(look_up(labels)), "{text} {labels:?}");
        }
        for labels in no {
            assert!(!selector.matches(look_up(labels)), "{text} {labels:?}");
        }
    }
    check("", "", &[&[], &[("a", "b")]], &[]);
    check(" a = b ", "a=b", &[&[("a", "b")]], &[&[], &[("a", "c")], &[("b", "b")]]);
    check("a==b", "a=b", &[&[("a", "b")]], &[&[]]);
    check("a=", "a=", &[&[("a", "")]], &[&[], &[("a", "b")]]);
    check("a!=b", "a!=b", &[&[], &[("a", "c")]], &[&[("a", "b")]]);
    check("a in (x, y)", "a in (x,y)", &[&[("a", "x")], &[("a", "y")]], &[&[], &[("a", "z")]]);
    check("a in (y,x,y)", "a in (x,y)", &[&[("a", "x")]], &[]);
    check("a notin (x)", "a notin (x)", &[&[], &[("a", "z")]], &[&[("a", "x")]]);
    check("a in ()", "a in ()", &[&[("a", "")]], &[&[], &[("a", "z")]]);
    check("a in (,x)", "a in (,x)", &[&[("a", "")], &[("a", "x")]], &[&[]]);
    check("a in (x,,y,)", "a in (,x,y)", &[&[("a", "")], &[("a", "y")]], &[&[]]);
    check("a", "a", &[&[("a", "")]], &[&[]]);
    check("!a", "!a", &[&[]], &[&[("a", "")]]);
    check("a>5,a<8", "a>5,a<8", &[&[("a", "6")], &[("a", "7")]], &[&[], &[("a", "5")], &[("a", "x")]]);
    check("example.com/a=b,c", "example.com/a=b,c", &[&[("example.com/a", "b"), ("c", "")]], &[&[("c", "")]]);
    check("in in (in),notin", "in in (in),notin", &[&[("in", "in"), ("notin", "")]], &[]);
    check("a=in", "a=in", &[&[("a", "in")]], &[]);
}

#[test]
fn broken_label_selectors_are_refused_in_upstream_words() {
    fn check(text: &str, expected: &str) {
        let error = Selector::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    check("mod3 in (1", "unable to parse requirement: found '', expected: ',' or ')'");
    check("=x", "found '=', expected: !, identifier, or 'end of string'");
    check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    check("mod3=1,,half=low", "found ',', expected: identifier after ','");
    check("a=1,", "found '', expected: identifier after ','");
    check("!a=b", "found '=', expected: ',' or 'end of string'");
    check("a=b c", "found 'c', expected: ',' or 'end of string'");
    check("!", "unable to parse requirement: found '', expected: identifier");
    check("a=)", "unable to parse requirement: found ')', expected: identifier");
    check("a in b", "unable to parse requirement: found 'b' expected: '('");
    check("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier");
    check("a in (x,!", "unable to parse requirement: found '!', expected: ',', or identifier");
    check("a in (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'");
    check(
        "UPPER/=x",
        "unable to parse requirement: <nil>: Invalid value: \"UPPER/\": prefix part a lowercase RFC 1123 subdomain must",
    );
    check("mod3=-x", "unable to parse requirement: values[0][mod3]: Invalid value: \"-x\": a valid label must be");
    check(
        &format!("mod3={}", "x".repeat(64)),
        &format!(
            "unable to parse requirement: values[0][mod3]: Invalid value: \"{}\": must be no more than 63 bytes",
            "x".repeat(64)
        ),
    );
    check(
        "a>x",
        "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
    );
    check("a\0b", "unable to parse requirement: <nil>: Invalid value: \"a\\x00b\": name part must consist of");
}

#[test]
fn field_selectors_select() {
    fn check(text: &str, canonical: &str, yes: &[(&str, &str)], no: &[(&str, &str)]) {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), canonical);
        for (name, node) in yes {
            assert!(selector.matches(|field| if field == "metadata.name" { *name } else { *node }), "{text}");
        }
        for (name, node) in no {
            assert!(!selector.matches(|field| if field == "metadata.name" { *name } else { *node }), "{text}");
        }
    }
    check("", "", &[("a", "b")], &[]);
    check("metadata.name=a", "metadata.name=a", &[("a", "")], &[("b", "")]);
    check("metadata.name==a,", "metadata.name=a", &[("a", "")], &[("b", "")]);
    check(
        "spec.nodeName!=n,metadata.name=a",
        "metadata.name=a,spec.nodeName!=n",
        &[("a", "m"), ("a", "")],
        &[("a", "n"), ("b", "m")],
    );
    check("metadata.name=a\\,b\\=c\\\\", "metadata.name=a\\,b\\=c\\\\", &[("a,b=c\\", "")], &[("a", "")]);
    let selector = FieldSelector::parse("metadata.name=a,spec.x!=y").unwrap();
    assert_eq!(selector.required_value("metadata.name"), Some("a"));
    assert_eq!(selector.required_value("spec.x"), None);
}

#[test]
fn broken_field_selectors_are_refused_in_upstream_words() {
    fn check(text: &str, expected: &str) {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), expected);
    }
    check("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
    check("metadata.name in (a)", "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'");
    check("a=b=c", "invalid field selector: unescaped character in value: 61");
    check("a=\\x", "invalid field selector: invalid escape sequence: \\x");
    check("a=x\\", "invalid field selector: invalid escape sequence: \\");
}

#[test]
fn unknown_fields_are_refused_in_two_ways() {
    let selector = FieldSelector::parse("metadata.name=a,spec.nosuch=1").unwrap();
    let known = ["metadata.name", "metadata.namespace"];
    let check = |unknown, expected: &str| {
        assert_eq!(selector.check_fields(&known, unknown).unwrap_err().to_string(), expected);
    };
    check(
        UnknownField::ListsKnown,
        "\"spec.nosuch\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
    check(UnknownField::NamesField, "field label not supported: spec.nosuch");
    assert_eq!(selector.check_fields(&["metadata.name", "spec.nosuch"], UnknownField::NamesField), Ok(()));
}

fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

#[test]
fn selectors_of_objects_select() {
    let selector = LabelSelector {
        match_labels: vec![("a".to_owned(), "b".to_owned())],
        match_expressions: vec![expression("c", "NotIn", &["x"]), expression("d", "Exists", &[])],
    };
    let selector = selector.to_selector().unwrap();
    assert_eq!(selector.to_string(), "a=b,c notin (x),d");
    assert!(selector.matches(look_up(&[("a", "b"), ("d", "")])));
    assert!(!selector.matches(look_up(&[("a", "b"), ("c", "x"), ("d", "")])));
    assert!(LabelSelector::default().to_selector().unwrap().is_everything());
    assert!(!Selector::nothing().matches(look_up(&[])));
    assert!(!Selector::nothing().is_everything());
    let wrong = LabelSelector { match_expressions: vec![expression("c", "Like", &[])], ..LabelSelector::default() };
    assert_eq!(wrong.to_selector().unwrap_err().to_string(), "\"Like\" is not a valid label selector operator");
}

#[test]
fn selectors_of_objects_are_checked() {
    fn check(expression: LabelSelectorRequirement, expected: &[&str]) {
        let selector = LabelSelector { match_expressions: vec![expression], ..LabelSelector::default() };
        let texts: Vec<String> =
            validate_label_selector(&selector, "spec.selector").iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expected) {
            assert!(text.starts_with(start), "{text}");
        }
    }
    check(expression("a", "In", &["b"]), &[]);
    check(
        expression("a", "In", &[]),
        &[
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check(
        expression("a", "Exists", &["b"]),
        &[
            "spec.selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
    );
    check(
        expression("", "", &["-"]),
        &[
            "spec.selector.matchExpressions[0].operator: Invalid value: \"\": not a valid selector operator",
            "spec.selector.matchExpressions[0].key: Invalid value: \"\": name part must be non-empty",
            "spec.selector.matchExpressions[0].key: Invalid value: \"\": name part must consist of",
            "spec.selector.matchExpressions[0].values[0]: Invalid value: \"-\": a valid label must be",
        ],
    );
}
