//! The parser's complaints in the words of goyaml, and on its lines.

use granit_parser::{ErrorKind, ScanError};

use super::{DEPTH_MAX, YamlError};

/// goyaml counts lines differently in its two halves, and never names the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Characters to tokens: the line of the character, from 1.
    Character,
    /// The line after that of a key whose colon did not come.
    AfterKey,
    /// A quote that is still open: the last line.
    End,
    /// Tokens to structure: the line of the token, from 0.
    Token,
    /// A bracket that is still open: the number of lines.
    EndToken,
}

pub(super) fn syntax_error(error: &ScanError, text: &str) -> YamlError {
    let (place, problem) = describe(error.kind());
    let line = error.marker().line();
    let breaks = text.bytes().filter(|&byte| byte == b'\n').count();
    let line = match place {
        Place::Character if line <= 1 => 0,
        Place::Character => line,
        Place::AfterKey => line + 1,
        Place::End if breaks == 0 => 0,
        Place::End => breaks + 1,
        Place::Token => line.saturating_sub(1),
        Place::EndToken => breaks + usize::from(!text.ends_with('\n')),
    };
    YamlError::Syntax { line, problem }
}

fn describe(kind: &ErrorKind) -> (Place, String) {
    let (place, text) = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::PlainScalarStartsWithDashFlowIndicator => {
            (Place::Character, "found character that cannot start any token")
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            (Place::Character, "mapping values are not allowed in this context")
        }
        ErrorKind::MappingKeyNotAllowed => (Place::Character, "mapping keys are not allowed in this context"),
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::BlockEntryInFlowCollection => {
            (Place::Character, "block sequence entries are not allowed in this context")
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => (Place::AfterKey, "could not find expected ':'"),
        // A quote that nobody closed runs into the next key.
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
            (Place::End, "found unexpected end of stream")
        }
        ErrorKind::DocumentIndicatorInQuotedScalar => (Place::Character, "found unexpected document indicator"),
        ErrorKind::UnknownQuotedScalarEscape => (Place::Character, "found unknown escape character"),
        ErrorKind::InvalidQuotedScalarHexEscape => (Place::Character, "did not find expected hexdecimal number"),
        ErrorKind::InvalidUnicodeEscape => (Place::Character, "found invalid Unicode character escape code"),
        ErrorKind::MissingAnchorOrAliasName => {
            (Place::Character, "did not find expected alphabetic or numeric character")
        }
        ErrorKind::InvalidBlockScalarHeader => (Place::Character, "did not find expected comment or line break"),
        ErrorKind::ZeroBlockScalarIndent => (Place::Character, "found an indentation indicator equal to 0"),
        ErrorKind::ExpectedNodeContent => (Place::Token, "did not find expected node content"),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => (Place::Token, "did not find expected key"),
        ErrorKind::ExpectedBlockSequenceEntry => (Place::Token, "did not find expected '-' indicator"),
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::MismatchedFlowCollectionEnd { open: '{', .. } => {
            (Place::Token, "did not find expected ',' or '}'")
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnclosedFlowCollection { open: '{' } => (Place::EndToken, "did not find expected ',' or '}'"),
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::MismatchedFlowCollectionEnd { .. } => {
            (Place::Token, "did not find expected ',' or ']'")
        }
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnclosedFlowCollection { .. } => {
            (Place::EndToken, "did not find expected ',' or ']'")
        }
        ErrorKind::MisplacedFlowCollectionEnd => (Place::Token, "did not find expected node content"),
        ErrorKind::ExpectedDocumentStart | ErrorKind::InvalidDocumentEnd => {
            (Place::Token, "did not find expected <document start>")
        }
        ErrorKind::UndeclaredTagHandle => (Place::Token, "found undefined tag handle"),
        ErrorKind::RecursionLimitExceeded => {
            return (Place::Character, format!("exceeded max depth of {DEPTH_MAX}"));
        }
        other => return (Place::Character, other.to_string()),
    };
    (place, text.to_owned())
}
