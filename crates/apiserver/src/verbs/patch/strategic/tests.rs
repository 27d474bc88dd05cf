#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn patched(kind: &str, object: &Value, patch: &Value) -> Result<Value, String> {
    let schema = portcullis_kinds::schema();
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    let ty = schema.by_kind(api_version, kind).unwrap();
    let (mut object, mut patch) = (object.as_object().unwrap().clone(), patch.as_object().unwrap().clone());
    apply(schema, ty, &mut object, &mut patch).map_err(|error| error.to_string())?;
    Ok(Value::Object(object))
}

fn check(object: Value, patch: Value, expected: Value) {
    assert_eq!(patched("Pod", &object, &patch), Ok(expected), "{object} {patch}");
}

fn refuse(object: Value, patch: Value, expected: &str) {
    assert_eq!(patched("Pod", &object, &patch), Err(expected.to_owned()), "{object} {patch}");
}

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

fn containers(list: Value) -> Value {
    spec(json!({"containers": list}))
}

fn finalizers(list: Value) -> Value {
    json!({"metadata": {"finalizers": list}})
}

#[test]
fn maps_are_merged() {
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    check(
        labels(json!({"a": "1", "b": "2"})),
        labels(json!({"a": null, "c": "3"})),
        labels(json!({"b": "2", "c": "3"})),
    );
    check(labels(json!({"a": "1"})), labels(json!({"$patch": "replace", "b": "2"})), labels(json!({"b": "2"})));
    check(labels(json!({"a": "1"})), labels(json!({"$patch": "replace", "b": null})), labels(json!({"b": null})));
    check(labels(json!({"a": "1"})), labels(json!({"$patch": "delete"})), labels(json!({})));
    check(labels(json!({"a": "1"})), labels(Value::Null), json!({"metadata": {}}));
    check(json!({}), labels(json!({"a": null, "b": "1"})), labels(json!({"b": "1"})));
    check(json!({}), labels(json!({"$patch": "delete"})), json!({"metadata": {}}));
    check(json!({}), spec(json!({"x": null, "nodeName": "n"})), spec(json!({"nodeName": "n"})));
    check(spec(json!({"nodeName": "n"})), json!({"$patch": "replace", "a": 1}), json!({"a": 1}));
    check(labels(json!({"a": "1"})), labels(json!({"a": {"$patch": "merge"}})), labels(json!({})));
    // What takes the place of something else keeps directives that have names of their own.
    check(json!({}), spec(json!({"$retainKeys": ["a"]})), spec(json!({"$retainKeys": ["a"]})));
}

#[test]
fn lists_with_keys_are_merged() {
    let both = || containers(json!([{"name": "a", "image": "1"}, {"name": "b"}]));
    check(
        both(),
        containers(json!([{"name": "a", "image": "2"}])),
        containers(json!([{"name": "a", "image": "2"}, {"name": "b"}])),
    );
    check(both(), containers(json!([{"name": "a", "$patch": "delete"}])), containers(json!([{"name": "b"}])));
    check(both(), containers(json!([{"$patch": "replace"}, {"name": "c"}])), containers(json!([{"name": "c"}])));
    check(both(), containers(json!([{"$patch": "replace"}])), containers(json!([])));
    check(
        both(),
        containers(json!([{"name": "d"}, {"name": "c"}, {"$patch": "replace"}, {"name": "a", "$patch": "delete"}])),
        containers(json!([{"name": "d"}, {"name": "c"}])),
    );
    check(
        both(),
        containers(json!([{"name": "c", "image": null}])),
        containers(json!([{"name": "c", "image": null}, {"name": "a", "image": "1"}, {"name": "b"}])),
    );
    check(both(), containers(json!([])), both());
    check(both(), containers(Value::Null), spec(json!({})));
    check(
        json!({}),
        containers(json!([{"name": "a", "image": null}, {"$patch": "delete", "name": "b"}])),
        containers(json!([{"name": "a"}])),
    );
    let ports = |ports: Value| containers(json!([{"name": "a", "ports": ports}]));
    check(
        ports(json!([{"containerPort": 80, "protocol": "TCP"}])),
        ports(json!([{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}])),
        ports(json!([{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}])),
    );
    // Lists without a strategy are replaced as they stand.
    let tolerations = |list: Value| spec(json!({"tolerations": list}));
    check(
        tolerations(json!([{"key": "a"}])),
        tolerations(json!([{"$patch": "delete", "key": "b", "value": null}])),
        tolerations(json!([{"$patch": "delete", "key": "b", "value": null}])),
    );
}

