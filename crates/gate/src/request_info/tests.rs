#![allow(clippy::unwrap_used)]

use http::Method;

use super::*;

/// The columns of the table: method, target, verb, prefix, group, version, namespace, resource, subresource, name, tail.
fn check(method: &str, target: &str, expected: [&str; 9]) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let info = RequestInfo::parse(&method, path, query).unwrap();
    let resource = info.resource().unwrap_or_else(|| panic!("{target} is no resource"));
    let got = [
        info.verb(),
        resource.prefix,
        resource.group,
        resource.version,
        resource.namespace,
        resource.resource,
        resource.subresource,
        resource.name,
        resource.tail,
    ];
    assert_eq!(got, expected, "{method} {target}");
}

#[test]
fn resources_of_both_prefixes() {
    check("GET", "/api/v1/namespaces", ["list", "api", "", "v1", "", "namespaces", "", "", ""]);
    check("GET", "/api/v1/namespaces/", ["list", "api", "", "v1", "", "namespaces", "", "", ""]);
    check("GET", "/api/v1/namespaces/other", ["get", "api", "", "v1", "other", "namespaces", "", "other", ""]);
    check("GET", "/api/v1/namespaces/other/pods", ["list", "api", "", "v1", "other", "pods", "", "", ""]);
    check("GET", "/api/v1/namespaces/other/pods/foo", ["get", "api", "", "v1", "other", "pods", "", "foo", ""]);
    check("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "api", "", "v1", "other", "pods", "", "foo", ""]);
    check("HEAD", "/api/v1/pods", ["list", "api", "", "v1", "", "pods", "", "", ""]);
    check("GET", "/api/v1/pods", ["list", "api", "", "v1", "", "pods", "", "", ""]);
    check("GET", "/api/v1/nodes/n1", ["get", "api", "", "v1", "", "nodes", "", "n1", ""]);
    check("POST", "/api/v1/pods", ["create", "api", "", "v1", "", "pods", "", "", ""]);
    check(
        "PUT",
        "/apis/apps/v1/namespaces/a/deployments/d",
        ["update", "apis", "apps", "v1", "a", "deployments", "", "d", ""],
    );
    check(
        "PATCH",
        "/apis/apps/v1/namespaces/a/deployments/d/status",
        ["patch", "apis", "apps", "v1", "a", "deployments", "status", "d", ""],
    );
    check("DELETE", "/api/v1/namespaces/a/pods/p", ["delete", "api", "", "v1", "a", "pods", "", "p", ""]);
    check("DELETE", "/api/v1/namespaces/a/pods", ["deletecollection", "api", "", "v1", "a", "pods", "", "", ""]);
    check("DELETE", "/api/v1/namespaces", ["deletecollection", "api", "", "v1", "", "namespaces", "", "", ""]);
    check("TRACE", "/api/v1/pods", ["", "api", "", "v1", "", "pods", "", "", ""]);
    check("OPTIONS", "/api/v1/pods/x", ["", "api", "", "v1", "", "pods", "", "x", ""]);
    check(
        "GET",
        "/apis/g.example.com/v1alpha1/boats",
        ["list", "apis", "g.example.com", "v1alpha1", "", "boats", "", "", ""],
    );
}

#[test]
fn namespaces_have_two_subresources_and_contain_the_rest() {
    check("PUT", "/api/v1/namespaces/a/finalize", ["update", "api", "", "v1", "a", "namespaces", "finalize", "a", ""]);
    check("PUT", "/api/v1/namespaces/a/status", ["update", "api", "", "v1", "a", "namespaces", "status", "a", ""]);
    check("GET", "/api/v1/namespaces/a/status/x", ["get", "api", "", "v1", "a", "namespaces", "status", "a", "x"]);
    check("GET", "/api/v1/namespaces/a/statuses", ["list", "api", "", "v1", "a", "statuses", "", "", ""]);
    check("GET", "/api/v1/namespaces/a/namespaces/b", ["get", "api", "", "v1", "a", "namespaces", "", "b", ""]);
    check("GET", "/apis/g/v1/namespaces/a/namespaces", ["list", "apis", "g", "v1", "a", "namespaces", "", "", ""]);
}

#[test]
fn old_prefixes_and_subresources_with_tails() {
    check("GET", "/api/v1/watch/pods", ["watch", "api", "", "v1", "", "pods", "", "", ""]);
    check("GET", "/api/v1/watch/namespaces/a/pods/p", ["watch", "api", "", "v1", "a", "pods", "", "p", ""]);
    check("GET", "/api/v1/watch/namespaces", ["watch", "api", "", "v1", "", "namespaces", "", "", ""]);
    check("DELETE", "/api/v1/watch/pods", ["watch", "api", "", "v1", "", "pods", "", "", ""]);
    check("GET", "/apis/apps/v1/watch/deployments", ["watch", "apis", "apps", "v1", "", "deployments", "", "", ""]);
    check("GET", "/api/v1/watch/namespaces/a", ["watch", "api", "", "v1", "a", "namespaces", "", "a", ""]);
    check("GET", "/api/v1/watch/namespaces/a/status", ["watch", "api", "", "v1", "a", "namespaces", "status", "a", ""]);
    check("GET", "/api/v1/watch/namespaces/a/pods", ["watch", "api", "", "v1", "a", "pods", "", "", ""]);
    check("GET", "/api/v1/watch/namespaces/a/pods/p/log", ["watch", "api", "", "v1", "a", "pods", "log", "p", ""]);
    check("GET", "/api/v1/watch/namespaces/a/pods/p/log/x", ["watch", "api", "", "v1", "a", "pods", "log", "p", "x"]);
    check("GET", "/api/v1/watch/nodes/n", ["watch", "api", "", "v1", "", "nodes", "", "n", ""]);
    check("GET", "/apis/g/v1/watch/things/t", ["watch", "apis", "g", "v1", "", "things", "", "t", ""]);
    // The verb in the path is the verb, whatever the method and the query say; and the name in the path is the name.
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let path = "/api/v1/watch/pods?watch=false&fieldSelector=metadata.name=x";
        check(method, path, ["watch", "api", "", "v1", "", "pods", "", "", ""]);
        let path = "/api/v1/watch/namespaces/a/pods/p?fieldSelector=metadata.name=x";
        check(method, path, ["watch", "api", "", "v1", "a", "pods", "", "p", ""]);
    }
    check("GET", "/api/v1/proxy/nodes/n/a/b", ["proxy", "api", "", "v1", "", "nodes", "", "n", "a/b"]);
    check("POST", "/api/v1/proxy/namespaces/a/services/s/x", ["proxy", "api", "", "v1", "a", "services", "", "s", "x"]);
    check(
        "GET",
        "/api/v1/namespaces/a/pods/p/proxy/x/../y",
        ["get", "api", "", "v1", "a", "pods", "proxy", "p", "x/../y"],
    );
    check(
        "POST",
        "/api/v1/namespaces/a/pods/p/exec?command=ls",
        ["create", "api", "", "v1", "a", "pods", "exec", "p", ""],
    );
}

