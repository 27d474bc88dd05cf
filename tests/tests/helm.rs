//! Helm 4 with a chart of our own, `tests/charts/harbor`: it applies on the server by default and keeps what others own. Built from the
//! Go module in `tests/go`; without a Go that can, a test says so in one line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_tests::build::{program, workspace};
use portcullis_tests::client::{Answer, Client};
use portcullis_tests::go::{GoProgram, built};
use portcullis_tests::program::Server;
use portcullis_tests::session::{Asking, Connector, Protocol};
use portcullis_tests::watch::{Form, WatchStream};
use serde_json::{Value, json};

const NAMESPACE: &str = "quay";
const RELEASE: &str = "web";
/// How long Helm waits at most.
const DEADLINE: &str = "--timeout=60s";

/// The chart's objects: group and version, resource, name.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("v1", "configmaps", "web"),
    ("v1", "configmaps", "web-patience"),
    ("v1", "secrets", "web"),
    ("v1", "services", "web"),
    ("v1", "serviceaccounts", "web"),
    ("apps/v1", "deployments", "web"),
    ("autoscaling/v2", "horizontalpodautoscalers", "web"),
    ("batch/v1", "cronjobs", "web"),
    ("networking.k8s.io/v1", "ingresses", "web"),
    ("policy/v1", "poddisruptionbudgets", "web"),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "web"),
    ("rbac.authorization.k8s.io/v1", "roles", "web"),
];

/// A new cluster with a namespace, and a Helm for it.
struct Helm {
    server: Server,
    client: Client,
    directory: tempfile::TempDir,
    program: std::path::PathBuf,
}

impl Helm {
    fn new() -> Option<Self> {
        let helm = built(GoProgram::Helm, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let directory = tempfile::tempdir().unwrap();
        // Without controllers nobody writes but Helm and the test.
        let arguments = ["--components", "apiserver"];
        let server = Server::start_with(program(), &directory.path().join("data"), &arguments).unwrap();
        let client = server.admin();
        expect(201, &client.post("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}})));
        Some(Self { server, client, directory, program: helm })
    }

    fn command(&self, line: &str) -> Command {
        let chart = workspace().join("tests/charts/harbor").display().to_string();
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace().map(|word| if word == "CHART" { chart.as_str() } else { word }));
        command.args(["--namespace", NAMESPACE]).env("KUBECONFIG", self.server.kubeconfig());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_")) {
            command.env_remove(name);
        }
        command.env("HOME", self.directory.path()).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command and returns what it printed.
    fn run(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        done(line, &output)
    }

    fn fails(&self, line: &str, part: &str) {
        let output = self.command(line).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains(part), "helm {line}\n{complaint}");
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} -o json"))).unwrap()
    }

    /// What happened to the release so far: each revision's status.
    fn history(&self) -> Vec<String> {
        let history = self.json("history web");
        history.as_array().unwrap().iter().map(|revision| revision["status"].as_str().unwrap().to_owned()).collect()
    }

    fn get(&self, api: &str, resource: &str, name: &str) -> Answer {
        self.client.get(&path(api, resource, name))
    }

    fn object(&self, api: &str, resource: &str) -> Value {
        let answer = self.get(api, resource, RELEASE);
        expect(200, &answer);
        answer.json()
    }

    fn deployment(&self) -> Value {
        self.object("apps/v1", "deployments")
    }

    fn configuration(&self) -> Value {
        self.object("v1", "configmaps")["data"].clone()
    }

    fn ports(&self) -> Value {
        let service = self.object("v1", "services");
        service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].clone()).collect()
    }

    /// Whether the object is there that the chart has only with patience.
    fn has_patience(&self) -> bool {
        self.get("v1", "configmaps", "web-patience").status == 200
    }

    /// Every object of the release is there and has these managers.
    fn check_managers(&self, expected: &[&str]) {
        for (api, resource, name) in OBJECTS {
            let answer = self.get(api, resource, name);
            expect(200, &answer);
            assert_eq!(managers(&answer.json()), expected, "{resource} {name}");
        }
    }

    /// Scales the deployment as an autoscaler does.
    fn scale(&self, replicas: u32) {
        let path = format!("{}/scale?fieldManager=scaler", path("apps/v1", "deployments", RELEASE));
        let content = json!({"spec": {"replicas": replicas}}).to_string();
        expect(
            200,
            &self.client.send_content("PATCH", &path, "application/merge-patch+json", content.as_bytes()).unwrap(),
        );
    }

    /// Applies a part of the configuration as another manager.
    fn apply_configuration(&self, data: &Value) -> Answer {
        let path = format!("{}?fieldManager=gitops", path("v1", "configmaps", RELEASE));
        let content = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": RELEASE}, "data": data});
        let content = content.to_string();
        self.client.send_content("PATCH", &path, "application/apply-patch+yaml", content.as_bytes()).unwrap()
    }
}

