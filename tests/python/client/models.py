"""An object of every kind is created from a file, read into its typed model and written back: nothing is lost."""

import datetime
import inspect
import json
import os
import re

import yaml
from kubernetes import client, utils
from kubernetes.client.exceptions import ApiException

from cluster import check, equal

OBJECTS = os.path.join(os.path.dirname(__file__), "objects.yaml")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def documents():
    """The objects of the file."""
    with open(OBJECTS, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def named(made):
    """The names of what was created or applied."""
    return [item.metadata.name for (item,) in made]


@check
def a_file_of_every_kind_is_created_and_applied(cluster):
    namespace = cluster.namespace()
    expected = [document["metadata"]["name"] for document in documents()]
    equal(named(utils.create_from_yaml(cluster.client, OBJECTS, namespace=namespace)), expected)
    try:
        utils.create_from_yaml(cluster.client, OBJECTS, namespace=namespace)
    except utils.FailToCreateError as error:
        reasons = [json.loads(exception.body)["reason"] for exception in error.api_exceptions]
        equal(reasons, ["AlreadyExists"] * len(expected))
    else:
        raise AssertionError("what exists is created again")
    applied = utils.create_from_yaml(cluster.client, OBJECTS, namespace=namespace, apply=True, force_conflicts=True)
    equal(named(applied), expected)
    make_events(namespace)
    no_model_loses_a_field(cluster)


def make_events(namespace):
    """Makes an event of each version; one is of something in its namespace, so that the file cannot hold them."""
    name = client.V1ObjectMeta(generate_name="python-")
    now = datetime.datetime.fromisoformat("2026-01-02T03:04:05.000007+00:00")
    about = client.V1ObjectReference(api_version="v1", kind="Pod", name="whole", namespace=namespace)
    said = {"event_time": now, "reason": "Tested", "action": "Testing", "type": "Warning"}
    said |= {"metadata": name, "reporting_instance": "python-1"}
    old = client.CoreV1Event(involved_object=about, count=2, reporting_component="registry.example/python", **said)
    old.first_timestamp = old.last_timestamp = now.replace(microsecond=0)
    made = client.CoreV1Api().create_namespaced_event(namespace, old)
    equal((made.first_timestamp, made.count), (old.first_timestamp, 2))
    new = client.EventsV1Event(regarding=about, reporting_controller="registry.example/python", **said)
    new.series = client.EventsV1EventSeries(count=2, last_observed_time=now)
    made = client.EventsV1Api().create_namespaced_event(namespace, new)
    equal((made.event_time, made.series.last_observed_time, made.regarding.name), (now, now, "whole"))


def no_model_loses_a_field(cluster):
    """Lists everything that discovery says can be listed."""
    left, missed, empty = listable(cluster), [], []
    for name, function in list_functions():
        try:
            answer = function(_preload_content=False)
        except ApiException as exception:
            # The client knows versions that are not served: discovery tells which are.
            equal((name, exception.status), (name, 404))
            continue
        raw = json.loads(answer.data)
        left.remove((raw["apiVersion"], raw["kind"]))
        model = cluster.client.deserialize(answer.data.decode(), model_of(function), "application/json")
        found = difference(plain(cluster.client.sanitize_for_serialization(model)), plain(raw), name)
        if found:
            missed.append(found)
        if not raw["items"]:
            empty.append(name)
    equal((missed, empty, left), ([], [], set()))


def listable(cluster):
    """The versions and list kinds of what can be listed, as discovery tells them."""
    found = set()
    for groups in cluster.dynamic.resources.parse_api_groups(request_resources=True, update=True).values():
        for group, versions in groups.items():
            for version, content in versions.items():
                for resources in content.resources.values():
                    for resource in resources:
                        if "list" in (getattr(resource, "verbs", None) or []) and type(resource).__name__ == "Resource":
                            found.add(("/".join(filter(None, [group, version])), f"{resource.kind}List"))
    return found


def list_functions():
    """Every function of the client that lists a kind in the whole cluster."""
    for name, api in inspect.getmembers(client, inspect.isclass):
        if not re.fullmatch(r"[A-Z]\w*V\d\w*Api", name):
            continue
        for function, value in inspect.getmembers(api(), inspect.ismethod):
            needed = [it for it in inspect.signature(value).parameters.values() if it.default is it.empty]
            needed = [it for it in needed if it.kind is it.POSITIONAL_OR_KEYWORD]
            if function.startswith("list_") and not function.endswith("_with_http_info") and not needed:
                yield f"{name}.{function}", value


def model_of(function):
    """The name of the model that a function returns."""
    found = inspect.signature(function).return_annotation
    return found if isinstance(found, str) else found.__name__


def plain(value):
    """A value without what is null, of which times are numbers, so that two ways of writing one are equal."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and TIME.fullmatch(value):
        return datetime.datetime.fromisoformat(value).timestamp()
    return value


def difference(found, expected, path):
    """Where two values differ first, or nothing."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            if key not in found or key not in expected:
                return f"{path}.{key}: {found.get(key)!r} for {expected.get(key)!r}"
            deeper = difference(found[key], expected[key], f"{path}.{key}")
            if deeper:
                return deeper
        return None
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for at, pair in enumerate(zip(found, expected)):
            deeper = difference(*pair, f"{path}[{at}]")
            if deeper:
                return deeper
        return None
    return None if found == expected else f"{path}: {found!r} for {expected!r}"
