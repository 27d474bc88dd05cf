//! Random bodies: objects of a type with whatever its fields may hold, and mutations of bytes. The same seed gives the same bodies.

use portcullis_model::schema::{Alternative, Schema, TypeId, TypeRef};

/// Deepest nesting of what is made.
const DEPTH_MAX: usize = 7;
/// What a mutation may put in: what parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud83d",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1e400",
    b"2147483648",
    b"9223372036854775808",
    b"0.1",
    b"\"\"",
    b"{}",
    b"[]",
    b" ",
    b"\n",
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"<",
    b"\"kind\":",
    b"\"metadata\":{",
    b"\"x\":1,",
    b"\x08\x01",
    b"\x0a\x00",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"k8s\x00",
    b"\x0b\x0c",
    b"- ",
    b"? ",
    b"&a",
    b"*a",
    b"!!binary ",
    b"|\n",
    b"---\n",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "web",
    "kept for the tide tables",
    "<b>&</b>",
    "line\u{2028}end",
    "\u{e9}\u{1f30a}",
    "\"\\\n\t\u{1}",
    "01234567",
    "ClusterIP",
    "Always",
];
const QUANTITIES: &[&str] =
    &["0", "1", "100m", "1.5Gi", "1e3", "-2Ki", "0.000000001", "12345678901234567890", "1500m", "3E"];
const TIMES: &[&str] = &["2026-01-02T03:04:05Z", "1999-12-31T23:59:59+02:00", "0001-01-01T00:00:00Z"];
const MICRO_TIMES: &[&str] = &["2026-01-02T03:04:05.000006Z", "2026-01-02T03:04:05.120000+01:00"];
const FREE: &[&str] = &["1", "\"x<y\"", "{\"b\":[1, 2.50,null],\"a\":{}}", "[ ]", "true", "\"\\u003c\\n\""];
const NUMBERS: &[i64] = &[0, 1, -1, 7, 8080, 2_147_483_647, -2_147_483_648];

/// xorshift64*: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; any seed will do.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn one_of<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// A valid object of a type as JSON text, with members in any order and white space here and there.
pub fn object(schema: &Schema, ty: TypeId, random: &mut Random) -> String {
    let mut out = String::new();
    push_object(schema, ty, random, 0, &mut out);
    out
}

fn push_object(schema: &Schema, ty: TypeId, random: &mut Random, depth: usize, out: &mut String) {
    let fields = &schema.ty(ty).fields;
    let mut order: Vec<usize> = (0..fields.len()).collect();
    if random.once_in(2) {
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at + 1));
        }
    }
    out.push('{');
    let mut first = true;
    for number in order {
        let field = &fields[number];
        // Most fields at the top, and about six of each type below.
        let is_left_out = if depth == 0 { random.once_in(8) } else { random.below(fields.len().max(8)) >= 6 };
        if is_left_out {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        // Now and then a field comes again, or one that nobody declared.
        if random.once_in(32) {
            push_member(schema, &field.name, field.ty, random, depth, out);
            out.push(',');
        }
        if random.once_in(64) {
            push_member(schema, "bogus", TypeRef::Json, random, depth, out);
            out.push(',');
        }
        push_member(schema, &field.name, field.ty, random, depth, out);
    }
    push_space(random, out);
    out.push('}');
}

fn push_member(schema: &Schema, name: &str, ty: TypeRef, random: &mut Random, depth: usize, out: &mut String) {
    push_space(random, out);
    out.push_str(&format!("\"{name}\":"));
    push_space(random, out);
    push_value(schema, ty, random, depth + 1, out);
}

fn push_space(random: &mut Random, out: &mut String) {
    if random.once_in(8) {
        out.push_str(random.one_of(&[" ", "\n  ", "\t", "\r\n"]));
    }
}

