//! Sealing with a KMS plugin that is a process of its own, well and unwell (upstream: the KMS v2 integration tests).

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use portcullis_seal::{
    EncryptionConfiguration, KmsError, OpenError, Opened, ReloadError, Resource, SealError, Seals, SealsChange,
};
use serde_json::Value;

const SECRETS: Resource<'_> = Resource { group: "", resource: "secrets" };
const PLACE: &str = "/registry/secrets/default/settings";
/// How long a plugin may take to print what it did.
const PRINT_TIMEOUT: Duration = Duration::from_secs(30);

/// The plugin, built once. Cargo does not build another package's program for a test, so this does.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--package", "portcullis-tests", "--bin", "kms_plugin"]);
        command.args(["--message-format", "json-render-diagnostics"]);
        // What `cargo test` sets for its child is not meant for a build of another package.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
            command.env_remove(name);
        }
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "the plugin does not build");
        let messages = String::from_utf8(output.stdout).unwrap();
        let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = artifacts.filter(|message| message["target"]["name"] == "kms_plugin");
        found.find_map(|message| message["executable"].as_str().map(PathBuf::from)).unwrap()
    })
}

/// A plugin that runs, in a directory of its own.
struct Plugin {
    directory: tempfile::TempDir,
    /// Calls that were looked at.
    seen: Cell<usize>,
    process: Option<(Child, Receiver<String>)>,
}