#[test]
fn lists_of_values_are_sets() {
    check(finalizers(json!(["a", "b"])), finalizers(json!(["c", "a"])), finalizers(json!(["c", "a", "b"])));
    check(finalizers(json!(["a", "b"])), finalizers(json!(["c", "c"])), finalizers(json!(["c", "a", "b"])));
    check(finalizers(json!(["a", "b"])), finalizers(json!([])), finalizers(json!(["a", "b"])));
    let delete = |list: Value| json!({"metadata": {"$deleteFromPrimitiveList/finalizers": list}});
    check(finalizers(json!(["a", "b"])), delete(json!(["a", "x"])), finalizers(json!(["b"])));
    check(finalizers(json!(["a"])), delete(json!("a")), finalizers(json!(["a"])));
    check(finalizers(json!(["a"])), delete(Value::Null), json!({"metadata": {}}));
    check(json!({"metadata": {}}), delete(json!(["a"])), json!({"metadata": {}}));
    check(
        finalizers(json!(["a", "b"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}),
        finalizers(json!(["c", "b"])),
    );
    // Where the lists are of maps, it is a merge like any other.
    check(
        containers(json!([{"name": "a"}])),
        spec(json!({"$deleteFromPrimitiveList/containers": [{"name": "a", "image": "x"}]})),
        containers(json!([{"name": "a", "image": "x"}])),
    );
}

#[test]
fn orders_are_kept() {
    let ordered = |order: Value, list: Value| spec(json!({"$setElementOrder/containers": order, "containers": list}));
    let only = |order: Value| spec(json!({"$setElementOrder/containers": order}));
    let named = |names: &str| {
        let items: Vec<Value> = names.chars().map(|name| json!({"name": name.to_string()})).collect();
        Value::Array(items)
    };
    let row =
        |held: &str, patch: Value, expected: &str| check(containers(named(held)), patch, containers(named(expected)));
    row("abc", only(named("ca")), "bca");
    row("abc", only(named("cba")), "cba");
    row("abc", only(named("x")), "abc");
    row("abc", only(json!([])), "abc");
    row("xab", only(named("ba")), "xba");
    row("axb", only(named("ba")), "xba");
    row("ab", ordered(named("cab"), named("c")), "cab");
    row("abx", ordered(named("acb"), named("c")), "acbx");
    row("ab", ordered(named("cab"), json!([{"name": "c"}, {"$patch": "delete", "name": "b"}])), "ca");
    // What was added in the room of what was deleted has its place from there.
    row("abc", ordered(named("db"), json!([{"name": "d"}, {"$patch": "delete", "name": "a"}])), "cdb");
    row("abc", ordered(json!([]), named("de")), "abced");
    check(json!({"spec": {}}), ordered(named("ba"), named("ba")), containers(named("ba")));
    check(json!({"spec": {}}), only(named("ba")), json!({"spec": {}}));
    check(
        finalizers(json!(["a", "b", "c"])),
        json!({"metadata": {"$setElementOrder/finalizers": ["d", "c"], "finalizers": ["d"]}}),
        finalizers(json!(["d", "a", "b", "c"])),
    );
}

#[test]
fn keys_are_retained() {
    let strategy = |strategy: Value| spec(json!({"strategy": strategy}));
    let row = |held: Value, patch: Value, expected: Value| {
        assert_eq!(patched("Deployment", &strategy(held), &strategy(patch.clone())), Ok(strategy(expected)), "{patch}");
    };
    let held = || json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}});
    row(
        held(),
        json!({"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}),
        json!({"type": "Recreate"}),
    );
    row(held(), json!({"$retainKeys": ["type"]}), json!({"type": "RollingUpdate"}));
    row(held(), json!({"$retainKeys": []}), json!({}));
    row(
        held(),
        json!({"$retainKeys": ["type", "rollingUpdate"], "rollingUpdate": {"maxSurge": "10%"}}),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "10%"}}),
    );
    let volumes = |volumes: Value| spec(json!({"volumes": volumes}));
    check(
        volumes(json!([{"name": "v", "emptyDir": {}}])),
        volumes(json!([{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/"}}])),
        volumes(json!([{"name": "v", "hostPath": {"path": "/"}}])),
    );
}

#[test]
fn refusals() {
    let one = || containers(json!([{"name": "a"}]));
    refuse(
        one(),
        containers(json!([{"image": "a:2"}])),
        "map: map[image:a:2] does not contain declared merge key: name",
    );
    refuse(
        one(),
        containers(json!([{"$patch": "delete"}])),
        "map: map[$patch:delete] does not contain declared merge key: name",
    );
    refuse(
        one(),
        containers(json!([{"$patch": "replace"}, {"image": "x"}])),
        "map: map[image:x] does not contain declared merge key: name",
    );
    refuse(
        one(),
        containers(json!([{"$patch": "explode", "name": "a"}])),
        "unknown patch type: explode in map: map[$patch:explode name:a]",
    );
    refuse(
        one(),
        containers(json!([{"$patch": "merge", "name": "a"}])),
        "merging lists cannot yet be specified in the patch",
    );
    refuse(one(), spec(json!({"$patch": "merge", "a": 1})), "unknown patch type: merge in map: map[$patch:merge a:1]");
    refuse(one(), spec(json!({"$patch": 1})), "unknown patch type: %!s(int64=1) in map: map[$patch:1]");
    refuse(one(), spec(json!({"$patch": null})), "unknown patch type: %!s(<nil>) in map: map[$patch:<nil>]");
    refuse(one(), containers(json!(["a"])), "list element types are not identical: [[map[name:a]] [a]]");
    refuse(
        finalizers(json!(["a"])),
        finalizers(json!([["b"], "c"])),
        "list element types are not identical: [[a] [[b] c]]",
    );
    for keys in [json!("b"), json!(["b"]), json!({})] {
        let patch = spec(json!({"securityContext": {"$retainKeys": keys, "a": 2}}));
        refuse(spec(json!({"securityContext": {"a": 1}})), patch, "invalid patch format of retainKeys");
    }
    refuse(
        containers(json!([{"name": "a"}, {"name": "b"}])),
        spec(json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "image": "x"}]})),
        "The order in patch list:\n[map[image:x name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
    );
    let order = |order: Value| spec(json!({"$setElementOrder/containers": order}));
    refuse(one(), order(json!("a")), "expected a []interface {}, but received a string");
    refuse(one(), order(Value::Null), "expected a []interface {}, but received a %!s(<nil>)");
    refuse(one(), order(json!(["a"])), "value for key 0 is not a map.");
    refuse(one(), order(json!([{}])), "map: map[] does not contain declared merge key: name");
    refuse(containers(json!([])), order(json!([])), "no elements in any of the given slices");
    refuse(one(), spec(json!({"$setElementOrder": []})), "invalid patch format of setElementOrder list");
    refuse(one(), spec(json!({"$deleteFromPrimitiveList": ["a"]})), "invalid patch format of primitive list");
    refuse(
        one(),
        spec(json!({"$setElementOrder/x": []})),
        r#"unable to find api field in struct PodSpec for the json field "x""#,
    );
    refuse(one(), spec(json!({"$setElementOrder/affinity": []})), "expected slice or array type, but got: struct");
    refuse(
        json!({"metadata": {"labels": {"a": {}}}}),
        json!({"metadata": {"labels": {"a": {"b": 1}}}}),
        "merging an object in json but data type is not struct, instead is: map",
    );
}

