#![allow(clippy::unwrap_used)]
use super::*;

fn read(text: &str) -> Result<String, String> {
    to_json(text.as_bytes()).map(|read| String::from_utf8(read.json).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn scalars_mean_what_yaml_1_1_says() {
    fn check(text: &str, expected: &str) {
        assert_eq!(read(&format!("[{text}]")).as_deref(), Ok(format!("[{expected}]").as_str()), "{text}");
    }
    for yes in ["yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "true", "True", "TRUE"] {
        check(yes, "true");
    }
    for no in ["no", "No", "NO", "off", "Off", "OFF", "n", "N", "false", "False", "FALSE"] {
        check(no, "false");
    }
    for null in ["~", "null", "Null", "NULL"] {
        check(null, "null");
    }
    for text in
        ["yEs", "tRUE", "nUll", "a", "1a", "0x", "0b12", "0o8", "1.2.3", "1:30", "2026-01-02", "e3", "--1", "1e400"]
    {
        check(text, &format!("\"{text}\""));
    }
    check("0", "0");
    check("0777", "511");
    check("0o17", "15");
    check("0x1F", "31");
    check("0b101", "5");
    check("-0x10", "-16");
    check("+5", "5");
    check("1_000", "1000");
    check("08", "8");
    check("9223372036854775807", "9223372036854775807");
    check("-9223372036854775808", "-9223372036854775808");
    check("18446744073709551615", "18446744073709551615");
    check("18446744073709551616", "18446744073709552000");
    check("1.5", "1.5");
    check(".5", "0.5");
    check(".0_2", "0.02");
    check("._2", "\"._2\"");
    check("5.", "5");
    check("1e3", "1000");
    check("1E-7", "1e-7");
    check("1.0", "1");
    check("'yes'", "\"yes\"");
    check("\"1\"", "\"1\"");
    check("!!str 1", "\"1\"");
    check("! 1", "\"1\"");
    check("!mine 1", "\"1\"");
    check("!!int \"1\"", "1");
    check("!!float 1", "1");
    check("!!binary aGVsbG8=", "\"hello\"");
    check("\"\\x41\\u00e9\\n\\e\"", "\"Aé\\n\\u001b\"");
    check("a<b>&", "\"a\\u003cb\\u003e\\u0026\"");
}

#[test]
fn documents_become_json() {
    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    check("", "null");
    check("# only a comment\n", "null");
    check("---\n", "null");
    check("b: 1\na: 2\n", r#"{"a":2,"b":1}"#);
    check("a:\n- b\n-\n- c: 1\n  d:\n  - 1\n", r#"{"a":["b",null,{"c":1,"d":[1]}]}"#);
    check("{\"a\": [1, true, null], \"b\": {}}", r#"{"a":[1,true,null],"b":{}}"#);
    check("a: 1\n---\nb: [\n", r#"{"a":1}"#);
    check("\u{feff}a: 1\r\nb: 2\r\n", r#"{"a":1,"b":2}"#);
    check("1: a\ntrue: b\n1.5: c\n1e6: d\ny: e\n", r#"{"1":"a","1.5":"c","1e+06":"d","true":"e"}"#);
    check("a: |\n  x\n   y\n", r#"{"a":"x\n y\n"}"#);
    check("a: |\n  x", r#"{"a":"x"}"#);
    check("a: >-\n  x\n  y\n\n  z\n", r#"{"a":"x y\nz"}"#);
    check("a: |+\n  x\n\n", r#"{"a":"x\n\n"}"#);
    check("a: x\n  y\n", r#"{"a":"x y"}"#);
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    check("a: &x [1, {b: 2}]\nc: *x\n", r#"{"a":[1,{"b":2}],"c":[1,{"b":2}]}"#);
    check("a: &x k\n*x : v\n", r#"{"a":"k","k":"v"}"#);
    check("a: &x 1\nb: &x 2\nc: *x\n", r#"{"a":1,"b":2,"c":2}"#);
    check("a: &a {x: 1, z: 2}\nb:\n  <<: *a\n  z: 3\n", r#"{"a":{"x":1,"z":2},"b":{"x":1,"z":3}}"#);
    check(
        "a: &a {x: 1}\nb: &b {x: 2, z: 2}\nc:\n  <<: [*a, *b]\n",
        r#"{"a":{"x":1},"b":{"x":2,"z":2},"c":{"x":1,"z":2}}"#,
    );
    check("<<: {a: 1}\nb: 2\n", r#"{"a":1,"b":2}"#);
    check("\"<<\": 1\n", r#"{"\u003c\u003c":1}"#);
}

#[test]
fn broken_documents_are_refused_in_upstream_words() {
    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
    check("a:\n\tb: 1\n", "yaml: line 2: found character that cannot start any token");
    check("x: 1\ny: @foo\n", "yaml: line 2: found character that cannot start any token");
    check("x: 1\na: b: c\n", "yaml: line 2: mapping values are not allowed in this context");
    check("a: b: c\n", "yaml: mapping values are not allowed in this context");
    check("a: b\nc\nd: e\n", "yaml: line 3: could not find expected ':'");
    check("a:\n  b: 1\n c: 2\n", "yaml: line 2: did not find expected key");
    check("spec:\n  a: 'it's'\n  b: 1\n", "yaml: line 1: did not find expected key");
    check("a:\n  - b\n  c: d\n", "yaml: line 2: did not find expected '-' indicator");
    check("a: \"abc\nb: 1\n", "yaml: line 3: found unexpected end of stream");
    check("a: {b: 1\n", "yaml: line 1: did not find expected ',' or '}'");
    check("x: 1\na: \"\\q\"\n", "yaml: line 2: found unknown escape character");
    check("a: *nope\n", "yaml: unknown anchor 'nope' referenced");
    check("a: &a [*a]\n", "yaml: anchor 'a' value contains itself");
    check("a: &a {<<: *a}\n", "yaml: anchor 'a' value contains itself");
    check("<<: 1\n", "yaml: map merge requires map or sequence of maps as the value");
    check("a: !!int x\n", "yaml: cannot decode !!str `x` as a !!int");
    check("a: !!binary \"**\"\n", "yaml: !!binary value contains invalid base64 data");
    check("a: .nan\n", "json: unsupported value: NaN");
    check("a: -.inf\n", "json: unsupported value: -Inf");
    check("? [a]\n: b\n", "yaml: invalid map key");
    check("~: a\n", "unsupported map key of type: %!s(<nil>)");
    check("a: \u{1}\n", "yaml: control characters are not allowed");
    assert_eq!(to_json(b"a: \xff\n").unwrap_err().to_string(), "yaml: invalid leading UTF-8 octet");
}

#[test]
fn a_bomb_is_refused() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"]) {
        text.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
    }
    let excessive = "yaml: document contains excessive aliasing";
    assert_eq!(read(&text).unwrap_err(), excessive);

    // Few nodes, but long ones: as text, as a number that is read again and again, as a merged key.
    let long = "x".repeat(1 << 20);
    assert_eq!(read(&format!("- &a {long}\n{}", "- *a\n".repeat(90))).unwrap_err(), excessive);
    let zeros = "0".repeat(1 << 20);
    assert_eq!(read(&format!("- &a {zeros}\n{}", "- *a\n".repeat(90))).unwrap_err(), excessive);
    let key = "k".repeat(1000);
    assert_eq!(read(&format!("a: &a {{{key}: 1}}\nb: {{<<: [{}]}}\n", "*a,".repeat(90_000))).unwrap_err(), excessive);
}

#[test]
fn depth_and_size_are_limited() {
    for opening in ["[", "{a: ", "- ", "? "] {
        let error = read(&opening.repeat(20_000)).unwrap_err();
        assert!(error.ends_with("exceeded max depth of 1000"), "{opening}: {error}");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(&nested(DEPTH_MAX)), Ok(nested(DEPTH_MAX)));
    assert_eq!(from_json("[".repeat(20_000).as_bytes()).unwrap_err().to_string(), "yaml: exceeded max depth of 1000");
    assert_eq!(from_json(nested(DEPTH_MAX).as_bytes()).map(|yaml| yaml.len()), Ok(DEPTH_MAX * 2 + 1));
    let many = format!("[{}]", "1,".repeat(NODES_MAX));
    assert_eq!(read(&many).unwrap_err(), "yaml: the number of values is more than 1000000");
    let long = vec![b' '; INPUT_LEN_MAX + 1];
    assert_eq!(to_json(&long).unwrap_err().to_string(), "yaml: the length in bytes is more than 16777216");
}

#[test]
fn duplicate_keys_are_reported_and_the_last_counts() {
    fn check(text: &str, json: &str, duplicates: Option<&str>) {
        let read = to_json(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(read.json).unwrap(), json);
        assert_eq!(read.duplicates.as_deref(), duplicates, "{text}");
    }
    check("a: 1\nb: 2\n", r#"{"a":1,"b":2}"#, None);
    check("a: 1\na: 2\n", r#"{"a":2}"#, Some("yaml: unmarshal errors:\n  line 2: key \"a\" already set in map"));
    check(
        "a: 1\nb: {c: 1, c: 2}\na: 3\n",
        r#"{"a":3,"b":{"c":2}}"#,
        Some("yaml: unmarshal errors:\n  line 2: key \"c\" already set in map\n  line 3: key \"a\" already set in map"),
    );
    check("1: a\n1: b\n", r#"{"1":"b"}"#, Some("yaml: unmarshal errors:\n  line 2: key 1 already set in map"));
    check("1: a\n\"1\": b\n", r#"{"1":"b"}"#, None);
    check(
        "true: a\nyes: b\n",
        r#"{"true":"b"}"#,
        Some("yaml: unmarshal errors:\n  line 2: key true already set in map"),
    );
    check("<<: {a: 1}\na: 2\n", r#"{"a":2}"#, Some("yaml: unmarshal errors:\n  line 2: key \"a\" already set in map"));
}

#[test]
fn json_becomes_yaml() {
    fn check(json: &str, expected: &str) {
        assert_eq!(from_json(json.as_bytes()).as_deref(), Ok(expected), "{json}");
        // What was written reads back as what it was.
        let back = read(expected).unwrap();
        assert_eq!(from_json(back.as_bytes()).as_deref(), Ok(expected), "{json}");
    }
    check("{}", "{}\n");
    check("[]", "[]\n");
    check("null", "null\n");
    check(r#"{"b":1,"a":{"c":[]}}"#, "a:\n  c: []\nb: 1\n");
    check(r#"{"a":[{"b":1,"c":[1,[2,3]]},{}]}"#, "a:\n- b: 1\n  c:\n  - 1\n  - - 2\n    - 3\n- {}\n");
    check(
        r#"{"a":true,"b":false,"c":null,"d":-5,"e":1.5,"f":1e21,"g":0.00001}"#,
        "a: true\nb: false\nc: null\nd: -5\ne: 1.5\nf: 1e+21\ng: 1e-05\n",
    );
    check(
        r#"{"a":"","b":"yes","c":"1","d":"null","e":"1.5","f":"0x1F","g":"y"}"#,
        "a: \"\"\nb: \"yes\"\nc: \"1\"\nd: \"null\"\ne: \"1.5\"\nf: \"0x1F\"\ng: \"y\"\n",
    );
    check(
        r#"{"t":"2026-01-02T03:04:05Z","u":"2026-1-2","v":"2026-13-02","w":"1:30"}"#,
        "t: \"2026-01-02T03:04:05Z\"\nu: \"2026-1-2\"\nv: 2026-13-02\nw: \"1:30\"\n",
    );
    check(
        r##"{"a":"x: y","b":"- x","c":"#x","d":"x #y","e":"x#y","f":"@x","g":"a:b"}"##,
        "a: 'x: y'\nb: '- x'\nc: '#x'\nd: 'x #y'\ne: x#y\nf: '@x'\ng: a:b\n",
    );
    check(
        r#"{"a":" x","b":"x ","c":"it's","d":"'x'","e":"\"x\"","f":"[x]"}"#,
        "a: ' x'\nb: 'x '\nc: it's\nd: '''x'''\ne: '\"x\"'\nf: '[x]'\n",
    );
    check(
        r#"{"a":"x\ny","b":"x\n","c":"x\n\n","d":"\nx","e":" x\n"}"#,
        "a: |-\n  x\n  y\nb: |\n  x\nc: |+\n  x\n\nd: |2-\n\n  x\ne: |2\n   x\n",
    );
    check(
        r#"{"a":"x\ty","b":"x \ny","c":"\u0007","d":"é日😀"}"#,
        "a: \"x\\ty\"\nb: \"x \\ny\"\nc: \"\\a\"\nd: \"é日\\U0001F600\"\n",
    );
    check(r#"{"a2":1,"a10":2,"a":3,"B":4,"1":5,"_":6}"#, "_: 6\n\"1\": 5\nB: 4\na: 3\na2: 1\na10: 2\n");
    let long = "word ".repeat(20);
    check(
        &format!("{{\"a\":\"{}\"}}", long.trim_end()),
        &format!("a: {}\n  {}\n", "word ".repeat(16).trim_end(), "word ".repeat(4).trim_end()),
    );
    let key = "k".repeat(129);
    check(&format!("{{\"{key}\":{{\"a\":1}}}}"), &format!("? {key}\n: a: 1\n"));
    assert_eq!(from_json(b"{\"a\":1,\"a\":2}").as_deref(), Ok("a: 2\n"));
    assert_eq!(from_json(br#""\ud83d\u2028\ud83d""#).as_deref(), Ok("\"\u{fffd}\\L\u{fffd}\"\n"));
}

#[test]
fn keys_in_no_total_order_are_sorted_all_the_same() {
    let yaml = from_json(br#"{"0b":1,"1.5":2,"08":3}"#).unwrap();
    assert_eq!(yaml.lines().count(), 3);
    let names: Vec<String> =
        (0..400).map(|n| format!("\"{}{}\":0", n % 7, ["8", "b", ".5", "/", "08"][n % 5])).collect();
    assert!(from_json(format!("{{{}}}", names.join(",")).as_bytes()).is_ok());
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "[1 2]",
        "01",
        "nul",
        "\"a",
        "\"\\q\"",
        "[}",
        "1 2",
        "\"\n\"",
    ] {
        assert!(matches!(from_json(text.as_bytes()), Err(YamlError::Json { .. })), "{text}");
    }
}

/// Numbers that look random and are the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[test]
fn mutated_documents_never_panic_and_come_out_as_json() {
    const SEED: u64 = 0x5eed_2026;
    const PIECES: [&str; 24] = [
        " ", "\n", "\t", ":", "-", "[", "]", "{", "}", ",", "\"", "'", "#", "&a ", "*a", "!!int ", "|", ">", "? ",
        "<<: ", "%", "\n  ", "é", "\u{2028}",
    ];
    const DOCUMENT: &str = "a: &a {x: 1, y: [1.5, ~, 'q']}\nb:\n  <<: *a\n  c: |\n    text\n  - d\ne: \"f\\n\"\n";
    let mut dice = Dice(SEED);
    for round in 0..5_000 {
        let mut text = DOCUMENT.to_owned();
        for _ in 0..=dice.below(4) {
            let at = dice.below(text.len());
            let at = (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            if dice.below(3) == 0 {
                text.truncate(at);
                text.push(' ');
            }
            text.insert_str(at, PIECES[dice.below(PIECES.len())]);
        }
        if let Ok(read) = to_json(text.as_bytes()) {
            let yaml = from_json(&read.json);
            assert!(yaml.is_ok(), "seed {SEED:#x}, round {round}: {text:?} became {:?}", read.json);
        }
    }
}
