//! How long an event may be where it goes (upstream: the truncating audit backend). One that is longer goes without the objects it
//! holds, and says so; one that is longer even then does not go at all.

use crate::event::{Event, Objects};
use crate::sink::Unrecorded;

/// What events may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Bytes of one event.
    pub event_bytes_max: usize,
    /// Bytes of all events of one batch.
    pub batch_bytes_max: usize,
}

impl Default for Truncation {
    /// Upstream's values.
    fn default() -> Self {
        Self { event_bytes_max: 100 << 10, batch_bytes_max: 10 << 20 }
    }
}

/// Renders an event as one line without a newline, as long as it may be; as long as it is when nothing is said.
///
/// # Errors
/// It is too long even without its objects.
pub fn line(event: &Event, truncation: Option<&Truncation>) -> Result<String, Unrecorded> {
    fit(&|objects, line: &mut String| event.render(objects, line), truncation)
}

fn fit(render: &dyn Fn(Objects, &mut String), truncation: Option<&Truncation>) -> Result<String, Unrecorded> {
    let mut line = String::new();
    render(Objects::With, &mut line);
    let Some(Truncation { event_bytes_max, .. }) = truncation else { return Ok(line) };
    if line.len() <= *event_bytes_max {
        return Ok(line);
    }
    line.clear();
    render(Objects::Truncated, &mut line);
    if line.len() <= *event_bytes_max {
        return Ok(line);
    }
    let reason = format!("it has {} bytes without its objects, and may have {event_bytes_max}", line.len());
    Err(Unrecorded { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_events_go_without_their_objects() {
        let render = |objects, line: &mut String| {
            line.push_str(match objects {
                Objects::With => "with its object",
                Objects::Truncated => "without",
            });
        };
        let check = |event_bytes_max: Option<usize>, expected: Option<&str>| {
            let truncation = event_bytes_max.map(|max| Truncation { event_bytes_max: max, ..Truncation::default() });
            assert_eq!(fit(&render, truncation.as_ref()).ok().as_deref(), expected, "{event_bytes_max:?}");
        };
        check(None, Some("with its object"));
        check(Some(15), Some("with its object"));
        check(Some(14), Some("without"));
        check(Some(7), Some("without"));
        check(Some(6), None);
    }
}