#[test]
fn what_does_not_fit_is_named_by_its_kind() {
    let schema = portcullis_kinds::schema();
    let ty = TypeRef::Object(schema.by_kind("v1", "Pod").unwrap());
    let row = |mut value: Value, expected: Result<Value, &str>| {
        let given = value.clone();
        let converted = convert(schema, ty, &mut value).map(|()| value);
        assert_eq!(converted, expected.map_err(str::to_owned), "{given}");
    };
    let seconds = |value: Value| spec(json!({"activeDeadlineSeconds": value}));
    row(seconds(json!(3.0)), Ok(seconds(json!(3))));
    row(spec(json!({"priority": 4_294_967_297_i64})), Ok(spec(json!({"priority": 1}))));
    row(seconds(json!(3.5)), Err("cannot convert float64 to int64"));
    row(seconds(json!("3")), Err("unrecognized type: int64"));
    row(spec(json!({"priority": true})), Err("unrecognized type: int32"));
    row(spec(json!({"hostNetwork": 1})), Err("unrecognized type: bool"));
    row(spec(json!({"nodeName": 1})), Err("cannot convert int64 to string"));
    row(spec(json!({"nodeName": {}})), Err("unrecognized type: string"));
    row(spec(json!({"containers": {}})), Err("cannot restore slice from map"));
    row(spec(json!({"containers": [1]})), Err("cannot restore struct from: int64"));
    row(spec(json!("text")), Err("cannot restore struct from: string"));
    row(json!({"metadata": {"labels": ["a"]}}), Err("cannot restore map from slice"));
    row(
        json!({"metadata": {"labels": {"a": null}}, "spec": null}),
        Ok(json!({"metadata": {"labels": {"a": null}}, "spec": null})),
    );
}

