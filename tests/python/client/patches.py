"""Patches of the four types, and server-side apply (KEP-555): whose a field is, conflicts, force, giving up."""

from kubernetes import client

from cluster import check, contains, deployment, equal, managers, refused

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def images(item):
    """The images of a deployment's containers, by name."""
    return {container.name: container.image for container in item.spec.template.spec.containers}


def environment(item):
    """The variables of a deployment's first container."""
    return {variable.name: variable.value for variable in item.spec.template.spec.containers[0].env or []}


def template(*containers, **more):
    """A patch of a template's containers."""
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


@check
def a_dictionary_is_a_strategic_merge_patch(cluster):
    namespace = cluster.namespace()
    cluster.apps.create_namespaced_deployment(namespace, deployment("one", a="i:1", b="i:1"))

    def patch(body):
        return cluster.apps.patch_namespaced_deployment("one", namespace, body)

    equal(images(patch(template({"name": "b", "image": "i:2"}))), {"a": "i:1", "b": "i:2"})
    equal(list(images(patch(template({"name": "c", "image": "i:3"})))), ["c", "a", "b"])
    equal(images(patch(template({"name": "c", "$patch": "delete"}))), {"a": "i:1", "b": "i:2"})
    ordered = patch(template(**{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}))
    equal(list(images(ordered)), ["b", "a"])
    replaced = patch(template({"$patch": "replace"}, {"name": "d", "image": "i:4"}))
    equal(images(replaced), {"d": "i:4"})
    recreated = patch({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
    equal((recreated.spec.strategy.type, recreated.spec.strategy.rolling_update), ("Recreate", None))
    same = patch({"spec": {"strategy": {"type": "Recreate"}}})
    equal(same.metadata.resource_version, recreated.metadata.resource_version)


@check
def a_list_is_a_json_patch(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}, "data": {"a": "1"}})

    def patch(*operations):
        return cluster.core.patch_namespaced_config_map("one", namespace, list(operations))

    patched = patch(
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/b.c", "value": "2"},
        {"op": "copy", "from": "/data/a", "path": "/data/d"},
        {"op": "move", "from": "/data/a", "path": "/data/e"},
    )
    equal(patched.data, {"b.c": "2", "d": "1", "e": "1"})
    patched = patch(
        {"op": "add", "path": "/metadata/labels", "value": {}},
        {"op": "add", "path": "/metadata/labels/x.example~1y", "value": "z"},
    )
    equal(patched.metadata.labels, {"x.example/y": "z"})
    equal(patch({"op": "remove", "path": "/data/d"}).data, {"b.c": "2", "e": "1"})
    with refused(422, "Invalid"):
        patch({"op": "test", "path": "/data/e", "value": "other"})
    with refused(422, "Invalid"):
        patch({"op": "remove", "path": "/data/absent"})
    with refused(400, "BadRequest", "the name of the object (two) does not match the name on the URL (one)"):
        patch({"op": "replace", "path": "/metadata/name", "value": "two"})


@check
def a_merge_patch_replaces_lists_and_removes_by_null(cluster):
    namespace = cluster.namespace()
    cluster.apps.create_namespaced_deployment(namespace, deployment("one", a="i:1", b="i:1"))

    def patch(body, **options):
        return cluster.apps.patch_namespaced_deployment("one", namespace, body, _content_type=MERGE, **options)

    equal(images(patch(template({"name": "c", "image": "i:2"}))), {"c": "i:2"})
    labelled = patch({"metadata": {"labels": {"app": None, "x": "y"}}}, field_manager="labeller")
    equal(labelled.metadata.labels, {"x": "y"})
    equal(("labeller", "Update") in managers(labelled), True)
    with refused(409, "Conflict"):
        patch({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}})