#[test]
fn the_query_tells_list_from_watch_and_may_name_the_object() {
    let verb = |query: &str, verb: &str| {
        check("GET", &format!("/api/v1/pods?{query}"), [verb, "api", "", "v1", "", "pods", "", "", ""]);
    };
    verb("watch=1", "watch");
    verb("watch=true", "watch");
    verb("watch", "watch");
    verb("watch=yes", "watch");
    verb("watch=", "watch");
    verb("watch=maybe&watch=false", "watch");
    verb("%77atch=tru%65", "watch");
    verb("watch=%zz", "list");
    verb("watch=0", "list");
    verb("watch=00", "watch");
    verb("watch=false", "list");
    verb("watch=False", "list");
    verb("watch=false&watch=true", "list");
    verb("Watch=true", "list");
    verb("fieldSelector=metadata.name%21%3Dx", "list");
    verb("fieldSelector=metadata.name%3D..", "list");
    verb("fieldSelector=metadata.name%3Da/b", "list");
    check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", ["list", "api", "", "v1", "", "pods", "", "x", ""]);
    check(
        "GET",
        "/api/v1/pods?fieldSelector=metadata.name=x&watch=1",
        ["watch", "api", "", "v1", "", "pods", "", "x", ""],
    );
    // A role that names objects never applies to deletecollection, so a selector gives it no name.
    check(
        "DELETE",
        "/api/v1/pods?fieldSelector=metadata.name=x",
        ["deletecollection", "api", "", "v1", "", "pods", "", "", ""],
    );
    check(
        "GET",
        "/api/v1/pods/y?fieldSelector=metadata.name=x&watch=1",
        ["get", "api", "", "v1", "", "pods", "", "y", ""],
    );
}

