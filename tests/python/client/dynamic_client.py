"""The dynamic client and the API of custom objects: what there is comes from discovery, objects are dictionaries."""

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, UnprocessibleEntityError

from cluster import ANSWER_TIMEOUT, check, contains, deployment, equal, refused


@check
def resources_are_discovered(cluster):
    rows = [
        ({"api_version": "v1", "kind": "Pod"}, ("pods", True, ["po"])),
        ({"api_version": "apps/v1", "kind": "Deployment"}, ("deployments", True, ["deploy"])),
        ({"kind": "ClusterRole"}, ("clusterroles", False, None)),
        ({"short_names": ["pdb"]}, ("poddisruptionbudgets", True, ["pdb"])),
        ({"api_version": "autoscaling/v2", "short_names": ["hpa"]}, ("horizontalpodautoscalers", True, ["hpa"])),
    ]
    for wanted, expected in rows:
        found = cluster.dynamic.resources.get(**wanted)
        equal((found.name, found.namespaced, found.short_names), expected)
    deployments = cluster.dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    equal(sorted(deployments.subresources), ["scale", "status"])
    contains(cluster.dynamic.version["kubernetes"]["gitVersion"], "v1.36")


@check
def dictionaries_are_written_and_read(cluster):
    namespace = cluster.namespace()
    deployments = cluster.dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    made = deployments.create(body=deployment("one"), namespace=namespace)
    equal((made.spec.replicas, made.spec.strategy.rollingUpdate.maxSurge), (2, "25%"))
    made.spec.replicas = 3
    equal(deployments.replace(body=made.to_dict(), namespace=namespace).spec.replicas, 3)
    try:
        deployments.replace(body=made.to_dict(), namespace=namespace)
    except ConflictError as error:
        contains(error.summary(), "the object has been modified")
    else:
        raise AssertionError("an old version is replaced")
    patched = deployments.patch(name="one", namespace=namespace, body={"spec": {"replicas": 4}})
    equal(patched.spec.replicas, 4)
    patch = {"name": "one", "namespace": namespace, "content_type": "application/json-patch+json"}
    patched = deployments.patch(body=[{"op": "remove", "path": "/spec/replicas"}], **patch)
    equal(patched.spec.replicas, 1)
    scaled = deployments.scale.patch(
        body={"spec": {"replicas": 5}}, name="one", namespace=namespace, content_type="application/merge-patch+json"
    )
    equal((scaled.kind, scaled.spec.replicas), ("Scale", 5))
    listed = deployments.get(namespace=namespace, label_selector="app=one")
    equal((listed.kind, [item.metadata.name for item in listed.items]), ("DeploymentList", ["one"]))
    deployments.delete(name="one", namespace=namespace, propagation_policy="Background")
    try:
        deployments.get(name="one", namespace=namespace)
    except NotFoundError as error:
        contains(error.summary(), 'deployments.apps "one" not found')
    else:
        raise AssertionError("a deleted deployment is found")


@check
def dictionaries_are_applied(cluster):
    namespace = cluster.namespace()
    maps = cluster.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    made = maps.server_side_apply(body=body, namespace=namespace, field_manager="first")
    equal([(entry.manager, entry.operation) for entry in made.metadata.managedFields], [("first", "Apply")])
    body["data"] = {"a": "2", "b": "2"}
    try:
        maps.server_side_apply(body=body, namespace=namespace, field_manager="second")
    except ConflictError as error:
        contains(str(error), 'conflict with \\"first\\": .data.a')
    else:
        raise AssertionError("no conflict")
    forced = maps.server_side_apply(body=body, namespace=namespace, field_manager="second", force_conflicts=True)
    equal(forced.data.to_dict(), {"a": "2", "b": "2"})
    body["metadata"]["name"] = "Wrong"
    try:
        maps.server_side_apply(body=body, namespace=namespace, field_manager="second")
    except UnprocessibleEntityError as error:
        contains(str(error), "metadata.name: Invalid value")
    else:
        raise AssertionError("a wrong name is applied")


@check
def dictionaries_are_watched(cluster):
    namespace = cluster.namespace()
    maps = cluster.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    version = maps.get(namespace=namespace).metadata.resourceVersion
    maps.create(body={"metadata": {"name": "one"}}, namespace=namespace)
    for event in maps.watch(namespace=namespace, resource_version=version, timeout=ANSWER_TIMEOUT):
        equal((event["type"], event["object"].metadata.name), ("ADDED", "one"))
        break


@check
def any_group_is_asked_by_the_api_of_custom_objects(cluster):
    namespace = cluster.namespace()
    place = ("apps", "v1", namespace, "deployments")
    made = cluster.custom.create_namespaced_custom_object(*place, deployment("one"))
    equal(made["spec"]["replicas"], 2)
    equal([item["metadata"]["name"] for item in cluster.custom.list_namespaced_custom_object(*place)["items"]], ["one"])
    patched = cluster.custom.patch_namespaced_custom_object(*place, "one", {"spec": {"replicas": 3}})
    equal(patched["spec"]["replicas"], 3)
    patched["spec"]["replicas"] = 4
    equal(cluster.custom.replace_namespaced_custom_object(*place, "one", patched)["spec"]["replicas"], 4)
    scale = cluster.custom.get_namespaced_custom_object_scale(*place, "one")
    equal((scale["kind"], scale["spec"]["replicas"]), ("Scale", 4))
    equal(cluster.custom.delete_namespaced_custom_object(*place, "one")["status"], "Success")
    try:
        cluster.custom.list_cluster_custom_object("absent.example", "v1", "things")
    except ApiException as error:
        equal((error.status, error.body), (404, "404 page not found\n"))
    else:
        raise AssertionError("a group that is absent answers")