@check
def a_patch_of_another_type_is_refused(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    with refused(415, "UnsupportedMediaType"):
        cluster.core.patch_namespaced_config_map("one", namespace, {}, _content_type="application/json")
    with refused(404, "NotFound"):
        cluster.core.patch_namespaced_config_map("absent", namespace, {"data": {"a": "b"}})


def applier(cluster, namespace):
    """Applies a deployment called `one`."""

    def apply(manager, body, force=None):
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"}, **body}
        options = {"field_manager": manager, "_content_type": APPLY, "force": force}
        return cluster.apps.patch_namespaced_deployment("one", namespace, body, **options)

    return apply


@check
def an_apply_creates_and_owns_what_it_says(cluster):
    namespace = cluster.namespace()
    apply = applier(cluster, namespace)
    body = deployment("one", replicas=2, a="i:1", b="i:1")
    made = apply("first", body)
    equal(managers(made), [("first", "Apply")])
    equal(made.metadata.managed_fields[0].fields_v1["f:spec"]["f:replicas"], {})
    again = apply("first", body)
    equal(again.metadata.resource_version, made.metadata.resource_version)

    other = template({"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]})
    shared = apply("second", other)
    equal(environment(shared), {"X": "1", "Y": "2"})
    fewer = apply("second", template({"name": "a", "env": [{"name": "Y", "value": "2"}]}))
    equal((environment(fewer), images(fewer)), ({"Y": "2"}, {"a": "i:1", "b": "i:1"}))
    given_up = apply("first", deployment("one", replicas=2, a="i:1"))
    equal(images(given_up), {"a": "i:1"})
    gone = apply("second", {})
    equal((environment(gone), managers(gone)), ({}, [("first", "Apply")]))


@check
def a_conflict_names_its_managers_and_fields(cluster):
    namespace = cluster.namespace()
    apply = applier(cluster, namespace)
    apply("first", deployment("one", replicas=2, a="i:1"))
    cluster.apps.patch_namespaced_deployment(
        "one", namespace, template({"name": "a", "image": "i:2"}), field_manager="hand"
    )
    with refused(409, "Conflict") as refusal:
        apply("second", {"spec": {"replicas": 3}})
    message = 'Apply failed with 1 conflict: conflict with "first": .spec.replicas'
    equal(refusal.status["message"], message)
    equal(refusal.causes(), [(".spec.replicas", "FieldManagerConflict", 'conflict with "first"')])
    with refused(409, "Conflict") as refusal:
        apply("first", deployment("one", replicas=2, a="i:3"))
    field = '.spec.template.spec.containers[name="a"].image'
    ((found, reason, text),) = refusal.causes()
    equal((found, reason), (field, "FieldManagerConflict"))
    contains(text, 'conflict with "hand" using apps/v1')

    forced = apply("second", {"spec": {"replicas": 3}}, force=True)
    equal(forced.spec.replicas, 3)
    owners = {entry.manager: entry.fields_v1 for entry in forced.metadata.managed_fields}
    equal("f:replicas" in owners["first"]["f:spec"], False)
    equal(owners["second"], {"f:spec": {"f:replicas": {}}})


@check
def an_apply_that_cannot_be_is_refused(cluster):
    namespace = cluster.namespace()
    apply = applier(cluster, namespace)
    with refused(422, "Invalid", "is required for apply patch") as refusal:
        apply(None, deployment("one"))
    equal(refusal.causes()[0][:2], ("fieldManager", "FieldValueRequired"))
    made = apply("first", deployment("one"))
    body = deployment("one")
    body["metadata"]["managedFields"] = cluster.client.sanitize_for_serialization(made.metadata.managed_fields)
    with refused(400, "BadRequest", "metadata.managedFields must be nil"):
        apply("first", body)
    body = deployment("one")
    body["metadata"]["name"] = "two"
    with refused(400, "BadRequest", "the name of the object (two) does not match the name on the URL (one)"):
        apply("first", body)
    with refused(500, None, ".spec.colour: field not declared in schema"):
        apply("first", {"spec": {"colour": "red"}})
    with refused(422, "Invalid") as refusal:
        apply("first", {"spec": {"replicas": -1}}, force=True)
    equal(refusal.causes()[0][0], "spec.replicas")


@check
def models_are_applied(cluster):
    namespace = cluster.namespace()
    body = client.V1ConfigMap(
        api_version="v1", kind="ConfigMap", metadata=client.V1ObjectMeta(name="one"), data={"a": "1", "b": "2"}
    )

    def apply(manager):
        options = {"field_manager": manager, "_content_type": APPLY}
        return cluster.core.patch_namespaced_config_map("one", namespace, body, **options)

    apply("first")
    body.data = {"b": "2", "c": "3"}
    apply("second")
    body.data = {"a": "1"}
    equal(apply("first").data, {"a": "1", "b": "2", "c": "3"})
    body.data = {"c": "3"}
    equal(apply("second").data, {"a": "1", "c": "3"})


@check
def a_status_is_applied_and_patched_at_its_own_door(cluster):
    namespace = cluster.namespace()
    cluster.apps.create_namespaced_deployment(namespace, deployment("one"))
    body = {"status": {"replicas": 2, "observedGeneration": 1}, "spec": {"replicas": 9}}
    patched = cluster.apps.patch_namespaced_deployment_status("one", namespace, body, field_manager="controller")
    equal((patched.status.replicas, patched.spec.replicas), (2, 2))
    equal(managers(patched, "status"), [("controller", "Update")])
    condition = {"type": "Available", "status": "True", "reason": "Test", "message": "it is"}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [condition]}}
    applied = cluster.apps.patch_namespaced_deployment_status(
        "one", namespace, body, field_manager="judge", _content_type=APPLY
    )
    equal([found.type for found in applied.status.conditions], ["Available"])
    equal(managers(applied, "status"), [("judge", "Apply"), ("controller", "Update")])
    untouched = cluster.apps.patch_namespaced_deployment("one", namespace, {"status": {"replicas": 7}})
    equal(untouched.status.replicas, 2)
