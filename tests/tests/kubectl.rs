//! An unmodified kubectl. Without one, or without the manifest, a test says so in one line; in CI a kubectl is required.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use portcullis_tests::build::workspace;
use portcullis_tests::program::Server;

const MANIFEST: &str = "../shared/manifests/argo-cd-install.yaml";

struct Kubectl {
    server: Server,
    directory: tempfile::TempDir,
}

impl Kubectl {
    /// A new cluster with a kubectl for it.
    fn new() -> Option<Self> {
        let found =
            Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI needs a kubectl");
            println!("no kubectl here: nothing tested");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        Some(Self { server: Server::start(&directory.path().join("data")), directory })
    }

    /// Runs a command and returns what it printed.
    fn run(&self, line: &str) -> String {
        let mut command = Command::new("kubectl");
        command
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.server.kubeconfig())
            .env("HOME", self.directory.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {line}\n{out}{errors}");
        out.into_owned()
    }

    fn fails(&self, line: &str, part: &str) {
        let mut command = Command::new("kubectl");
        command
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.server.kubeconfig())
            .env("HOME", self.directory.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(part), "kubectl {line}\n{errors}");
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

#[test]
fn namespaces_and_configuration_maps_are_made_read_and_deleted() {
    let Some(kubectl) = Kubectl::new() else { return };
    let namespaces = kubectl.run("get namespaces");
    for name in ["NAME", "default", "kube-node-lease", "kube-public", "kube-system", "Active"] {
        assert!(namespaces.contains(name), "{namespaces}");
    }
    assert_eq!(kubectl.run("create namespace harbor"), "namespace/harbor created\n");
    assert_eq!(kubectl.run("create configmap one -n harbor --from-literal=a=b"), "configmap/one created\n");
    assert_eq!(kubectl.run("get configmap one -n harbor -o jsonpath={.data.a}"), "b");
    assert!(kubectl.run("get configmaps -n harbor").lines().any(|line| line.starts_with("one ")));
    kubectl.fails("create configmap one -n harbor", r#"configmaps "one" already exists"#);
    assert_eq!(kubectl.run("delete configmap one -n harbor"), "configmap \"one\" deleted\n");
    kubectl.fails("get configmap one -n harbor", r#"configmaps "one" not found"#);
    kubectl.run("delete namespace harbor --wait=false");
}

/// The documents of a manifest that are not definitions of custom resources.
fn without_definitions(manifest: &str) -> Vec<&str> {
    let documents = manifest.split("\n---\n");
    let is_definition = |text: &str| text.lines().any(|line| line == "kind: CustomResourceDefinition");
    documents.filter(|text| !text.trim().is_empty() && !is_definition(text)).collect()
}

#[test]
fn a_real_manifest_is_created_listed_read_explained_and_deleted() {
    let Ok(manifest) = fs::read_to_string(workspace().join(MANIFEST)) else {
        println!("no {MANIFEST} here: nothing tested");
        return;
    };
    let Some(kubectl) = Kubectl::new() else { return };
    let documents = without_definitions(&manifest);
    let file = kubectl.file("install.yaml", &documents.join("\n---\n"));
    let file = file.display();
    kubectl.run("create namespace argocd");
    let created = kubectl.run(&format!("create -n argocd -f {file}"));
    assert_eq!(created.lines().filter(|line| line.ends_with(" created")).count(), documents.len(), "{created}");

    let listed = kubectl.run(&format!("get -n argocd -f {file} -o name"));
    assert_eq!(listed.lines().count(), documents.len(), "{listed}");
    let deployments = kubectl.run("get deployments -n argocd");
    assert!(deployments.contains("argocd-server"), "{deployments}");
    let yaml = kubectl.run("get deployment argocd-server -n argocd -o yaml");
    for part in ["apiVersion: apps/v1", "kind: Deployment", "  name: argocd-server", "  uid: ", "    spec:"] {
        assert!(yaml.contains(part), "no {part:?} in {yaml}");
    }
    let explained = kubectl.run("explain deployment.spec.strategy --recursive");
    for part in ["KIND:       Deployment", "GROUP:      apps", "rollingUpdate", "maxSurge", "DESCRIPTION:"] {
        assert!(explained.contains(part), "no {part:?} in {explained}");
    }
    let deleted = kubectl.run(&format!("delete -n argocd -f {file}"));
    assert_eq!(deleted.lines().filter(|line| line.contains(" deleted")).count(), documents.len(), "{deleted}");
    kubectl.fails("get deployment argocd-server -n argocd", "not found");
}
