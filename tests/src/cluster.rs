//! A new cluster in a directory of its own, and the people, nodes and tokens that a test of permissions needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::build::program;
use crate::client::{Answer, Client};
use crate::credentials::{Authority, Validity};
use crate::program::Server;

const RBAC: &str = "rbac.authorization.k8s.io";

/// A cluster. It ends, and its directory with it, when it is dropped.
pub struct Cluster {
    /// The server.
    pub server: Server,
    directory: tempfile::TempDir,
}

/// A cluster that the tests of a file share, for as long as one of them runs.
pub struct Shared(Mutex<Weak<Cluster>>);

impl Shared {
    /// None yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The cluster that is there, or a new one.
    pub fn get(&self) -> Arc<Cluster> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Cluster::start(&[]));
            *shared = Arc::downgrade(&made);
            made
        })
    }
}

/// Files that a server is given: names and contents, in which `FILES` stands for their directory.
pub type Files<'a> = &'a [(&'a str, &'a str)];

impl Cluster {
    /// A new cluster.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(&[], arguments).unwrap_or_else(|error| panic!("the server starts: {error}"))
    }

    /// A new cluster whose server is given files, or why it did not start. `FILES` in its arguments stands for their directory.
    pub fn start_with(files: Files<'_>, arguments: &[&str]) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let place = directory.path().display().to_string();
        for (name, content) in files {
            let content = content.replace("FILES", &place);
            std::fs::write(directory.path().join(name), content).map_err(|error| error.to_string())?;
        }
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("FILES", &place)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match Server::start_with(program(), &directory.path().join("data"), &arguments) {
            Ok(server) => Ok(Self { server, directory }),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Ends the server and starts it again with other arguments, or says why it did not start.
    pub fn start_again(self, arguments: &[&str]) -> Result<Self, String> {
        let Self { server, directory } = self;
        let data_dir = server.data_dir().to_owned();
        drop(server);
        match Server::start_with(program(), &data_dir, arguments) {
            Ok(server) => Ok(Self { server, directory }),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Tells the server to end, and returns its log.
    pub fn ended(self) -> String {
        self.ended_in_place().0
    }

    /// As [`Cluster::ended`], and what it leaves behind.
    pub fn ended_in_place(self) -> (String, tempfile::TempDir) {
        let Self { server, directory } = self;
        server.signal(nix::sys::signal::Signal::SIGTERM);
        (server.ended().2, directory)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file beside it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Who may do everything.
    pub fn admin(&self) -> Client {
        self.server.admin()
    }

    /// A user.
    pub fn user(&self, name: &str, group: Option<&str>) -> Client {
        let authority = Authority::of(self.server.data_dir()).expect("the cluster's authority");
        self.server.client_of(authority.issue(name, group, Validity::Now).expect("a certificate"))
    }

    /// A node.
    pub fn node(&self, name: &str) -> Client {
        self.user(&format!("system:node:{name}"), Some("system:nodes"))
    }

    /// Makes an object, which may be there already.
    pub fn make(&self, path: &str, object: &Value) -> Value {
        let answer = self.admin().post(path, object);
        assert!([201, 409].contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    }

    /// Makes a namespace.
    pub fn namespace(&self, name: &str) {
        self.make("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
    }

    /// Makes a service account.
    pub fn account(&self, namespace: &str, name: &str) -> Value {
        self.make(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &json!({"metadata": {"name": name}}))
    }

    /// Makes a node's object.
    pub fn node_object(&self, name: &str) -> Value {
        self.make("/api/v1/nodes", &json!({"metadata": {"name": name}}))
    }

    /// Makes a pod that is bound to a node, with a part of its specification.
    pub fn pod(&self, namespace: &str, name: &str, node: &str, more: Value) -> Value {
        self.account(namespace, "default");
        let mut spec = json!({
            "nodeName": node, "automountServiceAccountToken": false, "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "registry.example/c:1"}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.make(&format!("/api/v1/namespaces/{namespace}/pods"), &json!({"metadata": {"name": name}, "spec": spec}))
    }

    /// Asks for a token of a service account.
    pub fn ask_token(&self, namespace: &str, account: &str, spec: Value) -> Answer {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.admin().post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"), &review)
    }

    /// A token of a service account.
    pub fn token(&self, namespace: &str, account: &str, spec: Value) -> String {
        let answer = self.ask_token(namespace, account, spec);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// A client with a token and nothing else.
    pub fn bearer(&self, token: &str) -> Client {
        self.server.stranger().with_bearer(token)
    }

    /// Gives a user what rules allow, in the whole cluster.
    pub fn grant(&self, user: &str, rules: Value) {
        let name = format!("{}-{}", user.replace(':', "-"), digest(&rules));
        self.make(&format!("/apis/{RBAC}/v1/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules}));
        let subjects = json!([{"kind": "User", "apiGroup": RBAC, "name": user}]);
        let role = json!({"kind": "ClusterRole", "apiGroup": RBAC, "name": name});
        let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": subjects});
        self.make(&format!("/apis/{RBAC}/v1/clusterrolebindings"), &binding);
    }

    /// Gives a user a role of the cluster in one namespace.
    pub fn bind(&self, user: &str, namespace: &str, cluster_role: &str) {
        let subjects = json!([{"kind": "User", "apiGroup": RBAC, "name": user}]);
        let role = json!({"kind": "ClusterRole", "apiGroup": RBAC, "name": cluster_role});
        let name = format!("{user}-{cluster_role}");
        let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": subjects});
        self.make(&format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings"), &binding);
    }
}

/// The same for the same rules, so that a grant can be given twice.
fn digest(rules: &Value) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    rules.to_string().hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// A rule: verbs on resources of a group.
pub fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

/// Whoever a client is, in the server's words: name, groups, and all else.
pub fn who_is(client: &Client) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["status"]["userInfo"].clone()
}
