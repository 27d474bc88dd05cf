"""Watches: from a version, resumed, with bookmarks, beginning with what there is (KEP-3157), ended by the server, of a
version that is gone; and the client's informer."""

import json
import logging
import queue

from kubernetes import watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer

from cluster import ANSWER_TIMEOUT, check, contains, equal


def config_map(name, **data):
    """A configuration map."""
    return {"metadata": {"name": name}, "data": data}


def first(count, events):
    """The types and names of the first events."""
    found = []
    for event in events:
        found.append((event["type"], event["object"].metadata.name))
        if len(found) == count:
            return found
    raise AssertionError(f"the watch ended after {found}")


@check
def a_watch_tells_what_is_and_what_happens(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, config_map("one"))
    watching = watch.Watch()
    events = watching.stream(cluster.core.list_namespaced_config_map, namespace, _request_timeout=ANSWER_TIMEOUT)
    equal(first(1, events), [("ADDED", "one")])
    version = watching.resource_version
    cluster.core.patch_namespaced_config_map("one", namespace, {"data": {"a": "b"}})
    cluster.core.delete_namespaced_config_map("one", namespace)
    cluster.core.create_namespaced_config_map(namespace, config_map("two"))
    resumed = watch.Watch().stream(
        cluster.core.list_namespaced_config_map, namespace, resource_version=version, _request_timeout=ANSWER_TIMEOUT
    )
    equal(first(3, resumed), [("MODIFIED", "one"), ("DELETED", "one"), ("ADDED", "two")])


@check
def a_watch_ends_when_it_was_asked_to(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, config_map("one"))
    options = {"timeout_seconds": 1, "_request_timeout": ANSWER_TIMEOUT}
    events = list(watch.Watch().stream(cluster.core.list_namespaced_config_map, namespace, **options))
    equal([(event["type"], event["object"].metadata.name) for event in events], [("ADDED", "one")])


@check
def what_leaves_a_selection_is_told_as_deleted(cluster):
    namespace = cluster.namespace()
    version = cluster.core.list_namespaced_config_map(namespace).metadata.resource_version
    body = config_map("one")
    for colour in ["red", "blue", "red"]:
        body["metadata"]["labels"] = {"colour": colour}
        if colour == "red" and "made" not in body["data"]:
            body["data"]["made"] = "yes"
            cluster.core.create_namespaced_config_map(namespace, body)
        else:
            cluster.core.replace_namespaced_config_map("one", namespace, body)
    options = {"resource_version": version, "label_selector": "colour=red", "_request_timeout": ANSWER_TIMEOUT}
    events = watch.Watch().stream(cluster.core.list_namespaced_config_map, namespace, **options)
    equal(first(3, events), [("ADDED", "one"), ("DELETED", "one"), ("ADDED", "one")])


@check
def a_watch_begins_with_what_there_is_and_marks_its_end(cluster):
    namespace = cluster.namespace()
    for name in ["one", "two"]:
        cluster.core.create_namespaced_config_map(namespace, config_map(name))
    options = {
        "send_initial_events": True,
        "allow_watch_bookmarks": True,
        "resource_version_match": "NotOlderThan",
        "_request_timeout": ANSWER_TIMEOUT,
    }
    watching, found = watch.Watch(), []
    for event in watching.stream(cluster.core.list_namespaced_config_map, namespace, **options):
        metadata = event["raw_object"]["metadata"]
        if event["type"] == "BOOKMARK":
            equal(metadata["annotations"], {"k8s.io/initial-events-end": "true"})
            equal(watching.resource_version, metadata["resourceVersion"])
            break
        found.append((event["type"], metadata["name"]))
    equal(sorted(found), [("ADDED", "one"), ("ADDED", "two")])


@check
def an_informer_follows(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, config_map("one"))
    informer, told = SharedInformer(cluster.core.list_namespaced_config_map, namespace=namespace), queue.Queue()
    for kind in [ADDED, MODIFIED, DELETED]:
        informer.add_event_handler(kind, lambda item, kind=kind: told.put((kind, item.metadata.name)))
    informer.start()
    try:
        equal(told.get(timeout=ANSWER_TIMEOUT), ("ADDED", "one"))
        cluster.core.create_namespaced_config_map(namespace, config_map("two"))
        equal(told.get(timeout=ANSWER_TIMEOUT), ("ADDED", "two"))
        cluster.core.patch_namespaced_config_map("two", namespace, {"data": {"a": "b"}})
        equal(told.get(timeout=ANSWER_TIMEOUT), ("MODIFIED", "two"))
        cluster.core.delete_namespaced_config_map("one", namespace)
        equal(told.get(timeout=ANSWER_TIMEOUT), ("DELETED", "one"))
        equal([item.metadata.name for item in informer.cache.list()], ["two"])
    finally:
        # It complains of the connection that it closes itself.
        logging.getLogger("kubernetes.informer").setLevel(logging.CRITICAL)
        informer.stop()


def version_is_gone(cluster, version):
    """Fails unless a watch and a list of a version of before are refused with 410."""
    options = {"resource_version": version, "timeout_seconds": 30}
    try:
        list(watch.Watch().stream(cluster.core.list_config_map_for_all_namespaces, **options))
    except ApiException as exception:
        equal(exception.status, 410)
        contains(exception.reason, "too old resource version")
    else:
        raise AssertionError("the version is not gone")
    try:
        options = {"resource_version": version, "resource_version_match": "Exact"}
        cluster.core.list_config_map_for_all_namespaces(**options)
    except ApiException as exception:
        status = json.loads(exception.body)
        equal((exception.status, status["reason"]), (410, "Expired"))
    else:
        raise AssertionError("a list of the version is not gone")