impl Plugin {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), seen: Cell::new(0), process: None }
    }

    fn running() -> Self {
        let mut plugin = Self::new();
        plugin.start();
        plugin
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    fn start(&mut self) {
        let mut child = Command::new(program())
            .args([self.socket(), self.directory.path().join("behaviour")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        assert_eq!(lines.recv_timeout(PRINT_TIMEOUT).unwrap(), "ready");
        self.process = Some((child, lines));
    }

    fn stop(&mut self) {
        if let Some((mut child, _)) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it does from now on.
    fn behave(&self, behaviour: &str) {
        std::fs::write(self.directory.path().join("behaviour"), behaviour).unwrap();
    }

    /// The calls it had since the last time.
    fn calls(&self) -> Vec<String> {
        // From the file, which a call is in before it is answered.
        let calls = std::fs::read_to_string(self.directory.path().join("behaviour.calls")).unwrap_or_default();
        let new: Vec<String> = calls.lines().skip(self.seen.get()).map(str::to_owned).collect();
        self.seen.set(self.seen.get() + new.len());
        new
    }

    fn configuration(&self, timeout: &str) -> EncryptionConfiguration {
        configuration(&[&self.provider("cloud", timeout), "{identity: {}}"])
    }

    fn provider(&self, name: &str, timeout: &str) -> String {
        let endpoint = format!("unix://{}", self.socket().display());
        format!("{{kms: {{apiVersion: v2, name: {name}, endpoint: {endpoint:?}, timeout: {timeout}}}}}")
    }

    fn seals(&self) -> Seals {
        Seals::configured(&self.configuration("10s"), None).unwrap()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configuration(providers: &[&str]) -> EncryptionConfiguration {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers: [{}]\n",
        providers.join(", ")
    );
    EncryptionConfiguration::parse(text.as_bytes()).unwrap()
}

fn plain() -> Bytes {
    Bytes::from_static(b"{\"data\":{\"password\":\"aHVudGVyMg==\"}}")
}

fn seal(seals: &Seals) -> Bytes {
    let stored = seals.seal(SECRETS, PLACE, &plain()).unwrap();
    assert!(stored.starts_with(b"k8s:enc:kms:v2:cloud:\x0a"), "{stored:?}");
    stored
}

/// Whether it is stale; the value must be what was sealed.
fn is_stale(opened: Result<Opened, OpenError>) -> bool {
    let opened = opened.unwrap();
    assert_eq!(opened.plain, plain());
    opened.is_stale
}

/// Why nothing is sealed.
fn refusal(seals: &Seals) -> KmsError {
    match seals.seal(SECRETS, PLACE, &plain()) {
        Err(SealError::Kms { provider, source }) => {
            assert_eq!(provider, "cloud");
            (*source).clone()
        }
        sealed => panic!("{sealed:?}"),
    }
}

#[tokio::test]
async fn one_seed_seals_many_and_survives_a_restart() {
    let plugin = Plugin::running();
    let seals = plugin.seals();
    assert!(seals.ready().unwrap_err().contains("kmsv2 Provider cloud is not healthy, error: it was not asked yet"));
    assert!(matches!(refusal(&seals), KmsError::NotAsked));
    seals.check_kms().await;
    assert_eq!(seals.ready(), Ok(()));
    let stored: Vec<Bytes> = (0..100).map(|_| seal(&seals)).collect();
    for one in &stored {
        assert!(!is_stale(seals.open(SECRETS, PLACE, one)), "without asking");
    }
    seals.check_kms().await;
    assert_eq!(plugin.calls(), ["status key-1", "encrypt key-1", "status key-1"]);
    // Another server, or this one after a restart, asks once for all of them.
    let again = plugin.seals();
    again.check_kms().await;
    plugin.calls();
    for one in &stored {
        assert!(!is_stale(again.open_fetching(SECRETS, PLACE, one).await));
    }
    assert_eq!(plugin.calls(), ["decrypt key-1"]);
    let moved = again.open(SECRETS, "/registry/secrets/default/other", &stored[0]);
    assert!(matches!(moved, Err(OpenError::Damaged { .. })), "bound to its key path");
}

#[tokio::test]
async fn many_readers_ask_once() {
    let plugin = Plugin::running();
    let first = plugin.seals();
    first.check_kms().await;
    let stored = seal(&first);
    plugin.calls();
    let seals = Arc::new(plugin.seals());
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let (seals, stored) = (Arc::clone(&seals), stored.clone());
            tokio::spawn(async move { is_stale(seals.open_fetching(SECRETS, PLACE, &stored).await) })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(plugin.calls(), ["decrypt key-1"]);
}

#[tokio::test]
async fn a_new_key_of_the_kms_makes_a_new_seed() {
    let plugin = Plugin::running();
    let seals = plugin.seals();
    seals.check_kms().await;
    let old = seal(&seals);
    plugin.behave("key=key-2\n");
    assert!(!is_stale(seals.open(SECRETS, PLACE, &old)), "not known yet");
    seals.check_kms().await;
    assert!(is_stale(seals.open(SECRETS, PLACE, &old)));
    let new = seal(&seals);
    assert!(!is_stale(seals.open(SECRETS, PLACE, &new)));
    // The old key can decrypt until the KMS forgets it.
    let again = plugin.seals();
    again.check_kms().await;
    assert!(is_stale(again.open_fetching(SECRETS, PLACE, &old).await));
    plugin.behave("key=key-2\nlost=key-1\n");
    let late = plugin.seals();
    late.check_kms().await;
    let lost = late.open_fetching(SECRETS, PLACE, &old).await.unwrap_err();
    let OpenError::Kms { provider, source } = lost else { panic!("{lost}") };
    assert_eq!(provider, "cloud");
    assert_eq!(source.to_string(), "rpc error: code = FailedPrecondition desc = not encrypted here");
    assert!(!is_stale(late.open_fetching(SECRETS, PLACE, &new).await));
}

#[tokio::test]
async fn a17_a_kms_that_is_down_at_start_ends_nothing() {
    let mut plugin = Plugin::running();
    let before = plugin.seals();
    before.check_kms().await;
    let stored = seal(&before);
    plugin.stop();

    let seals = plugin.seals();
    let health = seals.check_kms().await;
    assert!(matches!(health[0].failure.as_deref(), Some(KmsError::Call { .. })), "{health:?}");
    assert!(
        seals
            .ready()
            .unwrap_err()
            .starts_with("kmsv2 Provider cloud is not healthy, error: rpc error: code = Unavailable")
    );
    assert!(matches!(refusal(&seals), KmsError::Call { .. }));
    assert!(matches!(seals.open(SECRETS, PLACE, &stored), Err(OpenError::KeyNotHere { .. })));
    assert!(matches!(seals.open_fetching(SECRETS, PLACE, &stored).await, Err(OpenError::Kms { .. })));
    // What is not under the KMS is read.
    assert!(is_stale(seals.open(SECRETS, PLACE, &plain())));
    let other = Resource { group: "", resource: "configmaps" };
    assert_eq!(seals.seal(other, "/a", &plain()).unwrap(), plain());

    plugin.start();
    seals.check_kms().await;
    assert_eq!(seals.ready(), Ok(()));
    assert!(!is_stale(seals.open_fetching(SECRETS, PLACE, &stored).await));
    assert!(!is_stale(seals.open(SECRETS, PLACE, &seal(&seals))));
    // One that goes away later is still sealed under, for a while: its seed is here.
    plugin.stop();
    seals.check_kms().await;
    assert!(seals.ready().is_err());
    assert!(!is_stale(seals.open(SECRETS, PLACE, &seal(&seals))));
}

#[tokio::test]
async fn a_plugin_that_misbehaves_is_not_well() {
    let plugin = Plugin::running();
    let check = async |behaviour: &str, words: &str| {
        let seals = Seals::configured(&plugin.configuration("1s"), None).unwrap();
        plugin.behave(behaviour);
        seals.check_kms().await;
        let unwell = seals.ready().unwrap_err();
        let start = "kmsv2 Provider cloud is not healthy, error: ";
        assert!(unwell.strip_prefix(start).is_some_and(|rest| rest.starts_with(words)), "{behaviour}: {unwell}");
        assert!(seals.seal(SECRETS, PLACE, &plain()).is_err(), "{behaviour}");
        // And well again.
        plugin.behave("");
        seals.check_kms().await;
        assert_eq!(seals.ready(), Ok(()), "{behaviour}");
        seal(&seals);
    };
    check("healthz=sealed", "got unexpected healthz status: sealed").await;
    check("healthz=", "got unexpected healthz status: ").await;
    check("version=v1", "expected KMSv2 API version v2, got v1").await;
    check("key=", "failed to validate key id: keyID is empty").await;
    check(&format!("key={}", "k".repeat(1025)), "failed to validate key id: keyID is 1025 bytes").await;
    check("fail=status", "rpc error: code = Unavailable desc = the vault is shut").await;
    check("fail=encrypt", "rpc error: code = Unavailable desc = the vault is shut").await;
    check("hang=status", "rpc error: code = DeadlineExceeded desc = no answer within 1000ms").await;
    check("hang=encrypt", "rpc error: code = DeadlineExceeded desc = no answer within 1000ms").await;
    check("garbage=status", "rpc error: code = Internal").await;
    check("garbage=encrypt", "rpc error: code = Internal").await;
    check("large=status", "rpc error: code = OutOfRange").await;
    check("large=encrypt", "rpc error: code = OutOfRange").await;
    check("wrong=key-id", "failed to rotate DEK: the key of Encrypt is not that of Status").await;
    check("wrong=long-key-id", "failed to validate key id: keyID is 1025 bytes").await;
    check("wrong=long-ciphertext", "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes").await;
    check("wrong=long-annotations", "failed to validate annotations: total size of annotations is").await;
    check("wrong=annotation-name", "failed to validate annotations: annotations: Invalid value: \"nodomain\"").await;
    // What 1.27 called it.
    plugin.behave("version=v2beta1");
    let seals = plugin.seals();
    seals.check_kms().await;
    assert_eq!(seals.ready(), Ok(()));
}

#[tokio::test]
async fn a_rotation_that_fails_keeps_the_old_seed() {
    let plugin = Plugin::running();
    let seals = plugin.seals();
    seals.check_kms().await;
    let old = seal(&seals);
    plugin.behave("key=key-2\nfail=encrypt\n");
    seals.check_kms().await;
    assert!(seals.ready().is_err());
    assert!(!is_stale(seals.open(SECRETS, PLACE, &seal(&seals))), "under the old seed, for a while");
    plugin.behave("key=key-2\n");
    seals.check_kms().await;
    assert_eq!(seals.ready(), Ok(()));
    assert!(is_stale(seals.open(SECRETS, PLACE, &old)));
}

#[tokio::test]
async fn decrypt_that_fails_is_an_error_of_that_value() {
    let plugin = Plugin::running();
    let first = plugin.seals();
    first.check_kms().await;
    let stored = seal(&first);
    let check = async |behaviour: &str, words: &str| {
        let seals = Seals::configured(&plugin.configuration("1s"), None).unwrap();
        plugin.behave(behaviour);
        let error = seals.open_fetching(SECRETS, PLACE, &stored).await.unwrap_err();
        let OpenError::Kms { source, .. } = &error else { panic!("{behaviour}: {error}") };
        assert!(source.to_string().contains(words), "{behaviour}: {source}");
        plugin.behave("");
        seals.open_fetching(SECRETS, PLACE, &stored).await.unwrap();
    };
    check("fail=decrypt", "the vault is shut").await;
    check("hang=decrypt", "no answer within").await;
    check("garbage=decrypt", "Internal").await;
    check("large=decrypt", "OutOfRange").await;
    check("wrong=short-key", "a key of 31 bytes came from Decrypt").await;
    check("lost=key-1", "not encrypted here").await;
    // An envelope whose annotations were changed is another key for the plugin.
    let at = stored.windows(7).position(|part| part == b"version").unwrap();
    let mut changed = stored.to_vec();
    changed[at] = b'w';
    let error = first.open_fetching(SECRETS, PLACE, &changed.into()).await.unwrap_err();
    assert!(matches!(error, OpenError::Kms { .. }), "{error}");
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_a_kms_that_stays() {
    let plugin = Plugin::running();
    let seals = plugin.seals();
    seals.check_kms().await;
    let stored = seal(&seals);
    plugin.calls();
    let same = configuration(&["{identity: {}}", &plugin.provider("cloud", "10s")]);
    let changed = seals.reload(&same).await.unwrap();
    assert!(matches!(changed, SealsChange::Replaced(changed) if changed[0].writes_change));
    assert!(is_stale(seals.open(SECRETS, PLACE, &stored)));
    assert!(plugin.calls().is_empty(), "nothing had to be asked");

    // A new one has to be well before it is taken.
    let mut other = Plugin::new();
    let both = configuration(&[&other.provider("other", "1s"), &plugin.provider("cloud", "10s")]);
    let error = seals.reload(&both).await.unwrap_err();
    assert!(matches!(&error, ReloadError::Unwell { provider, .. } if provider == "other"), "{error}");
    assert!(is_stale(seals.open(SECRETS, PLACE, &stored)));
    other.start();
    seals.reload(&both).await.unwrap();
    let stored_by_other = seals.seal(SECRETS, PLACE, &plain()).unwrap();
    assert_eq!(portcullis_seal::sealed_under(&stored_by_other), Some("kms:v2:other"));
    assert!(!is_stale(seals.open(SECRETS, PLACE, &stored_by_other)));
    assert!(is_stale(seals.open(SECRETS, PLACE, &stored)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kms_in_force_are_looked_after() {
    let (plugin, other) = (Plugin::running(), Plugin::running());
    let seals = Arc::new(plugin.seals());
    let tending = tokio::spawn({
        let seals = Arc::clone(&seals);
        async move { seals.tend().await }
    });
    let next = |plugin: &Plugin| plugin.process.as_ref().unwrap().1.recv_timeout(PRINT_TIMEOUT).unwrap();
    assert_eq!((next(&plugin), next(&plugin)), ("status key-1".to_owned(), "encrypt key-1".to_owned()));
    seals.reload(&configuration(&[&other.provider("other", "10s")])).await.unwrap();
    // Asked by the reload, and then by whoever looks after it.
    assert_eq!((next(&other), next(&other)), ("status key-1".to_owned(), "encrypt key-1".to_owned()));
    assert_eq!(next(&other), "status key-1");
    tending.abort();
    assert!(tending.await.unwrap_err().is_cancelled());
}

/// Whatever answers there, or does not, is named, and nobody waits for it longer than the timeout.
#[tokio::test]
async fn a_socket_that_does_not_speak_grpc_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |name: &str, said: Option<&'static [u8]>, expected: &str| {
        let socket = directory.path().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(said) = said else { continue };
                // It may be gone already.
                let _ = stream.write_all(said);
                held.push(stream);
            }
        });
        let endpoint = socket.display().to_string().replace(' ', "%20");
        let provider =
            format!("{{kms: {{apiVersion: v2, name: cloud, endpoint: 'unix://{endpoint}', timeout: 300ms}}}}");
        let seals = Seals::configured(&configuration(&[&provider]), None).unwrap();
        seals.check_kms().await;
        let refused = refusal(&seals).to_string();
        assert!(refused.contains(expected), "{name}: {refused}");
    };
    let no_grpc = "the connection broke, or what listens there does not speak gRPC: ";
    check("silent", Some(b""), "no answer within 300ms").await;
    check("closed", None, no_grpc).await;
    check("http 1", Some(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), no_grpc).await;
    check("other", Some(b"SSH-2.0-OpenSSH_9.2p1\r\n"), no_grpc).await;
}
