"""Lists: selectors of labels and fields, pages, versions; and the objects that many kinds of client ask for."""

from cluster import check, equal, names, pod, refused


def several(cluster, count):
    """A namespace with configuration maps, every second of which is even."""
    namespace = cluster.namespace()
    for number in range(count):
        labels = {"number": str(number), "even": str(number % 2 == 0).lower()}
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": f"c{number}", "labels": labels}})
    return namespace


@check
def labels_select(cluster):
    namespace = several(cluster, 4)
    rows = [
        ("even=true", ["c0", "c2"]),
        ("even!=true", ["c1", "c3"]),
        ("number in (1,2),even", ["c1", "c2"]),
        ("number notin (0)", ["c1", "c2", "c3"]),
        ("!even", []),
        ("number>1", ["c2", "c3"]),
    ]
    for selector, expected in rows:
        equal(names(cluster.core.list_namespaced_config_map(namespace, label_selector=selector)), expected)
    with refused(400, "BadRequest", "unable to parse requirement"):
        cluster.core.list_namespaced_config_map(namespace, label_selector="a in (")


@check
def fields_select(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_pod(namespace, pod("bound", node="somewhere"))
    cluster.core.create_namespaced_pod(namespace, pod("free"))
    rows = [
        ("metadata.name=free", ["free"]),
        ("spec.nodeName=somewhere", ["bound"]),
        ("spec.nodeName=", ["free"]),
        ("status.phase!=Running", ["bound", "free"]),
        ("status.phase=Pending,metadata.name!=free", ["bound"]),
    ]
    for selector, expected in rows:
        equal(names(cluster.core.list_namespaced_pod(namespace, field_selector=selector)), expected)
    with refused(400, "BadRequest", "field label not supported: spec.colour"):
        cluster.core.list_namespaced_pod(namespace, field_selector="spec.colour=red")


@check
def pages_are_of_one_moment(cluster):
    namespace = several(cluster, 5)
    listed = cluster.core.list_namespaced_config_map
    first = listed(namespace, limit=2)
    equal((names(first), first.metadata.remaining_item_count), (["c0", "c1"], 3))
    cluster.core.delete_namespaced_config_map("c2", namespace)
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "c9"}})
    second = listed(namespace, limit=2, _continue=first.metadata._continue)
    equal((names(second), second.metadata.resource_version), (["c2", "c3"], first.metadata.resource_version))
    third = listed(namespace, limit=2, _continue=second.metadata._continue)
    equal((names(third), third.metadata._continue, third.metadata.remaining_item_count), (["c4"], None, None))
    even = listed(namespace, limit=1, label_selector="even=true")
    equal((names(even), even.metadata.remaining_item_count), (["c0"], None))
    with refused(400, "BadRequest", "continue key is not valid"):
        listed(namespace, limit=2, _continue="no token")
    with refused(400, "BadRequest"):
        listed(namespace, limit=2, _continue=first.metadata._continue, resource_version="1")


@check
def lists_tell_their_version(cluster):
    namespace = several(cluster, 2)
    listed = cluster.core.list_namespaced_config_map
    now = listed(namespace)
    version = now.metadata.resource_version
    equal(names(listed(namespace, resource_version="0")), ["c0", "c1"])
    cluster.core.delete_namespaced_config_map("c0", namespace)
    exact = listed(namespace, resource_version=version, resource_version_match="Exact")
    equal((names(exact), exact.metadata.resource_version), (["c0", "c1"], version))
    equal(names(listed(namespace, resource_version=version, resource_version_match="NotOlderThan")), ["c1"])
    with refused(422, "Invalid") as refusal:
        listed(namespace, resource_version_match="Exact")
    equal(refusal.causes()[0][0], "resourceVersionMatch")
    with refused(504, "Timeout", "Too large resource version"):
        listed(namespace, resource_version=str(10**12))
