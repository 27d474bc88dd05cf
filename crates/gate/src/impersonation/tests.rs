#![allow(clippy::unwrap_used)]

use super::*;

fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    rows.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn an_impersonated_identity_has_the_groups_its_name_implies() {
    let check = |rows: &[(&'static str, &'static str)], groups: &[&str]| {
        let identity = Wanted::from_headers(&headers(rows)).unwrap().unwrap().into_identity();
        assert_eq!(identity.groups, groups, "{rows:?}");
    };
    let user = "impersonate-user";
    let group = "impersonate-group";
    check(&[(user, "bo")], &["system:authenticated"]);
    check(&[(user, "bo"), (group, "harbor"), (group, "pier")], &["harbor", "pier", "system:authenticated"]);
    check(&[(user, "bo"), (group, "system:authenticated")], &["system:authenticated"]);
    check(&[(user, "bo"), (group, "system:unauthenticated")], &["system:unauthenticated"]);
    check(&[(user, "system:anonymous")], &["system:unauthenticated"]);
    check(
        &[(user, "system:serviceaccount:default:sa")],
        &["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
    );
    check(&[(user, "system:serviceaccount:default:sa"), (group, "x")], &["x", "system:authenticated"]);
    check(&[(user, "system:serviceaccount:default")], &["system:authenticated"]);
    check(&[(user, "system:serviceaccount:a:b:c")], &["system:authenticated"]);
}

#[test]
fn headers_ask_for_an_identity_or_nothing_or_are_refused() {
    let read = |rows: &[(&'static str, &'static str)]| Wanted::from_headers(&headers(rows));
    assert_eq!(read(&[("impersonate-user", "")]), Ok(None));
    assert_eq!(read(&[("impersonate-boat", "x")]), Ok(None));
    for rows in [[("impersonate-group", "harbor")], [("impersonate-uid", "7")], [("impersonate-extra-scopes", "view")]]
    {
        assert!(
            matches!(read(&rows), Err(Refusal::BadRequest { message }) if message.ends_with("without impersonating a user name"))
        );
    }
    let wanted = read(&[
        ("impersonate-user", "bo"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-scopes", "view"),
        ("impersonate-extra-scopes", "edit"),
        ("impersonate-extra-acme.com%2fproject", "x"),
        ("impersonate-extra-bad%zz", "y"),
    ]);
    let extra = wanted.unwrap().unwrap().extra;
    let extra: Vec<_> = extra.iter().map(|(key, values)| (key.as_str(), values.join(","))).collect();
    assert_eq!(
        extra,
        [("acme.com/project", "x".to_owned()), ("bad%zz", "y".to_owned()), ("scopes", "view,edit".to_owned()),]
    );
}

#[test]
fn an_identity_has_a_limit() {
    let mut headers = headers(&[("impersonate-user", "bo")]);
    for _ in 0..=PARTS_MAX {
        headers.append(GROUP, HeaderValue::from_static("g"));
    }
    assert!(matches!(Wanted::from_headers(&headers), Err(Refusal::BadRequest { .. })));
}
