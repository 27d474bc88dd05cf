//! Which paths exist and what they take: the old watch paths, verbs in the path, and names in two places.

use super::*;

const NO_SUCH_PATH: &str = "the server could not find the requested resource";
const NOT_ALLOWED: &str = "the server does not allow this method on the requested resource";

/// Types and names of the events of a watch that was read to its end.
fn seen(said: &Said) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = said.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    events.map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"]))).collect()
}

#[tokio::test]
async fn every_watch_path_of_openapi_is_answered() {
    let cluster = Cluster::new().await;
    let index = cluster.get("/openapi/v3").await.json();
    let documents: Vec<String> = index["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|path| path["serverRelativeURL"].as_str().unwrap().to_owned())
        .collect();
    let mut paths = Vec::new();
    for document in documents {
        let document = cluster.get(&document).await.json();
        let listed = document["paths"].as_object().unwrap();
        paths.extend(listed.iter().filter(|(path, _)| path.contains("/watch/")).map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            assert_eq!(methods.collect::<Vec<_>>(), ["get"], "{path}");
            path.clone()
        }));
    }
    assert!(paths.len() > 150, "{}", paths.len());
    tokio::time::pause();
    for path in paths {
        let path = path.replace("{namespace}", "default").replace("{name}", "no-such-name");
        let said = cluster.get(&format!("{path}?timeoutSeconds=1")).await;
        assert_eq!((said.code, said.content_type.as_str()), (200, "application/json"), "{path}: {}", said.message());
        if path.ends_with("/no-such-name") {
            assert_eq!(seen(&said), [], "{path}");
        }
        for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let said = cluster.send(method, &path, &[], "").await;
            assert_eq!((said.code, said.message().as_str()), (405, NOT_ALLOWED), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_old_watch_path_is_a_watch_by_its_query() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        cluster.config_map(name, json!({"half": name})).await;
    }
    assert_eq!(cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await.code, 201);
    let other = json!({"metadata": {"name": "a"}});
    assert_eq!(cluster.post("/api/v1/namespaces/n/configmaps", other).await.code, 201);
    tokio::time::pause();
    let check = async |old: &str, new: &str, names: &[&str]| {
        let end = |path: &str| format!("{path}{}timeoutSeconds=1", if path.contains('?') { '&' } else { '?' });
        let (old_said, new_said) = (cluster.get(&end(old)).await, cluster.get(&end(new)).await);
        assert_eq!((old_said.code, new_said.code), (200, 200), "{old}: {}", old_said.message());
        let expected: Vec<_> = names.iter().map(|name| ("ADDED".to_owned(), (*name).to_owned())).collect();
        assert_eq!(seen(&old_said), expected, "{old}");
        assert_eq!(old_said.body, new_said.body, "{old}");
    };
    let watch = "/api/v1/watch";
    check(&format!("{watch}/configmaps"), "/api/v1/configmaps?watch=true", &["a", "b", "a"]).await;
    check(&format!("{watch}/configmaps?watch=false"), "/api/v1/configmaps?watch=1", &["a", "b", "a"]).await;
    let (old, new) = (format!("{watch}/namespaces/default/configmaps"), format!("{CONFIG_MAPS}?watch=true"));
    check(&old, &new, &["a", "b"]).await;
    check(&format!("{old}?labelSelector=half%3Db"), &format!("{new}&labelSelector=half%3Db"), &["b"]).await;
    let named = format!("{new}&fieldSelector=metadata.name%3Da");
    check(&format!("{old}?fieldSelector=metadata.name%3Da"), &named, &["a"]).await;
    check(&format!("{old}/a"), &named, &["a"]).await;
    check(&format!("{old}/a?fieldSelector=metadata.name%3Da"), &named, &["a"]).await;
    check(&format!("{old}/x"), &format!("{new}&fieldSelector=metadata.name%3Dx"), &[]).await;
    let all = ["default", "kube-node-lease", "kube-public", "kube-system", "n"];
    check(&format!("{watch}/namespaces"), "/api/v1/namespaces?watch", &all).await;
    check(&format!("{watch}/namespaces/n"), "/api/v1/namespaces?watch=&fieldSelector=metadata.name%3Dn", &["n"]).await;
    let classes = "/apis/scheduling.k8s.io/v1";
    let both = ["system-cluster-critical", "system-node-critical"];
    check(&format!("{classes}/watch/priorityclasses"), &format!("{classes}/priorityclasses?watch=1"), &both).await;
    check(
        &format!("{classes}/watch/priorityclasses/{}", both[0]),
        &format!("{classes}/priorityclasses?watch=1&fieldSelector=metadata.name%3D{}", both[0]),
        &both[..1],
    )
    .await;
    let clash = cluster.get(&format!("{old}/a?fieldSelector=metadata.name%3Db")).await;
    let refused = (400, "fieldSelector metadata.name doesn't match requested name");
    assert_eq!((clash.code, clash.message().as_str()), refused);
}

