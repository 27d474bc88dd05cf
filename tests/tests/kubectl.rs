//! An unmodified kubectl. Without one, or without the manifest, a test says so in one line; in CI a kubectl is required.

use std::fs;

use portcullis_tests::build::workspace;
use portcullis_tests::kubectl::Kubectl;

const MANIFEST: &str = "../shared/manifests/argo-cd-install.yaml";

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

/// Columns with two blanks between them, however wide they are.
fn squeezed(table: &str) -> String {
    let line = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join("  ")
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn who_one_is_and_what_one_may_do() {
    let Some(kubectl) = Kubectl::new() else { return };
    let whoami = squeezed(&kubectl.run("auth whoami"));
    for line in ["ATTRIBUTE  VALUE", "Username  kubernetes-admin", "Groups  [system:masters system:authenticated]"] {
        assert!(whoami.lines().any(|found| found == line), "{whoami}");
    }
    assert!(whoami.contains("Extra: authentication.kubernetes.io/credential-id  [X509SHA256="), "{whoami}");
    let as_ana = squeezed(&kubectl.run("auth whoami --as=ana --as-group=harbor"));
    assert_eq!(as_ana, "ATTRIBUTE  VALUE\nUsername  ana\nGroups  [harbor system:authenticated]");
    assert_eq!(kubectl.run("auth can-i create pods"), "yes\n");
    let (status, out, _) = kubectl.output("auth can-i delete pods --as=ana");
    assert_eq!((status, &*out), (Some(1), "no\n"));
    kubectl.run("create role reader --verb=get,list --resource=pods,deployments.apps");
    kubectl.run("create rolebinding reader --role=reader --user=ana");
    assert_eq!(kubectl.run("auth can-i list pods --as=ana"), "yes\n");
    assert_eq!(kubectl.run("auth can-i list pods --as=ana -n default"), "yes\n");
    let (status, out, _) = kubectl.output("auth can-i list pods --as=ana -n kube-system");
    assert_eq!((status, &*out), (Some(1), "no\n"));
    let list = squeezed(&kubectl.run("auth can-i --list --as=ana"));
    for line in [
        "Resources  Non-Resource URLs  Resource Names  Verbs",
        "selfsubjectreviews.authentication.k8s.io  []  []  [create]",
        "pods  []  []  [get list]",
        "deployments.apps  []  []  [get list]",
        "[/api/*]  []  [get]",
    ] {
        assert!(list.lines().any(|found| found == line), "{line}: {list}");
    }
    assert_eq!(kubectl.run("get pods --as=ana"), "");
    let message = r#"Error from server (Forbidden): secrets is forbidden: User "ana" cannot list resource "secrets" in API group "" in the namespace "default""#;
    kubectl.fails("get secrets --as=ana", message);
}

#[test]
fn tokens_are_made_and_tell_who_one_is() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.run("create serviceaccount robot");
    let token = kubectl.run("create token robot --duration=1h");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let config = "--kubeconfig=/dev/null";
    let place = format!(
        "--server=https://{} --certificate-authority={}",
        kubectl.server().address(),
        kubectl.authority().display()
    );
    let whoami = squeezed(&kubectl.run(&format!("auth whoami {config} {place} --token={}", token.trim())));
    assert!(whoami.contains("Username  system:serviceaccount:default:robot"), "{whoami}");
    assert!(
        whoami.contains("[system:serviceaccounts system:serviceaccounts:default system:authenticated]"),
        "{whoami}"
    );
    kubectl.fails("create token absent", r#"serviceaccounts "absent" not found"#);
    kubectl.fails("create token robot --duration=1m", "may not specify a duration less than 10 minutes");
}

#[test]
fn requests_for_certificates_are_approved_and_denied() {
    let Some(kubectl) = Kubectl::new() else { return };
    for name in ["one", "two"] {
        let request = portcullis_tests::credentials::signing_request("robot", "harbor").unwrap();
        let object = serde_json::json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
        });
        let file = kubectl.file("request.json", &object.to_string());
        kubectl.run(&format!("create -f {}", file.display()));
    }
    assert_eq!(kubectl.run("certificate approve one"), "certificatesigningrequest.certificates.k8s.io/one approved\n");
    assert_eq!(kubectl.run("certificate deny two"), "certificatesigningrequest.certificates.k8s.io/two denied\n");
    for (name, condition) in [("one", "Approved"), ("two", "Denied")] {
        let told = kubectl.run(&format!("get csr {name} -o jsonpath={{.status.conditions[*].type}}"));
        assert_eq!(told, condition, "{name}");
    }
}
