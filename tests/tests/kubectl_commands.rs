//! kubectl's other commands: those that make objects out of arguments, change one thing of them, wait for them, show and delete them.

use std::fs;

use portcullis_tests::build::workspace;
use portcullis_tests::kubectl::Kubectl;
use serde_json::{Value, json};

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const ONE: &str = "/api/v1/namespaces/default/pods/one";
const STATUS_PATCH: &str = "application/merge-patch+json";

/// A kubectl in whose cluster there are a deployment, a service and a configuration map.
fn with_web() -> Option<Kubectl> {
    let kubectl = Kubectl::new()?;
    kubectl.file("web.yaml", &fs::read_to_string(workspace().join("tests/manifests/web.yaml")).unwrap());
    kubectl.run("create -f web.yaml");
    Some(kubectl)
}

/// Makes a pod of a node.
fn make_pod(kubectl: &Kubectl, name: &str) {
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "registry.example/c:1"}]});
    let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    let answer = kubectl.admin().post("/api/v1/namespaces/default/pods", &pod);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Says something of an object's status.
fn patch_status(kubectl: &Kubectl, path: &str, status: &Value) {
    let content = json!({"status": status}).to_string();
    let path = format!("{path}/status");
    let answer = kubectl.admin().send_content("PATCH", &path, STATUS_PATCH, content.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn replicas_are_scaled_under_conditions() {
    let Some(kubectl) = with_web() else { return };
    kubectl.says("scale deployment web --replicas=3", "deployment.apps/web scaled");
    let scaled = kubectl.object(WEB);
    let entries = scaled["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["subresource"] == "scale").expect("whoever scales owns the replicas");
    assert_eq!((&entry["manager"], &entry["fieldsV1"]), (&json!("kubectl"), &json!({"f:spec": {"f:replicas": {}}})));
    kubectl.says("scale deployment web --current-replicas=3 --replicas=4", "deployment.apps/web scaled");
    kubectl.fails("scale deployment web --current-replicas=3 --replicas=5", "Expected replicas to be 3, was 4");
    let version = kubectl.object(WEB)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    kubectl
        .says(&format!("scale deployment web --resource-version={version} --replicas=5"), "deployment.apps/web scaled");
    kubectl
        .fails(&format!("scale deployment web --resource-version={version} --replicas=6"), "Expected resource version");
    kubectl.says("scale deployment web --replicas=6 --dry-run=server", "deployment.apps/web scaled (server dry run)");
    kubectl.fails("scale deployment web --replicas=-2", "COUNT must be greater than or equal to 0");
    assert_eq!(kubectl.object(WEB)["spec"]["replicas"], 5);
    let template = json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example/c:1"}]},
    });
    for (api, kind, resource, selector) in [
        ("apps/v1", "ReplicaSet", "replicaset.apps/a", json!({"matchLabels": {"app": "a"}})),
        ("apps/v1", "StatefulSet", "statefulset.apps/a", json!({"matchLabels": {"app": "a"}})),
        ("v1", "ReplicationController", "replicationcontroller/a", json!({"app": "a"})),
    ] {
        let spec = json!({"replicas": 0, "selector": selector, "template": template});
        let object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        kubectl.file("set.yaml", &object.to_string());
        kubectl.run("create -f set.yaml");
        kubectl.says(&format!("scale {resource} --replicas=2"), &format!("{resource} scaled"));
        kubectl.says(&format!("get {resource} -o jsonpath={{.spec.replicas}}"), "2");
    }
}

#[test]
fn one_waits_for_what_others_do() {
    let Some(kubectl) = Kubectl::new() else { return };
    make_pod(&kubectl, "one");
    kubectl.fails("wait --for=condition=Ready pod/one --timeout=0", "condition not met for pods/one");
    let waits =
        ["condition=Ready", "condition=Ready=true", "jsonpath={.status.phase}=Running", "jsonpath={.status.podIP}"];
    let mut waiting: Vec<_> =
        waits.iter().map(|wait| kubectl.start(&format!("wait --for={wait} pod/one --timeout=120s"))).collect();
    let mut created = kubectl.start("wait --for=create configmap/later --timeout=120s");
    let condition = json!({"type": "Ready", "status": "True"});
    patch_status(&kubectl, ONE, &json!({"phase": "Running", "podIP": "10.0.0.7", "conditions": [condition]}));
    for running in &mut waiting {
        assert_eq!(running.next_line(), "pod/one condition met");
    }
    kubectl.run("create configmap later");
    assert_eq!(created.next_line(), "configmap/later condition met");
    let deleted = kubectl.start("wait --for=delete pod/one --timeout=120s");
    kubectl.run("delete pod one --grace-period=0 --force");
    assert!(deleted.succeeds() && created.succeeds() && waiting.into_iter().all(|running| running.succeeds()));
    kubectl.run("wait --for=delete pod/one --timeout=120s");
}

#[test]
fn objects_are_patched() {
    let Some(kubectl) = with_web() else { return };
    let patch =
        |arguments: &str| kubectl.says(&format!("patch deployment web {arguments}"), "deployment.apps/web patched");
    patch(r#"-p={"spec":{"template":{"spec":{"containers":[{"name":"web","image":"registry.example/web:2"}]}}}}"#);
    let images = "get deployment web -o jsonpath={.spec.template.spec.containers[*].image}";
    kubectl.says(images, "registry.example/web:2 registry.example/side:1");
    patch(
        r#"--type=json -p=[{"op":"replace","path":"/spec/template/spec/containers/1/image","value":"registry.example/side:2"}]"#,
    );
    kubectl.says(images, "registry.example/web:2 registry.example/side:2");
    patch(r#"--type=merge -p={"metadata":{"labels":{"app":null,"x":"y"}}}"#);
    assert_eq!(kubectl.object(WEB)["metadata"]["labels"], json!({"x": "y"}));
    let scale = r#"patch deployment web --subresource=scale --type=merge -p={"spec":{"replicas":7}}"#;
    kubectl.says(scale, "scale.autoscaling/web patched");
    patch(r#"--subresource=status --type=merge -p={"status":{"replicas":3},"spec":{"replicas":9}}"#);
    let patched = kubectl.object(WEB);
    assert_eq!((&patched["spec"]["replicas"], &patched["status"]["replicas"]), (&json!(7), &json!(3)));
    kubectl.says(r#"patch deployment web -p={"status":{"replicas":4}}"#, "deployment.apps/web patched (no change)");
    let test = r#"patch deployment web --type=json -p=[{"op":"test","path":"/spec/replicas","value":1}]"#;
    kubectl.fails(test, "The request is invalid: the server rejected our request due to an error in our request");
    kubectl.fails(r#"patch deployment web -p={"spec":{"replicas":"a"}}"#, "unrecognized type: int32");
    kubectl.fails(
        r#"patch deployment web -p={"spec":{"replicas":-1}}"#,
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    kubectl.fails(r#"patch deployment absent -p={}"#, r#"deployments.apps "absent" not found"#);
}

#[test]
fn labels_and_annotations_are_set_changed_and_removed() {
    let Some(kubectl) = with_web() else { return };
    for (command, done, field) in [("label", "labeled", "labels"), ("annotate", "annotated", "annotations")] {
        kubectl.says(&format!("{command} configmap settings a=b"), &format!("configmap/settings {done}"));
        kubectl.fails(&format!("{command} configmap settings a=c"), "--overwrite is false");
        kubectl
            .says(&format!("{command} configmap settings a=c d=e --overwrite"), &format!("configmap/settings {done}"));
        let found = kubectl.object("/api/v1/namespaces/default/configmaps/settings");
        assert_eq!((&found["metadata"][field]["a"], &found["metadata"][field]["d"]), (&json!("c"), &json!("e")));
        kubectl.run(&format!("{command} configmap settings a- d-"));
        let found = kubectl.object("/api/v1/namespaces/default/configmaps/settings");
        assert_eq!(found["metadata"][field]["a"], Value::Null);
    }
    kubectl.says("label configmap settings a-", "label \"a\" not found.\nconfigmap/settings not labeled");
    kubectl.fails("label configmap settings a=b*", "invalid label value");
    kubectl.run("label configmaps --all every=one");
    let labelled = kubectl.run("get configmaps -l every=one -o name");
    assert!(labelled.lines().any(|line| line == "configmap/settings"), "{labelled}");
}

#[test]
fn one_thing_of_a_workload_is_set() {
    let Some(kubectl) = with_web() else { return };
    let rows = [
        ("set image deployment/web web=registry.example/web:3", "image updated"),
        ("set env deployment/web -c web SIZE=big COLOUR-", "env updated"),
        ("set env deployment/web -c side --from=configmap/settings --prefix=S_", "env updated"),
        (
            "set resources deployment/web -c web --limits=cpu=200m,memory=512Mi --requests=cpu=100m",
            "resource requirements updated",
        ),
        ("set serviceaccount deployment/web robot", "serviceaccount updated"),
    ];
    for (line, done) in rows {
        kubectl.says(line, &format!("deployment.apps/web {done}"));
    }
    let spec = kubectl.object(WEB)["spec"]["template"]["spec"].clone();
    let web = &spec["containers"][0];
    assert_eq!(web["image"], "registry.example/web:3");
    assert_eq!(web["env"], json!([{"name": "SHAPE", "value": "round"}, {"name": "SIZE", "value": "big"}]));
    assert_eq!(web["resources"], json!({"limits": {"cpu": "200m", "memory": "512Mi"}, "requests": {"cpu": "100m"}}));
    assert_eq!(spec["containers"][1]["env"][0]["valueFrom"]["configMapKeyRef"]["name"], "settings");
    assert_eq!(spec["serviceAccountName"], "robot");
    kubectl.says("set selector service web app=other", "service/web selector updated");
    assert_eq!(kubectl.object("/api/v1/namespaces/default/services/web")["spec"]["selector"], json!({"app": "other"}));
    kubectl.run("create rolebinding view --clusterrole=view --user=ana");
    kubectl
        .says("set subject rolebinding view --user=ben", "rolebinding.rbac.authorization.k8s.io/view subjects updated");
    kubectl.fails("set image deployment/web absent=registry.example/x:1", r#"unable to find container named "absent""#);
}

/// A replica set of the deployment, as its controller leaves one for each revision.
fn make_revision(kubectl: &Kubectl, deployment: &Value, number: u32, image: &str) {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!(number.to_string());
    template["spec"]["containers"][0]["image"] = json!(image);
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": deployment["metadata"]["uid"], "controller": true,
    });
    let labels = template["metadata"]["labels"].clone();
    let set = json!({
        "metadata": {
            "name": format!("web-{number}"), "labels": labels, "ownerReferences": [owner],
            "annotations": {"deployment.kubernetes.io/revision": number.to_string(), "kubernetes.io/change-cause": format!("cause {number}")},
        },
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    });
    let answer = kubectl.admin().post("/apis/apps/v1/namespaces/default/replicasets", &set);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_rollout_is_paused_resumed_restarted_and_undone() {
    let Some(kubectl) = with_web() else { return };
    kubectl.says("rollout pause deployment/web", "deployment.apps/web paused");
    kubectl.fails("rollout pause deployment/web", "is already paused");
    kubectl.fails("rollout restart deployment/web", "can't restart paused deployment");
    kubectl.says("rollout resume deployment/web", "deployment.apps/web resumed");
    kubectl.fails("rollout resume deployment/web", "is not paused");
    kubectl.says("rollout restart deployment/web", "deployment.apps/web restarted");
    let deployment = kubectl.object(WEB);
    assert!(deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
    make_revision(&kubectl, &deployment, 1, "registry.example/web:0");
    make_revision(&kubectl, &deployment, 2, "registry.example/web:1");
    kubectl.run("annotate deployment web deployment.kubernetes.io/revision=2");
    let history = kubectl.run("rollout history deployment/web");
    for line in ["REVISION  CHANGE-CAUSE", "1         cause 1", "2         cause 2"] {
        assert!(history.lines().any(|found| found.trim_end() == line), "{history}");
    }
    assert!(kubectl.run("rollout history deployment/web --revision=1").contains("registry.example/web:0"));
    kubectl.says("rollout undo deployment/web --to-revision=1", "deployment.apps/web rolled back");
    let undone = kubectl.object(WEB);
    assert_eq!(undone["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/web:0");
    kubectl.fails("rollout undo deployment/web --to-revision=9", "unable to find specified revision 9 in history");
    kubectl.says("rollout status deployment/web --watch=false", "Waiting for deployment spec update to be observed...");
    let generation = &undone["metadata"]["generation"];
    let counts = json!({"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2});
    patch_status(&kubectl, WEB, &counts);
    kubectl.says("rollout status deployment/web --timeout=60s", "deployment \"web\" successfully rolled out");
}

#[test]
fn objects_are_made_out_of_arguments() {
    let Some(kubectl) = with_web() else { return };
    kubectl.file("key.txt", "value\n");
    let rows = [
        (
            "autoscale deployment web --min=2 --max=5 --cpu-percent=80",
            "horizontalpodautoscaler.autoscaling/web autoscaled",
        ),
        (
            "expose deployment web --name=exposed --port=80 --target-port=8080 --type=NodePort",
            "service/exposed exposed",
        ),
        (
            "create deployment front --image=registry.example/front:1 --replicas=2 --port=80",
            "deployment.apps/front created",
        ),
        ("create job once --image=registry.example/once:1 -- true", "job.batch/once created"),
        ("create cronjob often --image=registry.example/often:1 --schedule=*/5:*:*:*:*", "cronjob.batch/often created"),
        ("create configmap files --from-file=key.txt --from-literal=a=b", "configmap/files created"),
        ("create secret generic plain --from-literal=a=b", "secret/plain created"),
        (
            "create secret docker-registry registry --docker-server=r.example --docker-username=u --docker-password=p",
            "secret/registry created",
        ),
        ("create serviceaccount robot", "serviceaccount/robot created"),
        (
            "create role reader --verb=get,list --resource=pods,pods/log,deployments.apps",
            "role.rbac.authorization.k8s.io/reader created",
        ),
        (
            "create rolebinding reader --role=reader --serviceaccount=default:robot",
            "rolebinding.rbac.authorization.k8s.io/reader created",
        ),
        (
            "create clusterrole looker --verb=get --non-resource-url=/metrics",
            "clusterrole.rbac.authorization.k8s.io/looker created",
        ),
        (
            "create clusterrolebinding looker --clusterrole=looker --group=harbor",
            "clusterrolebinding.rbac.authorization.k8s.io/looker created",
        ),
        ("create ingress front --rule=a.example/path*=web:80,tls=cert", "ingress.networking.k8s.io/front created"),
        ("create quota small --hard=pods=10,requests.cpu=4", "resourcequota/small created"),
        (
            "create poddisruptionbudget keep --selector=app=web --min-available=50%",
            "poddisruptionbudget.policy/keep created",
        ),
        ("create priorityclass high --value=1000 --description=high", "priorityclass.scheduling.k8s.io/high created"),
        ("create service clusterip inner --tcp=80:8080", "service/inner created"),
        ("create service externalname outer --external-name=a.example", "service/outer created"),
        ("create namespace harbor", "namespace/harbor created"),
    ];
    for (line, done) in rows {
        // A schedule has blanks in it, which a line here has not.
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word.starts_with("--schedule=") {
                true => word.replace(':', " "),
                false => word.to_owned(),
            })
            .collect();
        let output = kubectl.command("").args(&words).output().unwrap();
        let (status, out, errors) = portcullis_tests::kubectl::told(output);
        assert_eq!((status, out.trim_end()), (Some(0), done), "{line}: {errors}");
    }
    let shown = |line: &str, said: &str| kubectl.says(line, said);
    shown("get cronjob often -o jsonpath={.spec.schedule}", "*/5 * * * *");
    shown("get configmap files -o jsonpath={.data}", r#"{"a":"b","key.txt":"value\n"}"#);
    shown("get hpa web -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}", "80");
    shown("get service exposed -o jsonpath={.spec.ports[0].targetPort}/{.spec.selector.app}", "8080/web");
    shown(
        "get ingress front -o jsonpath={.spec.rules[0].http.paths[0].pathType}/{.spec.tls[0].secretName}",
        "Prefix/cert",
    );
    shown("get pdb keep -o jsonpath={.spec.minAvailable}", "50%");
    shown("create job --from=cronjob/often now", "job.batch/now created");
    assert_eq!(kubectl.run("create token robot").split('.').count(), 3);
    assert_eq!(kubectl.run("auth can-i list pods --as=system:serviceaccount:default:robot"), "yes\n");

    let dry = |image: &str| {
        format!("run one --image={image} --labels=a=b --env=A=B --port=80 --restart=Never --dry-run=server -o json")
    };
    let made: Value = serde_json::from_str(&kubectl.run(&dry("registry.example/one:1"))).unwrap();
    assert_eq!(
        (&made["spec"]["restartPolicy"], &made["spec"]["containers"][0]["imagePullPolicy"]),
        (&json!("Never"), &json!("IfNotPresent"))
    );
    kubectl.fails("get pod one", r#"pods "one" not found"#);
    kubectl.fails("create quota small", r#"resourcequotas "small" already exists"#);
    kubectl.fails("create deployment Wrong --image=registry.example/x:1", "metadata.name: Invalid value: \"Wrong\"");
}

#[test]
fn nodes_are_tainted_cordoned_and_drained() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.file("node.yaml", r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#);
    kubectl.run("create -f node.yaml");
    // A new node is not ready and says so by a taint of its own.
    let taints = "get node n1 -o jsonpath={.spec.taints[?(@.key==\"dedicated\")].effect}";
    kubectl.says("taint nodes n1 dedicated=web:NoSchedule", "node/n1 tainted");
    kubectl.fails(
        "taint nodes n1 dedicated=other:NoSchedule",
        "already has dedicated taint(s) with same effect(s) and --overwrite is false",
    );
    kubectl.says("taint nodes n1 dedicated=other:NoSchedule --overwrite", "node/n1 modified");
    kubectl.says("taint nodes n1 dedicated=web:NoExecute", "node/n1 tainted");
    kubectl.says(taints, "NoExecute NoSchedule");
    kubectl.says("taint nodes n1 dedicated-", "node/n1 untainted");
    kubectl.says(taints, "");
    kubectl.says("cordon n1", "node/n1 cordoned");
    kubectl.says("cordon n1", "node/n1 already cordoned");
    kubectl.says("get node n1 -o jsonpath={.spec.unschedulable}", "true");
    kubectl.says("uncordon n1", "node/n1 uncordoned");
    make_pod(&kubectl, "one");
    make_pod(&kubectl, "two");
    kubectl.fails("drain n1", "cannot delete Pods that declare no controller");
    let drained = kubectl.run("drain n1 --force --grace-period=0 --timeout=120s");
    for line in ["evicting pod default/one", "pod/two evicted", "node/n1 drained"] {
        assert!(drained.lines().any(|found| found == line) || line.starts_with("evicting"), "{drained}");
    }
    kubectl.says("get pods -o name", "");
}

#[test]
fn objects_are_shown() {
    let Some(kubectl) = with_web() else { return };
    kubectl.says("get deployment web -o name", "deployment.apps/web");
    kubectl.says("get deployment/web configmap/settings -o name", "deployment.apps/web\nconfigmap/settings");
    kubectl.says("get -f web.yaml -o jsonpath={.items[*].kind}", "ConfigMap Service Deployment");
    kubectl.says(
        "get deployment web -o custom-columns=N:.metadata.name,R:.spec.replicas,X:.absent --no-headers",
        "web   2     <none>",
    );
    kubectl.says("get configmap settings -o go-template={{.data.colour}}", "red");
    let wide = kubectl.run("get deployments -o wide --show-labels");
    for part in
        ["CONTAINERS", "IMAGES", "SELECTOR", "web,side", "registry.example/web:1,registry.example/side:1", "app=web"]
    {
        assert!(wide.contains(part), "no {part}: {wide}");
    }
    let all = kubectl.run("get all");
    for part in ["service/kubernetes", "service/web", "deployment.apps/web"] {
        assert!(all.contains(part), "no {part}: {all}");
    }
    for (line, part) in [
        ("get deployments -A", "NAMESPACE"),
        ("get services --sort-by=.metadata.name", "kubernetes"),
        ("get deployment web -o yaml --show-managed-fields", "f:replicas: {}"),
        ("get deployment web -L app", "APP"),
        ("get deployments --chunk-size=1", "web"),
        ("get --raw /readyz", "ok"),
        (
            "describe deployment web",
            "Replicas:               2 desired | 0 updated | 0 total | 0 available | 0 unavailable",
        ),
        ("describe service web", "Endpoints:"),
        ("describe configmap settings", "colour:\n----\nred"),
        ("explain cronjob.spec.schedule", "FIELD: schedule <string>"),
        ("explain deployments --api-version=apps/v1 --recursive", "maxUnavailable"),
        ("api-resources --api-group=apps -o name", "deployments.apps"),
        ("api-versions", "rbac.authorization.k8s.io/v1"),
        ("version", "Server Version: v1.36"),
        ("cluster-info", "Kubernetes control plane"),
    ] {
        let out = kubectl.run(line);
        assert!(out.contains(part), "kubectl {line}: no {part}: {out}");
    }
    kubectl.fails("get deployment absent", r#"Error from server (NotFound): deployments.apps "absent" not found"#);
    kubectl.fails("get boats", r#"error: the server doesn't have a resource type "boats""#);
    let (status, out, _) = kubectl.output("get deployment absent --ignore-not-found");
    assert_eq!((status, &*out), (Some(0), ""));
}

#[test]
fn what_happens_is_followed() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.run("create configmap one");
    let mut named = kubectl.start("get configmap one -w -o name");
    let mut events =
        kubectl.start("get configmaps -w --output-watch-events --field-selector=metadata.name!=kube-root-ca.crt");
    assert_eq!(named.next_line(), "configmap/one");
    assert_eq!(events.next_line().split_whitespace().collect::<Vec<_>>(), ["EVENT", "NAME", "DATA", "AGE"]);
    let mut next = || events.next_line().split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    assert_eq!(next(), "ADDED one 0");
    kubectl.run(r#"patch configmap one -p={"data":{"a":"b"}}"#);
    assert_eq!(next(), "MODIFIED one 1");
    kubectl.run("create configmap two");
    assert_eq!(next(), "ADDED two 0");
    kubectl.run("delete configmap one");
    assert_eq!(next(), "DELETED one 1");
    assert_eq!(named.next_line(), "configmap/one");
}

#[test]
fn objects_are_deleted() {
    let Some(kubectl) = with_web() else { return };
    kubectl.says("delete deployment web --cascade=orphan --wait=false", "deployment.apps \"web\" deleted");
    assert_eq!(kubectl.object(WEB)["metadata"]["finalizers"], json!(["orphan"]));
    kubectl.run(r#"patch deployment web --type=merge -p={"metadata":{"finalizers":null}}"#);
    kubectl.fails("get deployment web", "not found");
    kubectl.says("delete configmap settings --dry-run=server", "configmap \"settings\" deleted (server dry run)");
    kubectl.says("delete configmap settings absent --ignore-not-found", "configmap \"settings\" deleted");
    kubectl.run("create configmap kept");
    kubectl.run(r#"patch configmap kept -p={"metadata":{"finalizers":["registry.example/keep"]}}"#);
    let mut waiting = kubectl.start("delete configmap kept");
    assert_eq!(waiting.next_line(), "configmap \"kept\" deleted");
    kubectl.run(r#"patch configmap kept --type=merge -p={"metadata":{"finalizers":null}}"#);
    assert!(waiting.succeeds());
    for name in ["a", "b"] {
        kubectl.run(&format!("create configmap {name}"));
        kubectl.run(&format!("label configmap {name} group=x"));
    }
    kubectl.says("delete configmaps -l group=x", "configmap \"a\" deleted\nconfigmap \"b\" deleted");
    kubectl.fails("delete configmap a", r#"configmaps "a" not found"#);
    make_pod(&kubectl, "one");
    kubectl.says("delete pod one --grace-period=30 --wait=false", "pod \"one\" deleted");
    assert_eq!(kubectl.object(ONE)["metadata"]["deletionGracePeriodSeconds"], 30);
    kubectl.says("delete pod one --now --wait=false", "pod \"one\" deleted");
    assert_eq!(kubectl.object(ONE)["metadata"]["deletionGracePeriodSeconds"], 1);
    kubectl.says("delete pod one --grace-period=0 --force", "pod \"one\" force deleted");
    kubectl.run("delete services --all");
    kubectl.says("get services -l app=web -o name", "");
}
