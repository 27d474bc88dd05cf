//! The text form of label selectors: a scanner of words and signs, and a parser that looks one of them ahead.

use super::{Operator, Requirement, SelectorError, check_key};
use crate::status::aggregate;

/// A word or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, `in` or `notin`.
    Word(&'a str),
    /// `=`, `==`, `!=`, `!`, `<`, `>`, `(`, `)`, `,`.
    Sign(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn literal(self) -> &'a str {
        match self {
            Self::Word(text) | Self::Sign(text) => text,
            Self::End => "",
        }
    }

    fn expected(self, what: &str) -> String {
        format!("found '{}', expected: {what}", self.literal())
    }
}

struct Parser<'a> {
    rest: &'a str,
    next: Token<'a>,
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { rest: text, next: Token::End };
    parser.take();
    let mut requirements = Vec::new();
    loop {
        match parser.next {
            Token::Word(_) | Token::Sign("!") => {}
            Token::End => return Ok(requirements),
            other => return Err(SelectorError::Syntax(other.expected("!, identifier, or 'end of string'"))),
        }
        requirements.push(parser.requirement().map_err(SelectorError::Requirement)?);
        match parser.take() {
            Token::End => return Ok(requirements),
            Token::Sign(",") => {}
            other => return Err(SelectorError::Syntax(other.expected("',' or 'end of string'"))),
        }
        if !matches!(parser.next, Token::Word(_) | Token::Sign("!")) {
            return Err(SelectorError::Syntax(parser.next.expected("identifier after ','")));
        }
    }
}

impl<'a> Parser<'a> {
    /// Returns the token in front and moves on.
    fn take(&mut self) -> Token<'a> {
        let is_sign = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
        let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let text = self.rest.trim_start_matches(is_space);
        let (len, is_word) = if text.starts_with("==") || text.starts_with("!=") {
            (2, false)
        } else if text.starts_with(is_sign) {
            (1, false)
        } else {
            (text.find(|c| is_sign(c) || is_space(c)).unwrap_or(text.len()), true)
        };
        let (literal, rest) = text.split_at(len);
        self.rest = rest;
        let token = match (literal, is_word) {
            ("", _) => Token::End,
            (word, true) => Token::Word(word),
            (sign, false) => Token::Sign(sign),
        };
        std::mem::replace(&mut self.next, token)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_negated = self.next == Token::Sign("!");
        if is_negated {
            self.take();
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(other.expected("identifier")),
        };
        if let Some(error) = check_key(key, "<nil>") {
            return Err(error.to_string());
        }
        if is_negated {
            return new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.next, Token::End | Token::Sign(",")) {
            return new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.take() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Sign("=" | "==") => Operator::Equals,
            Token::Sign("!=") => Operator::NotEquals,
            Token::Sign(">") => Operator::GreaterThan,
            Token::Sign("<") => Operator::LessThan,
            other => return Err(other.expected("in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.next, Token::End | Token::Sign(",")) {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(other.expected("identifier")),
        }
    }

    /// Reads values in parentheses; an empty place between commas is an empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != Token::Sign("(") {
            return Err(format!("found '{}' expected: '('", open.literal()));
        }
        match self.next {
            Token::Word(_) | Token::Sign(",") => {}
            Token::Sign(")") => {
                self.take();
                return Ok(vec![String::new()]);
            }
            other => return Err(other.expected("',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                Token::Word(value) => {
                    values.push(value.to_owned());
                    match self.next {
                        Token::Sign(",") => {}
                        Token::Sign(")") => break,
                        other => return Err(other.expected("',' or ')'")),
                    }
                }
                Token::Sign(",") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    if self.next == Token::Sign(")") {
                        values.push(String::new());
                        break;
                    }
                    if self.next == Token::Sign(",") {
                        values.push(String::new());
                    }
                }
                other => return Err(other.expected("',', or identifier")),
            }
        }
        self.take();
        Ok(values)
    }
}

fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, String> {
    Requirement::new(key, operator, values).map_err(|errors| aggregate(&errors))
}
