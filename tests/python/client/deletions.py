"""Deletion: at once, gracefully, after finalizers, with what depends on it, under conditions, of whole collections."""

from kubernetes import client

from cluster import check, deployment, equal, names, pod, refused


@check
def a_deletion_tells_what_was_deleted(cluster):
    namespace = cluster.namespace()
    made = cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    status = cluster.core.delete_namespaced_config_map("one", namespace)
    equal((status["status"], status["details"]["name"]), ("Success", "one"))
    equal(status["details"]["uid"], made.metadata.uid)
    with refused(404, "NotFound", 'configmaps "one" not found'):
        cluster.core.delete_namespaced_config_map("one", namespace)


@check
def conditions_of_a_deletion_hold(cluster):
    namespace = cluster.namespace()
    made = cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    for wrong, message in [
        ({"uid": "another"}, "the UID in the precondition (another) does not match the UID in record"),
        ({"resource_version": "1"}, "the ResourceVersion in the precondition (1) does not match"),
    ]:
        with refused(409, "Conflict", message):
            body = client.V1DeleteOptions(preconditions=client.V1Preconditions(**wrong))
            cluster.core.delete_namespaced_config_map("one", namespace, body=body)
    cluster.core.delete_namespaced_config_map("one", namespace, dry_run="All")
    right = client.V1Preconditions(uid=made.metadata.uid, resource_version=made.metadata.resource_version)
    cluster.core.delete_namespaced_config_map("one", namespace, body=client.V1DeleteOptions(preconditions=right))
    equal(names(cluster.core.list_namespaced_config_map(namespace)), [])


@check
def dependents_are_deleted_first_or_orphaned_or_left_to_later(cluster):
    namespace = cluster.namespace()
    for policy, finalizers in [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])]:
        name = policy.lower()
        cluster.apps.create_namespaced_deployment(namespace, deployment(name))
        cluster.apps.delete_namespaced_deployment(name, namespace, propagation_policy=policy)
        left = cluster.apps.read_namespaced_deployment(name, namespace)
        equal((left.metadata.finalizers, left.metadata.deletion_timestamp is not None), (finalizers, True))
        cluster.apps.patch_namespaced_deployment(name, namespace, {"metadata": {"finalizers": None}})
    cluster.apps.create_namespaced_deployment(namespace, deployment("background"))
    body = client.V1DeleteOptions(propagation_policy="Background")
    cluster.apps.delete_namespaced_deployment("background", namespace, body=body)
    equal(names(cluster.apps.list_namespaced_deployment(namespace)), [])
    cluster.apps.create_namespaced_deployment(namespace, deployment("other"))
    with refused(422, "Invalid") as refusal:
        cluster.apps.delete_namespaced_deployment("other", namespace, propagation_policy="Later")
    equal(refusal.causes()[0][0], "propagationPolicy")


@check
def finalizers_keep_an_object(cluster):
    namespace = cluster.namespace()
    body = {"metadata": {"name": "one", "finalizers": ["registry.example/keep"]}}
    cluster.core.create_namespaced_config_map(namespace, body)
    cluster.core.delete_namespaced_config_map("one", namespace)
    kept = cluster.core.read_namespaced_config_map("one", namespace)
    equal((kept.metadata.deletion_timestamp is not None, kept.metadata.deletion_grace_period_seconds), (True, 0))
    kept.metadata.finalizers = ["registry.example/keep", "registry.example/more"]
    with refused(422, "Invalid", "no new finalizers can be added if the object is being deleted"):
        cluster.core.replace_namespaced_config_map("one", namespace, kept)
    kept.metadata.finalizers = []
    cluster.core.replace_namespaced_config_map("one", namespace, kept)
    equal(names(cluster.core.list_namespaced_config_map(namespace)), [])


@check
def a_pod_has_time_to_end(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_pod(namespace, pod("free"))
    gone = cluster.core.delete_namespaced_pod("free", namespace)
    equal((gone.metadata.name, names(cluster.core.list_namespaced_pod(namespace))), ("free", []))
    cluster.core.create_namespaced_pod(namespace, pod("bound", node="somewhere"))
    ending = cluster.core.delete_namespaced_pod("bound", namespace, grace_period_seconds=7)
    equal(ending.metadata.deletion_grace_period_seconds, 7)
    equal(names(cluster.core.list_namespaced_pod(namespace)), ["bound"])
    cluster.core.delete_namespaced_pod("bound", namespace, grace_period_seconds=0)
    equal(names(cluster.core.list_namespaced_pod(namespace)), [])


@check
def a_collection_is_deleted_by_its_labels(cluster):
    namespace = cluster.namespace()
    for name, colour in [("a", "red"), ("b", "blue"), ("c", "red")]:
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": {"colour": colour}}})
    cluster.core.delete_collection_namespaced_config_map(namespace, label_selector="colour=red", dry_run="All")
    equal(names(cluster.core.list_namespaced_config_map(namespace)), ["a", "b", "c"])
    cluster.core.delete_collection_namespaced_config_map(namespace, label_selector="colour=red")
    equal(names(cluster.core.list_namespaced_config_map(namespace)), ["b"])
    cluster.core.delete_collection_namespaced_config_map(namespace, field_selector="metadata.name=absent")
    equal(names(cluster.core.list_namespaced_config_map(namespace)), ["b"])
    cluster.core.delete_collection_namespaced_config_map(namespace)
    equal(names(cluster.core.list_namespaced_config_map(namespace)), [])


@check
def a_namespace_ends_when_it_is_empty(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    cluster.core.delete_namespace(namespace)
    ending = cluster.core.read_namespace(namespace)
    equal((ending.status.phase, ending.spec.finalizers), ("Terminating", ["kubernetes"]))
    with refused(403, "Forbidden", "because it is being terminated") as refusal:
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "two"}})
    equal(refusal.causes()[0][:2], ("metadata.namespace", "NamespaceTerminating"))
    cluster.core.delete_collection_namespaced_config_map(namespace)
    ending.spec.finalizers = []
    cluster.core.replace_namespace_finalize(namespace, ending)
    with refused(404, "NotFound"):
        cluster.core.read_namespace(namespace)
