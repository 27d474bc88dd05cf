//! How events are put together.
#![allow(clippy::unwrap_used)]

use super::*;

fn event(annotations: &[(&str, &str)], request_object: Option<&'static str>) -> Event {
    Event {
        stage: Stage::ResponseComplete,
        is_stranger: false,
        request: RequestText::default(),
        acting: String::new(),
        object: None,
        outcome: String::new(),
        request_object: request_object.map(Bytes::from),
        response_object: None,
        rest: Rest::new(0, 0, annotations.iter().copied()),
    }
}

#[test]
fn what_is_left_out_is_marked() {
    let check = |annotations: &[(&str, &str)], object: Option<&'static str>, expected: &str| {
        let mut line = String::new();
        event(annotations, object).render(Objects::Truncated, &mut line);
        let at = line.find(r#""annotations""#).unwrap();
        assert_eq!(&line[at..], format!("\"annotations\":{{{expected}}}}}"));
    };
    let mark = r#""audit.k8s.io/truncated":"true""#;
    check(&[], Some("{}"), mark);
    check(&[("a", "1")], Some("{}"), &format!(r#""a":"1",{mark}"#));
    check(&[("z", "1")], Some("{}"), &format!(r#"{mark},"z":"1""#));
    check(&[("a", "1"), ("b", "2"), ("z", "3")], Some("{}"), &format!(r#""a":"1",{mark},"b":"2","z":"3""#));
    check(&[("a", "1"), ("z", "3")], None, r#""a":"1","z":"3""#);
}

#[test]
fn an_event_does_not_show_its_objects_in_a_log() {
    assert_eq!(format!("{:?}", event(&[], Some("secret"))), "Event { stage: ResponseComplete, .. }");
}