#[test]
fn the_path_name_is_not_the_selected_one() {
    let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", "fieldSelector=metadata.name=x").unwrap();
    let resource = info.resource().unwrap();
    assert_eq!((resource.name, resource.path_name), ("x", ""));
}

#[test]
fn where_the_namespace_and_the_verb_stood() {
    let check = |target: &str, is_in_namespace: bool, is_verb_in_path: bool| {
        let info = RequestInfo::parse(&Method::GET, target, "").unwrap();
        let resource = info.resource().unwrap();
        assert_eq!(
            (resource.is_in_namespace, resource.is_verb_in_path),
            (is_in_namespace, is_verb_in_path),
            "{target}"
        );
    };
    check("/api/v1/pods", false, false);
    check("/api/v1/namespaces", false, false);
    check("/api/v1/namespaces/a", false, false);
    check("/api/v1/namespaces/a/status", false, false);
    check("/api/v1/namespaces/a/pods", true, false);
    check("/api/v1/namespaces/a/namespaces", true, false);
    check("/api/v1/namespaces/a/namespaces/a", true, false);
    check("/api/v1/watch/pods", false, true);
    check("/api/v1/watch/namespaces/a", false, true);
    check("/api/v1/watch/namespaces/a/pods/p", true, true);
    check("/api/v1/proxy/namespaces/a/pods/p", true, true);
}

#[test]
fn all_else_is_a_path() {
    let check = |method: &str, path: &str, verb: &str, decoded: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, path, "").unwrap();
        assert!(info.resource().is_none(), "{path}");
        assert_eq!((info.verb(), info.path()), (verb, decoded), "{path}");
        assert_eq!(info.fault(), None, "{path}");
    };
    check("GET", "/", "get", "/");
    check("GET", "/api", "get", "/api");
    check("GET", "/api/v1", "get", "/api/v1");
    check("GET", "/api/v1/", "get", "/api/v1/");
    check("GET", "/apis/apps/v1", "get", "/apis/apps/v1");
    check("HEAD", "/healthz", "head", "/healthz");
    check("POST", "/healthz/etcd", "post", "/healthz/etcd");
    check("GET", "/%68ealthz", "get", "/healthz");
    check("GET", "/openapi/v3/apis/apps/v1", "get", "/openapi/v3/apis/apps/v1");
    check("BREW", "/logs/", "brew", "/logs/");
}