/// The rules once more, as they are documented and as plainly as can be: what is in a merged list, and then where it stands.
mod model {
    use super::*;

    const KEYS: [(&str, &str); 4] =
        [("containers", "name"), ("env", "name"), ("ports", "containerPort"), ("volumes", "name")];

    pub fn merged(held: &Value, patch: &Value) -> Value {
        let (Some(held), Some(patch)) = (held.as_object(), patch.as_object()) else { return cleaned(patch) };
        match patch.get("$patch").and_then(Value::as_str) {
            Some("replace") => {
                return Value::Object(patch.clone().into_iter().filter(|(key, _)| key != "$patch").collect());
            }
            Some(_) => return json!({}),
            None => {}
        }
        let mut out = held.clone();
        if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
            out.retain(|key, _| kept.iter().any(|kept| kept == key));
        }
        for (key, wanted) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
            let value = match (out.get(key), wanted) {
                (_, Value::Null) => None,
                (Some(Value::Array(held)), Value::Array(wanted)) => Some(list(key, held, wanted)),
                (Some(held @ Value::Object(_)), wanted @ Value::Object(_)) => Some(merged(held, wanted)),
                (_, wanted) if wanted.get("$patch").is_some() => None,
                (_, wanted) => Some(cleaned(wanted)),
            };
            out.remove(key);
            out.extend(value.map(|value| (key.clone(), value)));
        }
        for (key, gone) in patch {
            let Some(key) = key.strip_prefix("$deleteFromPrimitiveList/") else { continue };
            if let (Some(Value::Array(held)), Value::Array(gone)) = (out.get_mut(key), gone) {
                held.retain(|value| !gone.contains(value));
            }
        }
        Value::Object(out)
    }

    fn list(name: &str, held: &[Value], wanted: &[Value]) -> Value {
        let key = KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
        let id = |value: &Value| key.map_or_else(|| value.clone(), |key| value[key].clone());
        if key.is_none() && name != "finalizers" {
            return json!(wanted);
        }
        let says = |value: &Value, what: &str| value.get("$patch").is_some_and(|directive| directive == what);
        let plain: Vec<&Value> = wanted.iter().filter(|value| value.get("$patch").is_none()).collect();
        if wanted.iter().any(|value| says(value, "replace")) {
            return json!(plain);
        }
        let is_gone = |value: &Value| wanted.iter().any(|other| says(other, "delete") && id(other) == id(value));
        let left: Vec<&Value> = held.iter().filter(|value| !is_gone(value)).collect();
        let place = |value: &Value| left.iter().position(|other| id(other) == id(value));
        // Those that only the object has stand before the first of the patch that stood behind them.
        let mut out: Vec<Value> = Vec::new();
        let mut rest = left.iter().filter(|value| !plain.iter().any(|other| id(other) == id(value))).peekable();
        for value in &plain {
            if out.iter().any(|other| id(other) == id(value)) {
                continue;
            }
            while rest.peek().is_some_and(|other| place(value).is_some_and(|place_of| place(other) < Some(place_of))) {
                out.extend(rest.next().map(|value| (*value).clone()));
            }
            out.push(match place(value) {
                Some(at) if key.is_some() => merged(left[at], value),
                _ => (*value).clone(),
            });
        }
        out.extend(rest.map(|value| (*value).clone()));
        Value::Array(out)
    }

    fn cleaned(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let kept = members.iter().filter(|(_, value)| !value.is_null() && value.get("$patch").is_none());
                Value::Object(kept.map(|(key, value)| (key.clone(), cleaned(value))).collect())
            }
            Value::Array(elements) => {
                elements.iter().filter(|value| value.get("$patch").is_none()).map(cleaned).collect()
            }
            other => other.clone(),
        }
    }
}

