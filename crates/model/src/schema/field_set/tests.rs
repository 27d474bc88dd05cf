//! Tables of field sets: read, written, combined.
#![allow(clippy::unwrap_used)]

use super::*;

fn set(text: &str) -> PathSet {
    PathSet::read(text).unwrap()
}

#[test]
fn sets_are_written_in_order() {
    let check = |text: &str, expected: &str| assert_eq!(set(text).to_json(), expected, "{text}");
    let same = |text: &str| check(text, text);
    same("{}");
    same(r#"{"f:a":{}}"#);
    same(r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{}}}"#);
    same(r#"{"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}}}"#);
    same(r#"{"f:finalizers":{".":{},"v:\"a/b\"":{}}}"#);
    same(r#"{"f:a":{"i:2":{},"i:10":{}}}"#);
    check(r#"{"f:b":{},"f:a":{}}"#, r#"{"f:a":{},"f:b":{}}"#);
    check(r#" { "f:a" : { "f:b" : { } , "." : { } } } "#, r#"{"f:a":{".":{},"f:b":{}}}"#);
    check(r#"{"i:1":{},"v:1":{},"k:{\"a\":1}":{},"f:x":{}}"#, r#"{"f:x":{},"k:{\"a\":1}":{},"v:1":{},"i:1":{}}"#);
    check(r#"{"k:{\"b\":1,\"a\":2}":{}}"#, r#"{"k:{\"a\":2,\"b\":1}":{}}"#);
    check(
        r#"{"k:{\"p\":\"x\"}":{},"k:{\"p\":null}":{},"k:{\"p\":10}":{},"k:{\"p\":9}":{},"k:{\"p\":true}":{},"k:{\"p\":9.5}":{}}"#,
        r#"{"k:{\"p\":9}":{},"k:{\"p\":9.5}":{},"k:{\"p\":10}":{},"k:{\"p\":\"x\"}":{},"k:{\"p\":true}":{},"k:{\"p\":null}":{}}"#,
    );
    // A kind of step that is not known is skipped with all below it.
    check(r#"{"z:new":{"f:b":[1,{"x":"}"}]},"f:a":{}}"#, r#"{"f:a":{}}"#);
    check(r#"{"f:\u00e9\ud83d\ude00<":{}}"#, r#"{"f:é😀\u003c":{}}"#);
}

#[test]
fn what_is_no_set_is_an_error() {
    let check = |text: &str, expected: FieldSetError| assert_eq!(PathSet::read(text).unwrap_err(), expected, "{text}");
    check("", FieldSetError::NotAnObject(0));
    check("[]", FieldSetError::NotAnObject(0));
    check(r#"{"f:a":1}"#, FieldSetError::NotAnObject(7));
    check(r#"{"f:a":{}"#, FieldSetError::NotAnObject(9));
    check(r#"{"f:a":{}}x"#, FieldSetError::NotAnObject(10));
    check(r#"{"f:a":{}"f:b":{}}"#, FieldSetError::NotAnObject(9));
    check(r#"{"f":{}}"#, FieldSetError::MalformedStep(1));
    check(r#"{"data":{}}"#, FieldSetError::MalformedStep(1));
    check(r#"{"i:x":{}}"#, FieldSetError::MalformedStep(1));
    check(r#"{"v:inf":{}}"#, FieldSetError::MalformedStep(1));
    check(r#"{"k:[]":{}}"#, FieldSetError::MalformedStep(1));
    check(r#"{"f:a":{},"f:a":{}}"#, FieldSetError::DuplicateStep);
    let deep = |depth: usize| format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth));
    assert!(PathSet::read(&deep(DEPTH_MAX - 1)).is_ok());
    check(&deep(DEPTH_MAX), FieldSetError::TooLarge);
}

#[test]
fn sets_are_combined() {
    let check = |a: &str, b: &str, union: &str, intersection: &str, difference: &str| {
        let (a, b) = (set(a), set(b));
        assert_eq!(a.union(&b).to_json(), union);
        assert_eq!(b.union(&a).to_json(), union);
        assert_eq!(a.intersection(&b).to_json(), intersection);
        assert_eq!(b.intersection(&a).to_json(), intersection);
        assert_eq!(a.difference(&b).to_json(), difference);
    };
    check("{}", "{}", "{}", "{}", "{}");
    check(r#"{"f:a":{}}"#, "{}", r#"{"f:a":{}}"#, "{}", r#"{"f:a":{}}"#);
    check(r#"{"f:a":{}}"#, r#"{"f:a":{"f:b":{}}}"#, r#"{"f:a":{".":{},"f:b":{}}}"#, "{}", r#"{"f:a":{}}"#);
    check(
        r#"{"f:a":{".":{},"f:b":{},"f:c":{"f:d":{}}},"f:z":{}}"#,
        r#"{"f:a":{".":{},"f:c":{"f:d":{}}},"f:b":{"f:y":{}}}"#,
        r#"{"f:a":{".":{},"f:b":{},"f:c":{"f:d":{}}},"f:b":{"f:y":{}},"f:z":{}}"#,
        r#"{"f:a":{".":{},"f:c":{"f:d":{}}}}"#,
        r#"{"f:a":{"f:b":{}},"f:z":{}}"#,
    );
    check(
        r#"{"f:a":{"f:b":{"f:c":{}}}}"#,
        r#"{"f:a":{"f:a":{"f:c":{}}}}"#,
        r#"{"f:a":{"f:a":{"f:c":{}},"f:b":{"f:c":{}}}}"#,
        "{}",
        r#"{"f:a":{"f:b":{"f:c":{}}}}"#,
    );
}

#[test]
fn what_is_below_goes_too() {
    let check = |a: &str, b: &str, expected: &str| assert_eq!(set(a).difference_below(&set(b)).to_json(), expected);
    check(
        r#"{"f:spec":{"f:a":{}},"f:status":{".":{},"f:b":{"f:c":{}}}}"#,
        r#"{"f:status":{}}"#,
        r#"{"f:spec":{"f:a":{}}}"#,
    );
    check(r#"{"f:m":{"f:a":{"f:x":{}},"f:b":{}},"f:n":{}}"#, r#"{"f:m":{"f:a":{}}}"#, r#"{"f:m":{"f:b":{}},"f:n":{}}"#);
    check(r#"{"f:status":{}}"#, r#"{"f:spec":{}}"#, r#"{"f:status":{}}"#);
    check(r#"{"f:a":{"f:b":{}},"f:c":{}}"#, r#"{"f:a":{"f:a":{}}}"#, r#"{"f:a":{"f:b":{}},"f:c":{}}"#);
}

#[test]
fn paths_of_names() {
    let paths: &[&[&str]] = &[&["metadata"], &["kind"], &["metadata", "uid"], &["metadata", "name"]];
    let expected = r#"{"f:kind":{},"f:metadata":{".":{},"f:name":{},"f:uid":{}}}"#;
    assert_eq!(PathSet::of_fields(paths).to_json(), expected);
    assert_eq!(PathSet::of_fields(paths).len(), 4);
}

/// A long step is in each path below it, so what is shown has an end.
#[test]
fn paths_do_not_grow_beyond_all_measure() {
    let below: Vec<String> = (0..900).map(|at| format!("\"f:x{at}\":{{}}")).collect();
    let long = set(&format!("{{\"f:{}\":{{{}}}}}", "a".repeat(1 << 20), below.join(",")));
    let mut bytes_left = 4 << 20;
    assert_eq!((long.paths_within(&mut bytes_left).len(), bytes_left, long.len()), (4, 0, 900));
    assert_eq!(long.paths_within(&mut bytes_left), Vec::<String>::new());
}

/// Steps stand in the order of what they say, however they are written.
#[test]
fn steps_are_in_order() {
    let check = |texts: &[&str]| {
        let steps: Vec<Step<'_>> = texts.iter().map(|text| Step { kind: StepKind::Key, text }).collect();
        for (at, a) in steps.iter().enumerate() {
            for (beside, b) in steps.iter().enumerate() {
                assert_eq!(a.cmp(b), at.cmp(&beside), "{a:?} {b:?}");
            }
        }
    };
    check(&[r#"{"a":"x"}"#, r#"{"name":"a"}"#, r#"{"name":"a b"}"#, r#"{"name":"a!"}"#, r#"{"name":"ab"}"#]);
    check(&[r#"{"n":""}"#, r#"{"n":"\u003c"}"#, r#"{"n":"A"}"#, r#"{"n":"\\"}"#, r#"{"n":"a"}"#, r#"{"n":"é"}"#]);
    check(&[r#"{"p":-1}"#, r#"{"p":9}"#, r#"{"p":10}"#, r#"{"p":"1"}"#, r#"{"p":true}"#, r#"{"p":null}"#]);
    check(&[r#"{"p":80}"#, r#"{"p":80,"q":"TCP"}"#, r#"{"p":80,"q":"UDP"}"#, r#"{"p":81}"#, r#"{"p":443,"q":"TCP"}"#]);
}

/// Whoever sorts by an order that is none may panic.
#[test]
fn the_order_of_steps_is_one() {
    let texts = ["a", "a ", "a\n", "a!", "a\"", "a\\", "a[", "[", "b", ""];
    let json = |value: &dyn Fn(&str) -> serde_json::Value| texts.map(|text| value(text).to_string());
    let mut texts: Vec<String> = Vec::new();
    texts.extend(json(&|text| serde_json::json!({"k": text})));
    texts.extend(json(&|text| serde_json::json!({"k": [text]})));
    texts.extend(json(&|text| serde_json::json!({"k": {"a": text}})));
    texts.extend(json(&|text| serde_json::json!({text: 1})));
    for number in ["9007199254740992", "9007199254740993", "9007199254740992.5", "0", "-0.0", "1e300", "null"] {
        texts.push(format!(r#"{{"k":{number}}}"#));
    }
    let steps: Vec<Step<'_>> = texts.iter().map(|text| Step { kind: StepKind::Key, text }).collect();
    for (a, b) in steps.iter().flat_map(|a| steps.iter().map(move |b| (a, b))) {
        assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a:?} {b:?}");
        for c in steps.iter().filter(|c| a < b && b < *c) {
            assert!(a < c, "{a:?} {b:?} {c:?}");
        }
    }
}

/// A set that depends on the seed alone.
fn random(seed: u64) -> PathSet {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) % below
    };
    let mut set = PathSet::default();
    for _ in 0..draw(12) {
        let depth = 1 + draw(4) as u32;
        let mut one = PathSet::default();
        for at in 1..=depth {
            let (kind, text) = match draw(3) {
                0 => (StepKind::Value, ["0", "1", "2"][draw(3) as usize]),
                1 => (StepKind::Key, [r#"{"name":"a"}"#, r#"{"name":"b"}"#][draw(2) as usize]),
                _ => (StepKind::Field, ["x", "y", "z"][draw(3) as usize]),
            };
            one.push(at, Step { kind, text }, at == depth);
        }
        set = set.union(&one);
    }
    set
}

#[test]
fn laws() {
    for seed in 0..2_000 {
        let (a, b) = (random(seed), random(seed + 1));
        let (both, rest) = (a.intersection(&b), a.difference(&b));
        assert_eq!(set(&a.to_json()), a, "seed {seed}");
        assert_eq!(both.union(&rest), a, "seed {seed}");
        assert_eq!(both.len() + rest.len(), a.len(), "seed {seed}");
        assert_eq!(a.union(&b).difference(&b), rest, "seed {seed}");
        assert!(rest.intersection(&b).is_empty() && a.difference(&a).is_empty(), "seed {seed}");
        // What is looked for in a text is found there, whatever the order of its members.
        assert!(rest == a || b.may_meet(&a.to_json()), "seed {seed}");
        assert!(!PathSet::default().may_meet(&a.to_json()), "seed {seed}");
        assert_eq!(read::in_any_order(&a.to_json()), Ok(a.clone()), "seed {seed}");
        assert_eq!(a.is_within(&b), rest.is_empty(), "seed {seed}");
        let below = a.difference_below(&b);
        assert_eq!(below.difference(&rest), PathSet::default(), "seed {seed}");
        assert_eq!(below.difference_below(&b), below, "seed {seed}");
    }
}

#[test]
fn paths_are_found_in_texts() {
    let check = |sought: &str, text: &str, expected: bool| {
        assert_eq!(set(sought).may_meet(text), expected, "{sought} in {text}");
    };
    let text =
        r#"{"f:a":{".":{},"f:b":{}},"f:l":{"k:{\"name\":\"x\",\"port\":1}":{".":{},"f:c":{}}},"f:s":{"v:\"q\"":{}}}"#;
    check(r#"{"f:a":{}}"#, text, true);
    check(r#"{"f:a":{"f:b":{}}}"#, text, true);
    check(r#"{"f:a":{"f:c":{}}}"#, text, false);
    check(r#"{"f:b":{}}"#, text, false);
    check(r#"{"f:l":{"k:{\"port\":1,\"name\":\"x\"}":{"f:c":{}}}}"#, text, true);
    check(r#"{"f:l":{"k:{\"port\":2,\"name\":\"x\"}":{"f:c":{}}}}"#, text, false);
    check(r#"{"f:s":{"v:\"q\"":{}}}"#, text, true);
    check(r#"{"f:s":{"v:\"r\"":{}}}"#, text, false);
    // Another order, another way to escape, and blanks.
    check(r#"{"f:a":{"f:b":{}}}"#, " { \"f:z\" : {} , \"f:\\u0061\" : { \"f:b\" : { } } } ", true);
    // What cannot be read must be looked at closely.
    check(r#"{"f:a":{}}"#, "{", true);
}

#[test]
fn paths_that_begin_with_one_of_a_few() {
    let check = |text: &str, patterns: &[&[&str]], expected: &str| {
        let step = |name: &&str| (*name != "*").then(|| Box::from(*name));
        let patterns: Vec<Pattern> = patterns.iter().map(|pattern| pattern.iter().map(step).collect()).collect();
        assert_eq!(PathSet::read(text).unwrap().into_matching(&patterns).to_json(), expected, "{text} {patterns:?}");
    };
    let text = r#"{"f:a":{".":{},"f:b":{},"k:{\"n\":\"1\"}":{".":{},"f:c":{},"f:d":{"f:e":{}}}},"f:z":{}}"#;
    check(text, &[], "{}");
    check(text, &[&["a"]], r#"{"f:a":{".":{},"f:b":{},"k:{\"n\":\"1\"}":{".":{},"f:c":{},"f:d":{"f:e":{}}}}}"#);
    check(text, &[&["a", "b"], &["z"]], r#"{"f:a":{"f:b":{}},"f:z":{}}"#);
    check(text, &[&["a", "*", "d"]], r#"{"f:a":{"k:{\"n\":\"1\"}":{"f:d":{"f:e":{}}}}}"#);
    check(text, &[&["a", "*", "x"], &["b"]], "{}");
}

/// Upstream names what ends at a place before what leads on from it, and strings as Go quotes them.
#[test]
fn paths_stand_in_the_order_of_upstream() {
    let check =
        |fields: &str, expected: &[&str]| assert_eq!(PathSet::read(fields).unwrap().paths(), expected, "{fields}");
    check(
        r#"{"f:a":{"f:z":{},"f:y":{"f:x":{}}},"f:b":{},"f:c":{".":{},"f:d":{}}}"#,
        &[".b", ".c", ".a.z", ".a.y.x", ".c.d"],
    );
    check(
        r#"{"f:l":{"k:{\"name\":\"<\u00e9\",\"port\":80}":{".":{},"f:name":{}}},"f:s":{"v:\"a\\\"&\"":{},"v:true":{}}}"#,
        &[".l[name=\"<\u{e9}\",port=80]", ".l[name=\"<\u{e9}\",port=80].name", r#".s[="a\"&"]"#, ".s[=true]"],
    );
}
