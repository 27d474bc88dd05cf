//! A document as a tree of nodes in one arena, the scalars in one buffer.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag};

use super::{DEPTH_MAX, INPUT_LEN_MAX, NODES_MAX, YamlError, words};

/// Prefix of the tags that YAML itself defines.
const CORE_TAGS: &str = "tag:yaml.org,2002:";
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Place of a node in its document.
pub(super) type NodeId = usize;

/// What a tag says about a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarTag {
    /// Nothing: a plain scalar means what it looks like.
    Plain,
    /// A string: quoted, `!!str`, `!`, a tag of somebody's own.
    Str,
    Int,
    Float,
    Bool,
    Null,
    Binary,
    Merge,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of the text buffer.
    Scalar {
        tag: ScalarTag,
        is_plain: bool,
        start: u32,
        end: u32,
    },
    Sequence,
    /// Children are keys and values in turn.
    Mapping,
    Alias(NodeId),
}

/// A node, its first child and its next sibling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// From 1.
    pub(super) line: u32,
    first: u32,
    next: u32,
}

/// No node.
const NONE: u32 = u32::MAX;

/// Nodes of one document.
#[derive(Debug, Default)]
pub(super) struct Document {
    nodes: Vec<Node>,
    text: String,
    /// Names of anchors, by the nodes that refer to them.
    alias_names: HashMap<NodeId, String>,
}

impl Document {
    /// The root, unless the document is empty.
    pub(super) fn root(&self) -> Option<NodeId> {
        (!self.nodes.is_empty()).then_some(0)
    }

    pub(super) fn kind(&self, id: NodeId) -> Kind {
        self.nodes.get(id).map_or(Kind::Sequence, |node| node.kind)
    }

    pub(super) fn line(&self, id: NodeId) -> u32 {
        self.nodes.get(id).map_or(0, |node| node.line)
    }

    pub(super) fn first_child(&self, id: NodeId) -> Option<NodeId> {
        self.nodes.get(id).filter(|node| node.first != NONE).map(|node| node.first as NodeId)
    }

    pub(super) fn next_sibling(&self, id: NodeId) -> Option<NodeId> {
        self.nodes.get(id).filter(|node| node.next != NONE).map(|node| node.next as NodeId)
    }

    pub(super) fn text(&self, start: u32, end: u32) -> &str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    pub(super) fn alias_name(&self, id: NodeId) -> &str {
        self.alias_names.get(&id).map_or("", String::as_str)
    }
}

/// Builds a document, one node after the other.
#[derive(Default)]
pub(super) struct Builder {
    document: Document,
    /// Open collections and their last child.
    open: Vec<(NodeId, Option<NodeId>)>,
}