#[test]
fn a_path_with_two_readings_is_refused_after_authorisation() {
    let check = |path: &str, fault: Option<PathFault>| {
        let info = RequestInfo::parse(&Method::GET, path, "").unwrap();
        assert_eq!(info.fault(), fault, "{path}");
    };
    check("/api/v1/namespaces/a/pods/p", None);
    check("/api/v1/namespaces/a/pods/p/", None);
    check("/api/v1/namespaces/a/pods/a%2ep", None);
    check("/api/v1/nodes/n/proxy/../x//y/", None);
    check("/api/v1/proxy/nodes/n//x", None);
    check("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", None);
    check("//api/v1/namespaces", Some(PathFault::NotClean));
    check("/api/v1//namespaces", Some(PathFault::NotClean));
    check("/api/v1/namespaces//", Some(PathFault::NotClean));
    check("/api/v1/namespaces//pods", Some(PathFault::NotClean));
    check("/api//v1/nodes/n/proxy/x", Some(PathFault::NotClean));
    check("/api/./v1/pods", Some(PathFault::NotClean));
    check("/apis/../v1/pods", Some(PathFault::NotClean));
    check("/api/v1/namespaces/a/../b", Some(PathFault::NotClean));
    check("/api/v1/namespaces/a/pods/p/..", Some(PathFault::NotClean));
    check("/api/v1/namespaces/a/pods/p/log/../x", Some(PathFault::NotClean));
    check("/healthz/..", Some(PathFault::NotClean));
    check("/healthz//", Some(PathFault::NotClean));
    check("//healthz", Some(PathFault::NotClean));
    check("//", Some(PathFault::NotClean));
    check("/logs/%2e%2e/x", Some(PathFault::NotClean));
    check("*", Some(PathFault::NotClean));
    check("/api/v1/namespaces/../secrets", Some(PathFault::BadSegment));
    check("/apis/g/v1/namespaces/%2e%2e/things", Some(PathFault::BadSegment));
    check("/api/v1/namespaces/a/secrets/..", Some(PathFault::BadSegment));
    check("/api/v1/namespaces/a/secrets/%2E", Some(PathFault::BadSegment));
    check("/api/v1/namespaces/a/secrets/a%25", Some(PathFault::BadSegment));
    check("/api/v1/namespaces/a/secrets/%00", Some(PathFault::NoSuchName));
    check("/api/v1/namespaces/%ff/secrets", Some(PathFault::NoSuchName));
    check("/healthz%00", Some(PathFault::NoSuchName));
    check("/api/v1/watch", Some(PathFault::NoTarget));
    check("/apis/apps/v1/proxy/", Some(PathFault::NoTarget));
}

#[test]
fn an_escape_is_undone_once_and_before_the_split() {
    // An encoded slash is a slash to authorisation and routing alike, never part of a name.
    check("GET", "/api/v1/namespaces/a/secrets/x%2fy", ["get", "api", "", "v1", "a", "secrets", "y", "x", ""]);
    check("GET", "/api/v1/namespaces/a%2fsecrets/x", ["get", "api", "", "v1", "a", "secrets", "", "x", ""]);
    check("GET", "/api/v1/namespaces/a/secrets/x%252fy", ["get", "api", "", "v1", "a", "secrets", "", "x%2fy", ""]);
    assert!(RequestInfo::parse(&Method::GET, "/api/v1/pods/%zz", "").is_none());
    assert!(RequestInfo::parse(&Method::GET, "/healthz%", "").is_none());
    assert!(RequestInfo::parse(&Method::GET, "/healthz%4", "").is_none());
}

#[test]
fn any_path_parses_without_panic_and_never_serves_a_step_in_the_tree() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let pieces =
        ["/", "//", "api", "apis", "v1", "..", ".", "%2e", "%2f", "%00", "%", "namespaces", "watch", "proxy", "é", "x"];
    for round in 0..20_000 {
        let mut path = String::from("/");
        for _ in 0..(round % 13) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push_str(pieces[usize::try_from(state % 16).unwrap()]);
            if state & 0x100 != 0 {
                path.push('/');
            }
        }
        let Some(info) = RequestInfo::parse(&Method::GET, &path, "") else { continue };
        if info.fault().is_some() {
            continue;
        }
        let judged = info.resource().map_or(info.path().to_owned(), |resource| {
            format!("{}/{}/{}", resource.namespace, resource.name, resource.resource)
        });
        assert!(!judged.split('/').any(|segment| matches!(segment, "." | "..")), "seeded round {round}: {path}");
    }
}

#[test]
fn long_running_requests() {
    let check = |target: &str, expected: bool| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(&Method::GET, path, query).unwrap();
        assert_eq!(info.is_long_running(), expected, "{target}");
    };
    check("/api/v1/pods", false);
    check("/api/v1/pods?watch=1", true);
    check("/api/v1/watch/pods", true);
    check("/api/v1/namespaces/a/pods/p/log", true);
    check("/api/v1/namespaces/a/pods/p/exec", true);
    check("/api/v1/namespaces/a/pods/p/attach", true);
    check("/api/v1/namespaces/a/pods/p/portforward", true);
    check("/api/v1/nodes/n/proxy/x", true);
    check("/api/v1/namespaces/a/pods/p/status", false);
    check("/debug/pprof/profile", true);
    check("/healthz", false);
}