fn push_value(schema: &Schema, ty: TypeRef, random: &mut Random, depth: usize, out: &mut String) {
    if random.once_in(24) {
        return out.push_str("null");
    }
    match ty {
        TypeRef::String => push_text(random, out),
        TypeRef::Bool => out.push_str(random.one_of(&["true", "false"])),
        TypeRef::Int32 => push_number(random, out),
        TypeRef::Int64 if random.once_in(3) => out.push_str("9223372036854775807"),
        TypeRef::Int64 => push_number(random, out),
        TypeRef::Float64 => out.push_str(random.one_of(&["0", "0.5", "-1e-7", "1e21", "100"])),
        TypeRef::Bytes => out.push_str(random.one_of(&["\"\"", "\"AQID\"", "\"AA==\"", "\"aGVsbG8gd29ybGQ=\""])),
        TypeRef::Quantity => out.push_str(&format!("\"{}\"", random.one_of(QUANTITIES))),
        TypeRef::Time => out.push_str(&format!("\"{}\"", random.one_of(TIMES))),
        TypeRef::MicroTime => out.push_str(&format!("\"{}\"", random.one_of(MICRO_TIMES))),
        TypeRef::IntOrString if random.once_in(2) => push_number(random, out),
        TypeRef::IntOrString => push_text(random, out),
        TypeRef::FieldsV1 => out.push_str("{\"f:metadata\":{\".\":{}}}"),
        TypeRef::RawExtension | TypeRef::Json => out.push_str(random.one_of(FREE)),
        TypeRef::Object(_) if depth > DEPTH_MAX => out.push_str("{}"),
        TypeRef::List(_) if depth > DEPTH_MAX => out.push_str("[]"),
        TypeRef::Map(_) if depth > DEPTH_MAX => out.push_str("{}"),
        TypeRef::Union(_) if depth > DEPTH_MAX => out.push_str("{}"),
        TypeRef::Object(id) => push_object(schema, id, random, depth, out),
        TypeRef::Union(number) => match schema.union(number).other {
            Alternative::Bool(_) if random.once_in(2) => out.push_str(random.one_of(&["true", "false"])),
            Alternative::List(list, _) if random.once_in(2) => push_value(schema, list, random, depth, out),
            _ => push_object(schema, schema.union(number).object.0, random, depth, out),
        },
        TypeRef::List(element) => {
            out.push('[');
            for at in 0..random.below(4) {
                if at > 0 {
                    out.push(',');
                }
                push_value(schema, schema.element(element), random, depth + 1, out);
            }
            out.push(']');
        }
        TypeRef::Map(value) => {
            out.push('{');
            for at in 0..random.below(4) {
                if at > 0 {
                    out.push(',');
                }
                // Now and then a key comes again, or out of order.
                let key = random.one_of(&["app", "b/c", "z", "\u{e9}", "a\\u0062", "example.com/x"]);
                out.push_str(&format!("\"{key}\":"));
                push_value(schema, schema.element(value), random, depth + 1, out);
            }
            out.push('}');
        }
    }
}

fn push_text(random: &mut Random, out: &mut String) {
    out.push('"');
    for c in random.one_of(TEXTS).chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_number(random: &mut Random, out: &mut String) {
    out.push_str(&NUMBERS[random.below(NUMBERS.len())].to_string());
}

/// Changes a few places of a body: bytes flipped, cut, doubled, moved, or something nasty put in.
pub fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    let changes = if random.once_in(2) { 1 } else { 1 + random.below(4) };
    for _ in 0..changes {
        let at = random.below(body.len() + 1);
        let end = (at + random.below(16)).min(body.len());
        match random.below(6) {
            0 if at < body.len() => body[at] ^= 1 << random.below(8),
            1 => _ = body.drain(at..end),
            2 => {
                let part = body[at..end].to_vec();
                let to = random.below(body.len() + 1);
                body.splice(to..to, part);
            }
            3 => body.truncate(at),
            4 if at < body.len() => body[at] = random.next() as u8,
            _ => _ = body.splice(at..at, random.one_of(TOKENS).iter().copied()),
        }
    }
}
