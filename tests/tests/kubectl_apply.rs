//! kubectl changes what a manifest says: apply on the client's side and on the server's (KEP-555), with prune, diff, edit and replace.

use std::fs;
use std::path::PathBuf;

use portcullis_tests::build::workspace;
use portcullis_tests::kubectl::{Kubectl, told};
use serde_json::{Value, json};

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const SETTINGS: &str = "/api/v1/namespaces/default/configmaps/settings";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn manifests() -> PathBuf {
    workspace().join("tests/manifests")
}

/// The manifest of a configuration map, a service and a deployment.
fn web() -> String {
    fs::read_to_string(manifests().join("web.yaml")).unwrap()
}

/// A manifest of one configuration map.
fn config_map(name: &str, data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).to_string()
}

/// Who manages an object and how, in the order of the entries.
fn managers(object: &Value) -> Vec<(&str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| (entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap())).collect()
}

/// The fields of a manager that writes in one way.
fn fields<'a>(object: &'a Value, manager: &str, operation: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = entries.iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation);
    found.map_or(&Value::Null, |entry| &entry["fieldsV1"])
}

/// The names and values of a container's variables.
fn variables(deployment: &Value) -> Value {
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    variables.into_iter().flatten().map(|it| (it["name"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
}

#[test]
fn a_manifest_is_applied_from_the_client() {
    let Some(kubectl) = Kubectl::new() else { return };
    let apply = |text: &str| kubectl.run(&format!("apply -f {}", kubectl.file("web.yaml", text).display()));
    assert_eq!(apply(&web()), "configmap/settings created\nservice/web created\ndeployment.apps/web created\n");
    let made = kubectl.object(WEB);
    assert_eq!(managers(&made), [("kubectl-client-side-apply", "Update")]);
    assert!(made["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().ends_with("}\n"));
    assert_eq!(apply(&web()), "configmap/settings unchanged\nservice/web unchanged\ndeployment.apps/web unchanged\n");
    assert_eq!(kubectl.object(WEB), made);

    // What another wrote stays; what the manifest no longer says goes: a key, an element of a list by its key, a container.
    kubectl.run("scale deployment web --replicas=5");
    kubectl.run("set env deployment/web -c web FOREIGN=1");
    let changed = web()
        .replace("  replicas: 2\n", "")
        .replace("  shape: round\n", "")
        .replace("        - {name: SHAPE, value: round}\n", "        - {name: SIZE, value: big}\n")
        .replace("  - {name: metrics, port: 9090}\n", "");
    let (changed, _) = changed.split_once("      - name: side").unwrap();
    assert_eq!(
        apply(changed),
        "configmap/settings configured\nservice/web configured\ndeployment.apps/web configured\n"
    );
    assert_eq!(kubectl.object(SETTINGS)["data"], json!({"colour": "red"}));
    let deployment = kubectl.object(WEB);
    assert_eq!(variables(&deployment), json!({"COLOUR": "red", "SIZE": "big", "FOREIGN": "1"}));
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(deployment["spec"]["replicas"], json!(1), "it was applied, is not any more, and has its default");
    let ports = kubectl.object("/api/v1/namespaces/default/services/web")["spec"]["ports"].clone();
    assert_eq!(ports.as_array().unwrap().iter().map(|port| &port["name"]).collect::<Vec<_>>(), ["http"]);

    kubectl.fails("apply view-last-applied configmap absent", r#"configmaps "absent" not found"#);
    assert!(kubectl.run("apply view-last-applied configmap settings -o json").contains(r#""colour": "red""#));
    assert_eq!(
        told(kubectl.command("delete -f web.yaml").output().unwrap()).1.lines().count(),
        3,
        "all that was applied is deleted"
    );
}

#[test]
fn what_was_not_applied_before_is_warned_of() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.run("create configmap settings --from-literal=colour=green --from-literal=own=1");
    let file = kubectl.file("map.yaml", &config_map("settings", &json!({"colour": "red"})));
    let (status, out, errors) = kubectl.output(&format!("apply -f {}", file.display()));
    assert_eq!((status, &*out), (Some(0), "configmap/settings configured\n"));
    assert!(
        errors.contains(&format!("Warning: resource configmaps/settings is missing the {LAST_APPLIED} annotation"))
    );
    assert_eq!(kubectl.object(SETTINGS)["data"], json!({"colour": "red", "own": "1"}));
    // A manifest that names an old version is refused.
    let mut old: Value = serde_json::from_str(&config_map("settings", &json!({"colour": "blue"}))).unwrap();
    old["metadata"]["resourceVersion"] = json!("1");
    let file = kubectl.file("map.yaml", &old.to_string());
    kubectl.fails(&format!("apply -f {}", file.display()), "the object has been modified");
}

#[test]
fn what_a_manifest_no_longer_has_is_pruned() {
    let Some(kubectl) = Kubectl::new() else { return };
    let labelled = |names: &[&str]| {
        let documents = names.iter().map(|name| {
            let mut map: Value = serde_json::from_str(&config_map(name, &json!({"a": "b"}))).unwrap();
            map["metadata"]["labels"] = json!({"app": "pruned"});
            format!("---\n{map}\n")
        });
        kubectl.file("maps.yaml", &documents.collect::<Vec<_>>().concat());
    };
    kubectl.run("create configmap stranger");
    kubectl.run("label configmap stranger app=pruned");
    labelled(&["one", "two"]);
    let prune = "apply -f maps.yaml --prune -l app=pruned --prune-allowlist=core/v1/ConfigMap";
    kubectl.says(prune, "configmap/one created\nconfigmap/two created");
    labelled(&["one"]);
    kubectl.says(prune, "configmap/one unchanged\nconfigmap/two pruned");
    kubectl.says("get configmaps -l app=pruned -o name", "configmap/one\nconfigmap/stranger");

    let apply_set = || {
        let mut command = kubectl.command("apply -f set.yaml --prune --applyset=secrets/set --server-side -n default");
        told(command.env("KUBECTL_APPLYSET", "true").output().unwrap())
    };
    kubectl.file(
        "set.yaml",
        &["three", "four"].map(|name| format!("---\n{}\n", config_map(name, &json!({"a": "b"})))).concat(),
    );
    let (status, out, errors) = apply_set();
    assert_eq!(status, Some(0), "{out}{errors}");
    kubectl.file("set.yaml", &config_map("three", &json!({"a": "b"})));
    let (status, out, errors) = apply_set();
    assert_eq!((status, &*out), (Some(0), "configmap/three serverside-applied\nconfigmap/four pruned\n"), "{errors}");
    let set = kubectl.object("/api/v1/namespaces/default/secrets/set");
    assert_eq!(set["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"], "ConfigMap");
}

#[test]
fn a_manifest_is_applied_by_the_server() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("web.yaml", &web());
    let applied =
        "configmap/settings serverside-applied\nservice/web serverside-applied\ndeployment.apps/web serverside-applied";
    kubectl.says("apply --server-side -f web.yaml", applied);
    let made = kubectl.object(WEB);
    assert_eq!(managers(&made), [("kubectl", "Apply")]);
    assert_eq!(made["metadata"]["annotations"], Value::Null);
    kubectl.says("apply --server-side -f web.yaml", applied);
    assert_eq!(kubectl.object(WEB), made);

    let file = |data: Value| kubectl.file("map.yaml", &config_map("settings", &data));
    file(json!({"colour": "blue", "size": "big"}));
    let other = "apply --server-side --field-manager=other -f map.yaml";
    kubectl.fails(other, r#"error: Apply failed with 1 conflict: conflict with "kubectl": .data.colour"#);
    kubectl.fails(other, "Please review the fields above--they currently have other managers.");
    file(json!({"colour": "blue", "shape": "square"}));
    kubectl.fails(
        other,
        "error: Apply failed with 2 conflicts: conflicts with \"kubectl\":\n- .data.colour\n- .data.shape\n",
    );
    kubectl.says(&format!("{other} --force-conflicts"), "configmap/settings serverside-applied");
    let forced = kubectl.object(SETTINGS);
    assert_eq!(fields(&forced, "other", "Apply"), &json!({"f:data": {"f:colour": {}, "f:shape": {}}}));
    assert_eq!(fields(&forced, "kubectl", "Apply"), &json!({"f:metadata": {"f:labels": {"f:app": {}}}}));

    // What nobody says any more goes, down to the last label; the name, which nobody owns, stays.
    file(json!({"shape": "square"}));
    kubectl.run(other);
    let left = kubectl.object(SETTINGS);
    assert_eq!(left["data"], json!({"shape": "square"}));
    let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}});
    kubectl.file("nothing.yaml", &nothing.to_string());
    kubectl.says("apply --server-side -f nothing.yaml", "configmap/settings serverside-applied");
    let left = kubectl.object(SETTINGS);
    assert_eq!((managers(&left), &left["metadata"]["labels"]), (vec![("other", "Apply")], &Value::Null));
    assert_eq!(left["metadata"]["uid"], forced["metadata"]["uid"]);

    kubectl.says(
        "apply --server-side --dry-run=server -f web.yaml --field-manager=third --force-conflicts",
        &applied.replace("applied", "applied (server dry run)"),
    );
    assert_eq!(kubectl.object(SETTINGS), left);
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "colour": "red"});
    kubectl.file("unknown.yaml", &unknown.to_string());
    kubectl.fails("apply --server-side --validate=false -f unknown.yaml", ".colour: field not declared in schema");
}

#[test]
fn the_client_s_fields_become_the_server_s() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("web.yaml", &web());
    kubectl.run("apply -f web.yaml");
    kubectl.file(
        "less.yaml",
        &web().replace("        - {name: SHAPE, value: round}\n", "").replace("  shape: round\n", ""),
    );
    kubectl.run("apply --server-side -f less.yaml");
    let deployment = kubectl.object(WEB);
    assert_eq!(variables(&deployment), json!({"COLOUR": "red"}), "what the client applied is given up by the server");
    let mut found = managers(&deployment);
    found.sort_unstable();
    assert_eq!(found, [("kubectl", "Apply"), ("kubectl-last-applied", "Apply")]);
    assert_eq!(kubectl.object(SETTINGS)["data"], json!({"colour": "red"}));
    // Going on from the server, the annotation is kept for whoever goes back.
    let annotation = kubectl.object(SETTINGS)["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().to_owned();
    assert!(annotation.contains("colour") && !annotation.contains("shape"), "{annotation}");
    kubectl.says(
        "apply -f web.yaml",
        "configmap/settings configured\nservice/web configured\ndeployment.apps/web configured",
    );
    assert_eq!(variables(&kubectl.object(WEB)), json!({"COLOUR": "red", "SHAPE": "round"}));

    // An ordinary manager keeps what it changed.
    kubectl.run("set env deployment/web -c web COLOUR=green");
    kubectl.fails("apply --server-side -f less.yaml", r#"conflict with "kubectl-set" using apps/v1"#);
    kubectl.run("apply --server-side -f less.yaml --force-conflicts");
    assert_eq!(variables(&kubectl.object(WEB))["COLOUR"], "red");
}

#[test]
fn a_status_is_applied_by_the_server() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("web.yaml", &web());
    kubectl.run("apply --server-side -f web.yaml");
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    });
    kubectl.file("status.yaml", &status.to_string());
    kubectl.run("apply --server-side --subresource=status --field-manager=controller -f status.yaml");
    let deployment = kubectl.object(WEB);
    assert_eq!(deployment["status"]["conditions"][0]["type"], "Available");
    let entries = deployment["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "controller").unwrap();
    assert_eq!(entry["subresource"], "status");
    assert_eq!(deployment["spec"]["replicas"], 2);
}