fn path(api: &str, resource: &str, name: &str) -> String {
    let root = if api.contains('/') { "apis" } else { "api" };
    format!("/{root}/{api}/namespaces/{NAMESPACE}/{resource}/{name}")
}

fn expect(status: u16, answer: &Answer) {
    assert_eq!(answer.status, status, "{}", answer.text());
}

fn done(line: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "helm {line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Who owns something of an object, and how it came to it.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let part = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = entries
        .iter()
        .map(|entry| match part(entry, "subresource").as_str() {
            "" => format!("{} {}", part(entry, "manager"), part(entry, "operation")),
            door => format!("{} {} {door}", part(entry, "manager"), part(entry, "operation")),
        })
        .collect();
    found.sort();
    found
}

/// What a manager owns of an object by applying.
fn applied_by<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let mut entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    &entry.unwrap_or_else(|| panic!("{manager} applied nothing: {object}"))["fieldsV1"]
}

#[test]
fn a_release_is_installed_upgraded_rolled_back_and_removed() {
    let Some(helm) = Helm::new() else { return };
    helm.run("install web CHART");
    helm.check_managers(&["helm Apply"]);
    let first = helm.deployment();
    assert_eq!(first["metadata"]["annotations"]["meta.helm.sh/release-name"], RELEASE);
    assert_eq!(helm.json("list")[0]["status"], "deployed");
    assert_eq!(helm.json("get values web"), Value::Null);
    let address = helm.object("v1", "services")["spec"]["clusterIP"].clone();

    helm.run("upgrade web CHART --set greeting=hello,patience=0,extraPort=81");
    assert_eq!(helm.json("get values web"), json!({"greeting": "hello", "patience": 0, "extraPort": 81}));
    let second = helm.deployment();
    assert_eq!((&second["metadata"]["uid"], &second["metadata"]["generation"]), (&first["metadata"]["uid"], &json!(2)));
    assert_eq!(helm.configuration(), json!({"greeting": "hello"}));
    assert_eq!(helm.object("v1", "secrets")["data"], json!({"password": "aGVsbG8="}));
    assert_eq!(helm.ports(), json!([80, 81]));
    assert_eq!(helm.object("v1", "services")["spec"]["clusterIP"], address);
    assert!(!helm.has_patience());
    assert_eq!(helm.get("v1", "configmaps", "web-log").json()["data"]["revision"], "2");

    helm.run("rollback web 1");
    helm.check_managers(&["helm Apply"]);
    assert_eq!((helm.configuration(), helm.ports()), (json!({"greeting": "ahoy"}), json!([80])));
    assert_eq!(helm.deployment()["spec"], first["spec"]);
    assert_eq!(helm.history(), ["superseded", "superseded", "deployed"]);
    let status = helm.json("status web");
    assert_eq!((&status["version"], &status["info"]["description"]), (&json!(3), &json!("Rollback to 1")));
    let manifest = helm.run("get manifest web");
    assert_eq!(manifest.lines().filter(|line| line.starts_with("kind: ")).count(), OBJECTS.len(), "{manifest}");

    // The same once more changes nothing.
    let before: Vec<_> = OBJECTS.iter().map(|(api, resource, name)| helm.get(api, resource, name).json()).collect();
    helm.run("upgrade web CHART");
    for ((api, resource, name), before) in OBJECTS.iter().zip(before) {
        assert_eq!(helm.get(api, resource, name).json(), before, "{resource} {name}");
    }

    helm.run("uninstall web");
    for (api, resource, name) in OBJECTS {
        expect(404, &helm.get(api, resource, name));
    }
    assert_eq!(helm.json("list"), json!([]));
}

