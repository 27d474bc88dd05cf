//! What `/metrics` says about the store: how many objects there are, and where its memory goes and which of the steps against too
//! much of it were taken. Asked when somebody asks; labels are the names of resources and nothing else.

use std::fmt::Write as _;

use portcullis_store::Stats;

use crate::server::ApiServer;

/// The lines of the text format.
pub(crate) fn text(server: &ApiServer) -> String {
    let mut text = String::with_capacity(8 * 1024);
    push_objects(server, &mut text);
    push_stats(&server.engine.stats(), &mut text);
    push_one(
        &mut text,
        "portcullis_store_kept_snapshots",
        "Snapshots kept for lists in pages",
        server.pages.len() as u64,
    );
    text
}

/// Upstream's name; resources that share their storage are counted once, under the name of the stored one.
fn push_objects(server: &ApiServer, text: &mut String) {
    let name = "apiserver_storage_objects";
    push_head(text, name, "gauge", "Stored objects by resource");
    let snapshot = server.engine.snapshot();
    for served in server.registry.all().iter().filter(|served| served.stored_as_served()) {
        let Some(prefix) = served.prefix() else { continue };
        let count = snapshot.range(prefix, None).count();
        let _ = writeln!(text, "{name}{{resource=\"{}\"}} {count}", served.full_name());
    }
}

fn push_stats(stats: &Stats, text: &mut String) {
    for (name, help, value) in [
        ("portcullis_store_live_bytes", "Bytes of the newest state", stats.live_bytes),
        (
            "portcullis_store_body_bytes",
            "Bytes of all stored objects in memory, those of history included",
            stats.body_bytes,
        ),
        ("portcullis_store_form_bytes", "Bytes of what was made of stored objects and kept", stats.form_bytes),
        (
            "portcullis_store_limit_bytes",
            "Bytes that stored objects and what is made of them may take",
            stats.limit_bytes,
        ),
    ] {
        push_one(text, name, help, value as u64);
    }
    for (name, help, value) in [
        ("portcullis_store_forms_made", "Encodings and segments that were made", stats.forms_made),
        ("portcullis_store_forms_not_kept", "Encodings and segments for which there was no room", stats.forms_not_kept),
        (
            "portcullis_store_forms_dropped",
            "Encodings and segments that were dropped to make room",
            stats.forms_dropped,
        ),
        (
            "portcullis_store_histories_shortened",
            "Times that history was shortened to make room",
            stats.histories_shortened,
        ),
        ("portcullis_store_writes_refused", "Writes that were refused for want of room", stats.writes_refused),
    ] {
        push_head(text, name, "counter", help);
        let _ = writeln!(text, "{name}_total {value}");
    }
    type Value = fn(&portcullis_store::RingStats) -> usize;
    let of_rings: [(&str, &str, Value); 3] = [
        ("portcullis_store_history_commits", "Commits in the history of a resource", |ring| ring.commits),
        ("portcullis_store_history_bytes", "Bytes that only the history of a resource holds", |ring| ring.bytes),
        ("portcullis_store_history_waiting", "Watchers that wait for the next event of a resource", |ring| {
            ring.waiting
        }),
    ];
    for (name, help, value) in of_rings {
        push_head(text, name, "gauge", help);
        for ring in &stats.rings {
            let _ = writeln!(text, "{name}{{resource=\"{}\"}} {}", ring.name, value(ring));
        }
    }
}

fn push_one(text: &mut String, name: &str, help: &str, value: u64) {
    push_head(text, name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

fn push_head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}