impl Builder {
    pub(super) fn push(&mut self, kind: Kind, line: usize) -> Result<NodeId, YamlError> {
        let id = self.document.nodes.len();
        if id >= NODES_MAX {
            return Err(YamlError::TooLarge { what: "the number of values", limit: NODES_MAX });
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.document.nodes.push(Node { kind, line, first: NONE, next: NONE });
        if let Some((parent, last)) = self.open.last_mut() {
            // The limit on nodes is far below 32 bits.
            let link = u32::try_from(id).unwrap_or(NONE);
            let from = last.replace(id);
            if let Some(node) = self.document.nodes.get_mut(from.unwrap_or(*parent)) {
                if from.is_some() {
                    node.next = link;
                } else {
                    node.first = link;
                }
            }
        }
        if matches!(kind, Kind::Sequence | Kind::Mapping) {
            if self.open.len() >= DEPTH_MAX {
                return Err(YamlError::Meaning(format!("exceeded max depth of {DEPTH_MAX}")));
            }
            self.open.push((id, None));
        }
        Ok(id)
    }

    /// Adds to the text buffer; the new scalar's bounds.
    pub(super) fn push_text(&mut self, text: &str) -> (u32, u32) {
        let start = self.document.text.len();
        self.document.text.push_str(text);
        let bound = |at| u32::try_from(at).unwrap_or(u32::MAX);
        (bound(start), bound(self.document.text.len()))
    }

    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    /// The kind of the innermost open collection and the number of the open ones.
    pub(super) fn innermost(&self) -> Option<Kind> {
        self.open.last().map(|(id, _)| self.document.kind(*id))
    }

    pub(super) fn finish(self) -> Document {
        self.document
    }
}

/// Reads the first document of a text.
pub(super) fn compose(text: &[u8]) -> Result<Document, YamlError> {
    if text.len() > INPUT_LEN_MAX {
        return Err(YamlError::TooLarge { what: "the length in bytes", limit: INPUT_LEN_MAX });
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let is_leading = text.get(error.valid_up_to()).is_some_and(|&byte| !(0xc2..0xf5).contains(&byte));
        let which = if is_leading { "leading" } else { "trailing" };
        YamlError::Meaning(format!("invalid {which} UTF-8 octet"))
    })?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    check_characters(text)?;
    let mut options = Options::default();
    options.emit_comments = false;
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    let mut anchors: HashMap<usize, NodeId> = HashMap::new();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| words::syntax_error(&error, text))?;
        let line = span.tag_start().unwrap_or(span.start).line().min(span.start.line());
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                let tag = scalar_tag(tag.as_deref(), is_plain);
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let value = if is_block && is_cut_off(text, &span) { without_last_break(&value) } else { &value };
                let (start, end) = builder.push_text(value);
                let id = builder.push(Kind::Scalar { tag, is_plain, start, end }, line)?;
                remember(&mut anchors, anchor, id);
            }
            Event::SequenceStart(_, anchor, _) => {
                let id = builder.push(Kind::Sequence, line)?;
                remember(&mut anchors, anchor, id);
            }
            Event::MappingStart(_, anchor, _) => {
                let id = builder.push(Kind::Mapping, line)?;
                remember(&mut anchors, anchor, id);
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(),
            Event::Alias(anchor) => {
                let name = span.slice(text).unwrap_or_default().trim_start_matches('*');
                let target = anchors.get(&anchor).copied();
                let target = target.ok_or_else(|| unknown_anchor(name))?;
                let id = builder.push(Kind::Alias(target), line)?;
                builder.document.alias_names.insert(id, name.to_owned());
            }
            Event::UnresolvedAlias(name) => return Err(unknown_anchor(&name)),
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    Ok(builder.finish())
}

/// Keeps the node that an anchor names; the parser says 0 for none.
fn remember(anchors: &mut HashMap<usize, NodeId>, anchor: usize, id: NodeId) {
    if anchor != 0 {
        anchors.insert(anchor, id);
    }
}

/// Says whether a block scalar ends with the text, and the text in the middle of a line.
fn is_cut_off(text: &str, span: &Span) -> bool {
    let last_line = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    span.byte_range().is_some_and(|range| range.end >= text.len()) && !last_line.trim().is_empty()
}

/// YAML 1.1 adds no line break that is not there.
fn without_last_break(value: &str) -> &str {
    value.strip_suffix('\n').unwrap_or(value)
}

fn unknown_anchor(name: &str) -> YamlError {
    YamlError::Meaning(format!("unknown anchor '{name}' referenced"))
}

/// Refuses what YAML calls unprintable.
fn check_characters(text: &str) -> Result<(), YamlError> {
    let is_wrong = |c: char| match c {
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' => false,
        '\0'..'\u{a0}' | '\u{fffe}' | '\u{ffff}' => true,
        _ => false,
    };
    if text.chars().any(is_wrong) {
        return Err(YamlError::Meaning("control characters are not allowed".to_owned()));
    }
    Ok(())
}

fn scalar_tag(tag: Option<&Tag>, is_plain: bool) -> ScalarTag {
    let Some(tag) = tag else { return if is_plain { ScalarTag::Plain } else { ScalarTag::Str } };
    match tag.suffix_in_namespace(CORE_TAGS).as_deref() {
        Some("int") => ScalarTag::Int,
        Some("float") => ScalarTag::Float,
        Some("bool") => ScalarTag::Bool,
        Some("null") => ScalarTag::Null,
        Some("binary") => ScalarTag::Binary,
        Some("merge") => ScalarTag::Merge,
        _ => ScalarTag::Str,
    }
}
