//! Documents to YAML text, as libyaml's emitter lays them out: two spaces, lists at the column of their key, long lines
//! folded at spaces.

use super::YamlError;
use super::node::{Document, Kind, NodeId, ScalarTag};
use super::order;
use super::scalar::{Value, plain};
use super::style::{Style, choose, is_break, is_printable, is_simple_key, shortest_verb};

/// Columns that a level is indented by.
const INDENT: usize = 2;
/// A line that is longer is folded at its next space.
const WIDTH: usize = 80;

/// What is written next.
enum Step {
    /// A value; what it stands in decides about the indent of a list.
    Value {
        id: NodeId,
        in_mapping: bool,
    },
    Items {
        next: Option<NodeId>,
    },
    Members {
        entries: std::vec::IntoIter<(NodeId, NodeId)>,
    },
    /// The value of a key that did not fit before its colon.
    LongKeyValue(NodeId),
    /// Back to the indent from before.
    Dedent(Option<usize>),
}

struct Emitter<'a> {
    document: &'a Document,
    out: String,
    steps: Vec<Step>,
    column: usize,
    /// `None` before the first collection.
    indent: Option<usize>,
    /// The last thing written was white space or an indicator that counts as such.
    after_space: bool,
    /// Nothing but indentation stands in this line yet.
    in_indent: bool,
}

pub(super) fn document(document: &Document) -> Result<String, YamlError> {
    let Some(root) = document.root() else { return Ok("null\n".to_owned()) };
    let mut emitter = Emitter {
        document,
        out: String::new(),
        steps: vec![Step::Value { id: root, in_mapping: false }],
        column: 0,
        indent: None,
        after_space: true,
        in_indent: true,
    };
    while let Some(step) = emitter.steps.pop() {
        emitter.step(step);
    }
    if emitter.column > 0 {
        emitter.out.push('\n');
    }
    Ok(emitter.out)
}