#[test]
fn a_difference_is_shown_and_told_by_the_exit_code() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("web.yaml", &web());
    let check = |line: &str, code: i32, lines: &[&str]| {
        let (status, out, errors) = kubectl.output(line);
        assert_eq!(status, Some(code), "{line}\n{out}{errors}");
        for wanted in lines {
            assert!(out.lines().any(|found| found == *wanted), "no {wanted:?}: {out}");
        }
    };
    check("diff -f web.yaml", 1, &["+kind: Deployment", "+  colour: red"]);
    check("diff --server-side -f web.yaml", 1, &["+kind: Deployment"]);
    assert_eq!(kubectl.admin().get(WEB).status, 404, "a difference makes nothing");
    kubectl.run("apply -f web.yaml");
    check("diff -f web.yaml", 0, &[]);
    kubectl.file("other.yaml", &web().replace("colour: red", "colour: blue").replace("web:1", "web:2"));
    let lines = [
        "-  colour: red",
        "+  colour: blue",
        "-        image: registry.example/web:1",
        "+        image: registry.example/web:2",
    ];
    check("diff -f other.yaml", 1, &lines);
    check("diff --server-side --force-conflicts -f other.yaml", 1, &lines);
    kubectl.run("apply --server-side --force-conflicts -f other.yaml");
    check("diff --server-side -f other.yaml", 0, &[]);
}