#[tokio::test]
async fn paths_that_do_not_exist_and_methods_that_are_not_taken() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let check = async |method: &str, path: &str, code: u16, message: &str| {
        let said = cluster.send(method, path, &[], "").await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{method} {path}");
    };
    // What is not watched has no old path, and no watch by its query.
    for path in [
        "/api/v1/watch/nosuch",
        "/api/v1/watch/componentstatuses",
        "/api/v1/watch/componentstatuses/etcd-0",
        "/api/v1/watch/namespaces/default/bindings",
        "/apis/authentication.k8s.io/v1/watch/tokenreviews",
        "/apis/apps/v1/watch/nosuch",
    ] {
        check("GET", path, 404, NO_SUCH_PATH).await;
        check("POST", path, 404, NO_SUCH_PATH).await;
    }
    let no_watch = "watch is not supported on resources of kind \"componentstatuses\"";
    check("GET", "/api/v1/componentstatuses?watch=true", 405, no_watch).await;
    check("HEAD", "/api/v1/componentstatuses?watch=true", 405, NOT_ALLOWED).await;
    check("GET", "/api/v1/namespaces/default/bindings?watch=true", 405, NOT_ALLOWED).await;
    check("GET", "/apis/authentication.k8s.io/v1/tokenreviews?watch=true", 405, NOT_ALLOWED).await;
    // Objects are watched where they are, and their subresources are not.
    check("GET", "/api/v1/watch/configmaps/a", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/watch/namespaces/default/nodes", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/watch/namespaces/default/status", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/watch/namespaces/default/pods/p/log", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/watch/namespaces/default/pods/p/nosuch", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/proxy/nodes/n/x", 404, NO_SUCH_PATH).await;
    // A namespace is in no namespace: what a role in one allows must not open another.
    check("GET", "/api/v1/namespaces/default/namespaces", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/namespaces/default/namespaces/kube-system", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/namespaces/default/namespaces/default", 404, NO_SUCH_PATH).await;
    check("DELETE", "/api/v1/namespaces/default/namespaces/kube-public", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/watch/namespaces/default/namespaces", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/configmaps/a", 404, NO_SUCH_PATH).await;
    check("GET", "/api/v1/namespaces/default/status/x", 404, NO_SUCH_PATH).await;
    check("GET", "/apis/apps/v1/namespaces/default/deployments/d/status/x", 404, NO_SUCH_PATH).await;
    let path = &format!("{CONFIG_MAPS}/a");
    for method in ["HEAD", "OPTIONS", "TRACE", "POST"] {
        check(method, path, 405, NOT_ALLOWED).await;
    }
    for method in ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH"] {
        check(method, CONFIG_MAPS, 405, NOT_ALLOWED).await;
    }
}

#[tokio::test]
async fn whole_numbers_and_flags_in_the_query() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    tokio::time::pause();
    let check = async |query: &str, code: u16, message: &str| {
        let said = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{query}");
    };
    for (name, rest) in [("timeoutSeconds", "watch=true"), ("limit", "")] {
        let invalid = |text: &str| format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
        let too_large = |text: &str| format!("strconv.ParseInt: parsing {text:?}: value out of range");
        for text in ["", "x", "1.5", "1s", "0x1", "-", "1_000"] {
            check(&format!("{rest}&{name}={text}"), 400, &invalid(text)).await;
        }
        for text in ["9223372036854775808", "-9223372036854775809"] {
            check(&format!("{rest}&{name}={text}"), 400, &too_large(text)).await;
        }
    }
    check("watch=true&timeoutSeconds=1", 200, "").await;
    check("watch=true&timeoutSeconds=1&timeoutSeconds=x", 200, "").await;
}