#[test]
fn what_others_own_is_kept_or_conflicts() {
    let Some(helm) = Helm::new() else { return };
    helm.run("install web CHART");
    helm.scale(4);
    expect(200, &helm.apply_configuration(&json!({"ours": "1"})));
    let deployment = helm.deployment();
    assert_eq!(managers(&deployment), ["helm Apply", "scaler Update scale"]);
    assert_eq!(applied_by(&deployment, "helm")["f:spec"]["f:replicas"], Value::Null);

    // A chart that names no replicas leaves them alone, and no key of another manager goes.
    helm.run("upgrade web CHART --set replicas=0,greeting=hello");
    assert_eq!(helm.deployment()["spec"]["replicas"], 4);
    assert_eq!(helm.configuration(), json!({"greeting": "hello", "ours": "1"}));

    helm.fails(
        "upgrade web CHART --set replicas=3,patience=0",
        r#"conflict with "scaler" with subresource "scale" using apps/v1"#,
    );
    assert_eq!(helm.deployment()["spec"]["replicas"], 4);
    assert_eq!(helm.history(), ["superseded", "deployed", "failed"]);
    let answer = helm.apply_configuration(&json!({"ours": "1", "greeting": "mine"}));
    expect(409, &answer);
    let cause = &answer.json()["details"]["causes"][0];
    assert_eq!((&cause["field"], &cause["message"]), (&json!(".data.greeting"), &json!(r#"conflict with "helm""#)));

    helm.run("upgrade web CHART --set replicas=3 --force-conflicts");
    let deployment = helm.deployment();
    assert_eq!((&deployment["spec"]["replicas"], managers(&deployment)), (&json!(3), vec!["helm Apply".to_owned()]));

    helm.run("rollback web 1");
    assert_eq!(helm.deployment()["spec"]["replicas"], 2);
    assert_eq!(helm.configuration(), json!({"greeting": "ahoy", "ours": "1"}));
    assert_eq!(managers(&helm.object("v1", "configmaps")), ["gitops Apply", "helm Apply"]);
    assert!(helm.has_patience());
}

#[test]
fn a_release_goes_from_one_way_of_writing_to_the_other_and_back() {
    let Some(helm) = Helm::new() else { return };
    helm.run("install web CHART --server-side=false --set extraPort=81");
    helm.check_managers(&["helm Update"]);
    // It stays with the way it began in.
    helm.run("upgrade web CHART --reuse-values --set greeting=hello");
    helm.check_managers(&["helm Update"]);
    expect(200, &helm.apply_configuration(&json!({"ours": "1"})));

    // What it wrote before counts as applied: what is left out goes.
    helm.run("upgrade web CHART --server-side=true --set extraPort=0,greeting=moin");
    assert_eq!(helm.ports(), json!([80]));
    assert_eq!(helm.configuration(), json!({"greeting": "moin", "ours": "1"}));
    assert_eq!(managers(&helm.deployment()), ["helm Apply"]);
    assert_eq!(managers(&helm.object("v1", "services")), ["helm Apply"]);
    assert_eq!(managers(&helm.object("v1", "configmaps")), ["gitops Apply", "helm Apply"]);

    helm.run("upgrade web CHART --server-side=false --set extraPort=82,greeting=servus,patience=0");
    assert_eq!(helm.ports(), json!([80, 82]));
    assert_eq!(helm.configuration(), json!({"greeting": "servus", "ours": "1"}));
    assert!(!helm.has_patience());

    // Back to a revision that was applied.
    helm.run("rollback web 3 --server-side=true");
    assert_eq!(helm.ports(), json!([80]));
    assert_eq!(helm.configuration(), json!({"greeting": "moin", "ours": "1"}));
    assert_eq!(managers(&helm.object("v1", "configmaps")), ["gitops Apply", "helm Apply"]);
    assert_eq!(helm.history(), ["superseded", "superseded", "superseded", "superseded", "deployed"]);
}

#[test]
fn what_is_there_already_is_taken_over_only_on_demand() {
    let Some(helm) = Helm::new() else { return };
    let there = json!({"metadata": {"name": RELEASE}, "data": {"greeting": "mine", "other": "kept"}});
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?fieldManager=maker");
    expect(201, &helm.client.post(&maps, &there));
    helm.fails("install web CHART", "exists and cannot be imported into the current release");
    helm.fails("install web CHART --take-ownership", r#"Apply failed with 1 conflict: conflict with "maker" using v1"#);
    assert_eq!(helm.configuration(), there["data"]);
    helm.run("upgrade --install web CHART --take-ownership --force-conflicts");
    assert_eq!(helm.configuration(), json!({"greeting": "ahoy", "other": "kept"}));
    assert_eq!(managers(&helm.object("v1", "configmaps")), ["helm Apply", "maker Update"]);
    helm.run("upgrade web CHART --server-side=false --force-replace");
    helm.run("upgrade web CHART --server-side=true --dry-run=server --set greeting=hello");
    assert_eq!(helm.configuration()["greeting"], "ahoy");
    // Kept in the history, it can come back.
    helm.run("uninstall web --keep-history");
    expect(404, &helm.get("v1", "configmaps", RELEASE));
    assert_eq!(helm.history().last().map(String::as_str), Some("uninstalled"));
}

/// Does what the controllers of deployments and jobs tell of their work in the end, until Helm has seen it.
async fn conclude(connector: Connector, api: &'static str, resource: &'static str) -> anyhow::Result<()> {
    let collection = path(api, resource, "");
    let collection = collection.trim_end_matches('/');
    let mut reader = connector.open(Protocol::Http1).await?;
    let answer = reader.open(&format!("{collection}?watch=true"), Asking::GET).await?;
    let mut events = WatchStream::new(answer.into_body(), Form::Json);
    // What was deleted since is nobody's work any more: 404.
    let mut writer = connector.open(Protocol::Http1).await?;
    while let Some(event) = events.next().await? {
        let (object, generation) = (&event.object, &event.object["metadata"]["generation"]);
        let started = &object["metadata"]["creationTimestamp"];
        let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": started});
        let replicas = &object["spec"]["replicas"];
        let status = match resource {
            "deployments" => json!({
                "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas,
                "conditions": [condition("Available", "A"), condition("Progressing", "NewReplicaSetAvailable")],
            }),
            _ => json!({
                "startTime": started, "completionTime": started, "succeeded": 1, "ready": 0, "terminating": 0,
                "uncountedTerminatedPods": {}, "conditions": [
                    condition("SuccessCriteriaMet", "CompletionsReached"), condition("Complete", "CompletionsReached"),
                ],
            }),
        };
        if event.kind == "DELETED" || object["status"] == status {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let content = json!({"status": status});
        let content = Some(("application/merge-patch+json", &content));
        let asking = Asking { method: "PATCH", content, ..Asking::GET };
        let (code, answer) = writer.ask(&format!("{collection}/{name}/status?fieldManager=controller"), asking).await?;
        anyhow::ensure!([200, 404].contains(&code), "{name}: {answer}");
    }
    Ok(())
}

#[test]
fn helm_waits_for_what_controllers_tell() {
    let Some(helm) = Helm::new() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let connector = Connector::of(&helm.client);
    let deployments = runtime.spawn(conclude(connector.clone(), "apps/v1", "deployments"));
    let jobs = runtime.spawn(conclude(connector, "batch/v1", "jobs"));
    helm.run(&format!("install web CHART --wait {DEADLINE}"));
    helm.run(&format!("upgrade web CHART --set hooks.migrate=true,replicas=3 --wait {DEADLINE}"));
    let deployment = helm.deployment();
    assert_eq!(deployment["status"]["availableReplicas"], 3);
    assert_eq!(managers(&deployment), ["controller Update status", "helm Apply"]);
    // The hook's job was done, then deleted.
    expect(404, &helm.get("batch/v1", "jobs", "web-migrate"));
    helm.run(&format!("uninstall web --wait {DEADLINE}"));
    expect(404, &helm.get("apps/v1", "deployments", RELEASE));
    for task in [deployments, jobs] {
        task.abort();
        let ended = runtime.block_on(task);
        assert!(ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled), "{ended:?}");
    }
}