/// Numbers that are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// Some of these, in any order.
    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut left = of.to_vec();
        let count = self.below(of.len() as u64 + 1);
        (0..count).map(|_| left.swap_remove(self.below(left.len() as u64) as usize)).collect()
    }

    fn one_of(&mut self, of: &[Value]) -> Value {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn maybe(&mut self, object: &mut Value, key: &str, value: impl FnOnce(&mut Dice) -> Value) {
        if !self.one_in(3) {
            object[key] = value(self);
        }
    }

    fn items(&mut self, names: &[&str], is_patch: bool, item: fn(&mut Dice, &str, bool) -> Value) -> Value {
        let mut items = Vec::new();
        for name in self.some(names) {
            items.push(match self.below(12) {
                0..3 if is_patch => json!({"name": name, "$patch": "delete"}),
                3 if is_patch && self.one_in(3) => json!({"$patch": "replace"}),
                _ => item(self, name, is_patch),
            });
        }
        Value::Array(items)
    }

    fn labels(&mut self, is_patch: bool) -> Value {
        let mut labels = json!({});
        for key in self.some(&["k", "l", "m"]) {
            labels[key] = if is_patch && self.one_in(3) { Value::Null } else { json!(self.below(3).to_string()) };
        }
        if is_patch && self.one_in(8) {
            labels["$patch"] = self.one_of(&[json!("replace"), json!("delete")]);
        }
        labels
    }

    fn pod(&mut self, is_patch: bool) -> Value {
        let mut metadata = json!({});
        self.maybe(&mut metadata, "labels", |dice| dice.labels(is_patch));
        self.maybe(&mut metadata, "finalizers", |dice| json!(dice.some(&["s", "t", "u", "v"])));
        if is_patch && metadata.get("finalizers").is_none() {
            self.maybe(&mut metadata, "$deleteFromPrimitiveList/finalizers", |dice| json!(dice.some(&["s", "t", "x"])));
        }
        let mut spec = json!({});
        self.maybe(&mut spec, "containers", |dice| dice.items(&["a", "b", "c", "d", "e"], is_patch, container));
        self.maybe(&mut spec, "tolerations", |dice| dice.one_of(&[json!([]), json!([{"key": "a"}])]));
        self.maybe(&mut spec, "volumes", |dice| dice.items(&["v", "w"], is_patch, volume));
        if is_patch && self.one_in(8) {
            spec["containers"] = Value::Null;
        }
        json!({"metadata": metadata, "spec": spec})
    }
}

fn container(dice: &mut Dice, name: &str, is_patch: bool) -> Value {
    let mut container = json!({"name": name});
    let images = [json!("x"), json!("y"), if is_patch { Value::Null } else { json!("z") }];
    dice.maybe(&mut container, "image", |dice| dice.one_of(&images));
    dice.maybe(&mut container, "args", |dice| json!(dice.some(&["p", "q"])));
    dice.maybe(&mut container, "env", |dice| dice.items(&["U", "V", "W"], is_patch, variable));
    container
}

fn variable(dice: &mut Dice, name: &str, _: bool) -> Value {
    json!({"name": name, "value": dice.below(3).to_string()})
}

fn volume(dice: &mut Dice, name: &str, is_patch: bool) -> Value {
    match (dice.below(2), is_patch) {
        (0, false) => json!({"name": name, "emptyDir": {}}),
        (0, true) => json!({"$retainKeys": ["name", "emptyDir"], "name": name, "emptyDir": {}}),
        (_, false) => json!({"name": name, "hostPath": {"path": "/"}}),
        (_, true) => json!({"name": name, "hostPath": {"path": "/x"}, "emptyDir": null}),
    }
}

#[test]
fn random_patches_do_what_the_model_does() {
    let mut changed = 0;
    for seed in 1..=20_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (pod, patch) = (dice.pod(false), dice.pod(true));
        let expected = model::merged(&pod, &patch);
        assert_eq!(patched("Pod", &pod, &patch), Ok(expected.clone()), "seed {seed}: {pod} {patch}");
        changed += usize::from(expected != pod);
    }
    assert!(changed > 10_000, "only {changed} patches changed anything");
}

#[test]
fn lists_that_are_merged_again_and_again_are_refused() {
    let env = |count: usize| -> Vec<Value> { (0..count).map(|at| json!({"name": format!("e{at}")})).collect() };
    let held = |env: Vec<Value>| containers(json!([{"name": "a", "env": env}]));
    let again =
        |count: usize| containers(json!(vec![json!({"name": "a", "env": [{"name": "e0", "value": "x"}]}); count]));
    let merge = |env, count| patched("Pod", &held(env), &again(count)).map(|_| ());
    assert_eq!(merge(env(1_000), 100), Ok(()));
    let refused = Err(StrategicError::TooLong.to_string());
    assert_eq!(merge(env(1_000), 1_000), refused);
    // Few elements with much in them are as many.
    let long = vec![json!({"name": "long", "value": "x".repeat(MERGED_MAX / 10 * TEXT_BYTES)})];
    assert_eq!(merge(long.clone(), 2), Ok(()));
    assert_eq!(merge(long, 20), refused);
}