impl<'a> Emitter<'a> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Value { id, in_mapping } => self.value(id, in_mapping),
            Step::Dedent(indent) => self.indent = indent,
            Step::Items { next } => {
                let Some(id) = next else { return };
                self.line();
                self.indicator("-", true, true);
                self.steps.push(Step::Items { next: self.document.next_sibling(id) });
                self.steps.push(Step::Value { id, in_mapping: false });
            }
            Step::Members { mut entries } => {
                let Some((key, value)) = entries.next() else { return };
                self.steps.push(Step::Members { entries });
                self.line();
                let text = self.key_text(key);
                if is_simple_key(text) {
                    self.string(text, true);
                    self.indicator(":", false, false);
                    self.steps.push(Step::Value { id: value, in_mapping: true });
                } else {
                    self.indicator("?", true, true);
                    self.string(text, false);
                    self.steps.push(Step::LongKeyValue(value));
                }
            }
            Step::LongKeyValue(value) => {
                self.line();
                self.indicator(":", true, true);
                self.steps.push(Step::Value { id: value, in_mapping: true });
            }
        }
    }

    fn key_text(&self, id: NodeId) -> &'a str {
        match self.document.kind(id) {
            Kind::Scalar { start, end, .. } => self.document.text(start, end),
            _ => "",
        }
    }

    fn value(&mut self, id: NodeId, in_mapping: bool) {
        match self.document.kind(id) {
            Kind::Scalar { tag, start, end, .. } => {
                let text = self.document.text(start, end);
                if tag == ScalarTag::Plain { self.literal(text) } else { self.string(text, false) }
            }
            Kind::Sequence => {
                let next = self.document.first_child(id);
                if next.is_none() {
                    return self.word("[]");
                }
                // A list in an object stands at the column of its key.
                let is_flush = in_mapping && !self.in_indent;
                self.deepen(is_flush);
                self.steps.push(Step::Items { next });
            }
            Kind::Mapping => {
                let entries = self.entries(id);
                if entries.is_empty() {
                    return self.word("{}");
                }
                self.deepen(false);
                self.steps.push(Step::Members { entries: entries.into_iter() });
            }
            Kind::Alias(_) => {}
        }
    }

    fn deepen(&mut self, is_flush: bool) {
        self.steps.push(Step::Dedent(self.indent));
        self.indent = match self.indent {
            None => Some(0),
            Some(indent) if is_flush => Some(indent),
            Some(indent) => Some(indent + INDENT),
        };
    }

    /// The members of an object, sorted; the last of equal keys counts.
    fn entries(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        let mut entries = Vec::new();
        let mut next = self.document.first_child(id);
        while let Some(key) = next {
            let Some(value) = self.document.next_sibling(key) else { break };
            entries.push((key, value));
            next = self.document.next_sibling(value);
        }
        order::sort(&mut entries, |&(key, _)| self.key_text(key));
        entries
    }

    /// Writes a number, `true`, `false` or `null`.
    fn literal(&mut self, text: &str) {
        match plain(text) {
            Some(Value::Float(value)) => self.word(&shortest_verb(value)),
            _ => self.word(text),
        }
    }

    /// Writes text without breaks and without folding.
    fn word(&mut self, text: &str) {
        self.space();
        self.push(text);
        (self.after_space, self.in_indent) = (false, false);
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn space(&mut self) {
        if !self.after_space {
            self.put(' ');
        }
    }

    fn indicator(&mut self, text: &str, needs_space: bool, is_indent: bool) {
        if needs_space {
            self.space();
        }
        self.push(text);
        self.after_space = false;
        self.in_indent &= is_indent;
    }

    /// Goes to the indent, on a new line unless nothing is in the way.
    fn line(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.in_indent || self.column > indent || (self.column == indent && !self.after_space) {
            self.new_line();
        }
        while self.column < indent {
            self.put(' ');
        }
        (self.after_space, self.in_indent) = (true, true);
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn string(&mut self, text: &str, is_simple: bool) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(INDENT, |indent| indent + INDENT));
        match choose(text, is_simple) {
            Style::Plain => self.plain(text, !is_simple),
            Style::Single => self.single(text, !is_simple),
            Style::Double => self.double(text, !is_simple),
            Style::Literal => self.block(text),
        }
        self.indent = outer;
    }

    fn plain(&mut self, text: &str, may_fold: bool) {
        if !text.is_empty() {
            self.space();
        }
        self.folded(text, may_fold, 0..text.len());
        (self.after_space, self.in_indent) = (false, false);
    }

    fn single(&mut self, text: &str, may_fold: bool) {
        self.space();
        self.put('\'');
        self.folded(text, may_fold, 1..text.len().saturating_sub(1));
        self.put('\'');
        (self.after_space, self.in_indent) = (false, false);
    }

    /// Writes text of one line, a quote doubled in quotes; a line that is too long ends at the next single space
    /// whose place in the text is in `places`.
    fn folded(&mut self, text: &str, may_fold: bool, places: std::ops::Range<usize>) {
        let is_quoted = places.start > 0;
        let mut after_space = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let before_space = chars.peek().is_some_and(|&(_, next)| next == ' ');
            if c == ' ' {
                let is_long = self.column > WIDTH && places.contains(&at);
                if may_fold && !after_space && is_long && !before_space {
                    self.line();
                } else {
                    self.put(' ');
                }
                after_space = true;
                continue;
            }
            if c == '\'' && is_quoted {
                self.put('\'');
            }
            self.put(c);
            self.in_indent = false;
            after_space = false;
        }
    }

    fn double(&mut self, text: &str, may_fold: bool) {
        self.space();
        self.put('"');
        let last = text.len().saturating_sub(1);
        let mut after_space = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == ' ' {
                if may_fold && !after_space && self.column > WIDTH && at > 0 && at < last {
                    self.line();
                    if chars.peek().is_some_and(|&(_, next)| next == ' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                after_space = true;
                continue;
            }
            after_space = false;
            if is_printable(c) && !is_break(c) && c != '"' && c != '\\' {
                self.put(c);
            } else {
                self.escape(c);
            }
        }
        self.put('"');
        (self.after_space, self.in_indent) = (false, false);
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' | '\\' => c,
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(c);
                let text = match code {
                    0..0x100 => format!("\\x{code:02X}"),
                    0x100..0x1_0000 => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                };
                return self.push(&text);
            }
        };
        self.put('\\');
        self.put(short);
    }

    /// Writes lines as they are, after a bar that says how to read their start and end.
    fn block(&mut self, text: &str) {
        self.space();
        self.put('|');
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.push(&INDENT.to_string());
        }
        let mut from_end = text.chars().rev();
        let last_is_break = from_end.next().is_some_and(is_break);
        if !last_is_break {
            self.put('-');
        } else if from_end.next().is_none_or(is_break) {
            self.put('+');
        }
        self.new_line();
        (self.after_space, self.in_indent) = (true, true);
        let mut after_break = true;
        for c in text.chars() {
            if is_break(c) {
                self.out.push(c);
                self.column = 0;
                (self.in_indent, after_break) = (true, true);
                continue;
            }
            if after_break {
                self.line();
            }
            self.put(c);
            (self.in_indent, after_break) = (false, false);
        }
    }
}