/// Edits with an editor that changes what it is given by one expression after the other, and keeps what it saw.
fn edit(kubectl: &Kubectl, line: &str, expressions: &[&str]) -> (Option<i32>, String, String, Vec<String>) {
    for (number, expression) in expressions.iter().enumerate() {
        kubectl.file(&format!("edit.{number}"), expression);
        let _ = fs::remove_file(kubectl.directory().join(format!("seen.{number}")));
    }
    let _ = fs::remove_file(kubectl.directory().join("count"));
    let script = kubectl.file(
        "editor.sh",
        "n=$(cat count 2>/dev/null || echo 0)\ncp \"$1\" seen.$n\nsed -i -f edit.$n \"$1\"\necho $((n + 1)) >count\n",
    );
    let mut command = kubectl.command(line);
    let (status, out, errors) = told(command.env("KUBE_EDITOR", format!("sh {}", script.display())).output().unwrap());
    let seen =
        (0..expressions.len()).filter_map(|it| fs::read_to_string(kubectl.directory().join(format!("seen.{it}"))).ok());
    (status, out, errors, seen.collect())
}

#[test]
fn an_object_is_edited() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("web.yaml", &web());
    kubectl.run("apply -f web.yaml");
    let (status, out, ..) = edit(&kubectl, "edit deployment web", &["s/replicas: 2/replicas: 3/"]);
    assert_eq!((status, &*out), (Some(0), "deployment.apps/web edited\n"));
    let edited = kubectl.object(WEB);
    assert_eq!(edited["spec"]["replicas"], 3);
    assert_eq!(fields(&edited, "kubectl-edit", "Update"), &json!({"f:spec": {"f:replicas": {}}}));

    let (status, out, errors, _) = edit(&kubectl, "edit deployment web", &[""]);
    assert_eq!((status, &*out, &*errors), (Some(0), "", "Edit cancelled, no changes made.\n"));

    // A change that the server refuses comes back with the reason, and may be mended.
    let expressions = ["s/replicas: 3/replicas: -3/", "s/replicas: -3/replicas: 4/"];
    let (status, _, errors, seen) = edit(&kubectl, "edit deployment web", &expressions);
    assert_eq!(status, Some(0), "{errors}");
    assert!(errors.contains(r#"error: deployments.apps "web" is invalid"#), "{errors}");
    for line in [
        r#"# deployments.apps "web" was not valid:"#,
        "# * spec.replicas: Invalid value: -3: must be greater than or equal to 0",
    ] {
        assert!(seen[1].lines().any(|found| found.trim_end() == line), "no {line}: {}", seen[1]);
    }
    assert_eq!(kubectl.object(WEB)["spec"]["replicas"], 4);
    let (status, _, errors, _) = edit(&kubectl, "edit deployment web", &["s/replicas: 4/replicas: -4/", ""]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("Edit cancelled, no valid changes were saved."), "{errors}");

    let (status, out, errors, _) =
        edit(&kubectl, "edit deployment web --subresource=status", &["s/status: {}/status: {observedGeneration: 7}/"]);
    assert_eq!((status, &*out), (Some(0), "deployment.apps/web edited\n"), "{errors}");
    assert_eq!(kubectl.object(WEB)["status"]["observedGeneration"], 7);
    let (status, ..) = edit(&kubectl, "edit configmap absent", &[""]);
    assert_eq!(status, Some(1));
}

#[test]
fn an_object_is_replaced() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("map.yaml", &config_map("settings", &json!({"colour": "red"})));
    kubectl.fails("replace -f map.yaml", r#"configmaps "settings" not found"#);
    kubectl.says("create -f map.yaml", "configmap/settings created");
    let made = kubectl.object(SETTINGS);
    kubectl.file("map.yaml", &config_map("settings", &json!({"shape": "round"})));
    kubectl.says("replace -f map.yaml", "configmap/settings replaced");
    let replaced = kubectl.object(SETTINGS);
    assert_eq!(
        (&replaced["data"], &replaced["metadata"]["uid"]),
        (&json!({"shape": "round"}), &made["metadata"]["uid"])
    );
    let mut found = managers(&replaced);
    found.sort_unstable();
    assert_eq!(found, [("kubectl-create", "Update"), ("kubectl-replace", "Update")]);
    kubectl.file("map.yaml", &made.to_string());
    kubectl.fails(
        "replace -f map.yaml",
        "the object has been modified; please apply your changes to the latest version and try again",
    );
    kubectl.file("map.yaml", &config_map("settings", &json!({"size": "big"})));
    kubectl.says("replace --force -f map.yaml", "configmap \"settings\" deleted\nconfigmap/settings replaced");
    let forced = kubectl.object(SETTINGS);
    assert!(forced["metadata"]["uid"] != made["metadata"]["uid"]);
}

#[test]
fn a_kustomization_is_applied() {
    let Some(kubectl) = Kubectl::new() else { return };
    let overlay = manifests().join("kustomize/overlay");
    let line = format!("apply -k {}", overlay.display());
    let out = kubectl.run(&line);
    let generated = out.lines().find(|line| line.starts_with("configmap/over-generated-")).unwrap();
    assert!(generated.ends_with(" created") && out.contains("configmap/over-map created\n"), "{out}");
    let map = kubectl.object("/api/v1/namespaces/default/configmaps/over-map");
    assert_eq!((&map["data"]["colour"], &map["metadata"]["labels"]["layer"]), (&json!("blue"), &json!("overlay")));
    assert!(kubectl.run(&line).lines().all(|line| line.ends_with(" unchanged")));
    assert_eq!(kubectl.run(&format!("delete -k {}", overlay.display())).lines().count(), 2);
}

#[test]
fn unknown_fields_are_refused_warned_of_or_ignored() {
    let Some(kubectl) = Kubectl::new() else { return };
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, finaliser: [a]}\ncolour: red\ndata: {a: b}\n";
    kubectl.file("map.yaml", &text.replace("NAME", "one"));
    let strict = r#"strict decoding error: unknown field "colour", unknown field "metadata.finaliser""#;
    kubectl.fails("create -f map.yaml", strict);
    kubectl.fails("apply -f map.yaml --validate=strict", strict);
    let (status, out, errors) = kubectl.output("create -f map.yaml --validate=warn");
    assert_eq!((status, &*out), (Some(0), "configmap/one created\n"), "{errors}");
    assert_eq!(errors, "Warning: unknown field \"colour\"\nWarning: unknown field \"metadata.finaliser\"\n");
    kubectl.file("map.yaml", &text.replace("NAME", "two"));
    let (status, out, errors) = kubectl.output("create -f map.yaml --validate=ignore");
    assert_eq!((status, &*out, &*errors), (Some(0), "configmap/two created\n", ""));
    kubectl.file("map.yaml", &text.replace("NAME", "three"));
    let (status, out, errors) = kubectl.output("create -f map.yaml --validate=warn --warnings-as-errors");
    assert_eq!(
        (status, &*out),
        (
            Some(1),
            "configmap/three created
"
        ),
        "{errors}"
    );
    assert!(errors.contains("2 warnings received"), "{errors}");
}
