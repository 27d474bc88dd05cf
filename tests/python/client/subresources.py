"""What is done at a door of its own: scale, status, eviction, binding, tokens, approval, ephemeral containers."""

import json

from kubernetes import client

from cluster import check, deployment, equal, managers, pod, refused
from models import documents

MERGE = "application/merge-patch+json"


@check
def a_scale_is_read_replaced_and_patched(cluster):
    namespace = cluster.namespace()
    cluster.apps.create_namespaced_deployment(namespace, deployment("one"))
    scale = cluster.apps.read_namespaced_deployment_scale("one", namespace)
    equal((scale.kind, scale.spec.replicas, scale.status.selector), ("Scale", 2, "app=one"))
    scale.spec.replicas = 5
    cluster.apps.replace_namespaced_deployment_scale("one", namespace, scale)
    with refused(409, "Conflict", "the object has been modified"):
        cluster.apps.replace_namespaced_deployment_scale("one", namespace, scale)
    body = {"spec": {"replicas": 7}}
    patched = cluster.apps.patch_namespaced_deployment_scale("one", namespace, body, _content_type=MERGE)
    equal(patched.spec.replicas, 7)
    body = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
    cluster.apps.patch_namespaced_deployment_scale("one", namespace, body, field_manager="scaler")
    found = cluster.apps.read_namespaced_deployment("one", namespace)
    equal((found.spec.replicas, ("scaler", "Update") in managers(found, "scale")), (3, True))
    body[0]["value"] = 0
    cluster.apps.patch_namespaced_deployment_scale("one", namespace, body)
    equal(cluster.apps.read_namespaced_deployment("one", namespace).spec.replicas, 0)
    with refused(422, "Invalid") as refusal:
        body = {"spec": {"replicas": -1}}
        cluster.apps.patch_namespaced_deployment_scale("one", namespace, body, _content_type=MERGE)
    equal(refusal.causes()[0][0], "spec.replicas")


@check
def a_status_is_replaced_alone(cluster):
    namespace = cluster.namespace()
    made = cluster.core.create_namespaced_pod(namespace, pod("one", node="somewhere"))
    made.status.phase = "Running"
    made.status.pod_ip = "10.0.0.7"
    made.metadata.labels = {"not": "this"}
    made.spec.active_deadline_seconds = 9
    changed = cluster.core.replace_namespaced_pod_status("one", namespace, made)
    equal((changed.status.phase, changed.status.pod_ips[0].ip), ("Running", "10.0.0.7"))
    equal(changed.spec.active_deadline_seconds, None)
    equal(cluster.core.read_namespaced_pod_status("one", namespace).status.phase, "Running")
    with refused(409, "Conflict"):
        cluster.core.replace_namespaced_pod_status("one", namespace, made)


@check
def an_eviction_is_made_or_has_to_wait(cluster):
    namespace = cluster.namespace()
    for name in ["one", "two"]:
        cluster.core.create_namespaced_pod(namespace, pod(name, app=name))
    body = client.V1Binding(
        metadata=client.V1ObjectMeta(name="two"), target=client.V1ObjectReference(kind="Node", name="somewhere")
    )
    cluster.core.create_namespaced_pod_binding("two", namespace, body, _preload_content=False)
    running = cluster.core.read_namespaced_pod("two", namespace)
    equal((running.spec.node_name, running.status.conditions[0].type), ("somewhere", "PodScheduled"))
    condition = {"type": "Ready", "status": "True"}
    body = {"status": {"phase": "Running", "conditions": [condition]}}
    cluster.core.patch_namespaced_pod_status("two", namespace, body)
    budget = client.V1PodDisruptionBudget(
        metadata=client.V1ObjectMeta(name="keep"),
        spec=client.V1PodDisruptionBudgetSpec(
            min_available=1, selector=client.V1LabelSelector(match_labels={"app": "two"})
        ),
    )
    cluster.policy.create_namespaced_pod_disruption_budget(namespace, budget)
    counts = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    counts["observedGeneration"] = 1
    cluster.policy.patch_namespaced_pod_disruption_budget_status("keep", namespace, {"status": counts})

    def evict(name):
        body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=namespace))
        answer = cluster.core.create_namespaced_pod_eviction(name, namespace, body, _preload_content=False)
        return json.loads(answer.data)["status"]

    equal(evict("one"), "Success")
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    with refused(429, "TooManyRequests", message) as refusal:
        evict("two")
    equal([reason for _, reason, _ in refusal.causes()], ["DisruptionBudget"])
    counts["disruptionsAllowed"] = 1
    cluster.policy.patch_namespaced_pod_disruption_budget_status("keep", namespace, {"status": counts})
    equal(evict("two"), "Success")
    left = cluster.policy.read_namespaced_pod_disruption_budget("keep", namespace)
    equal((left.status.disruptions_allowed, list(left.status.disrupted_pods)), (0, ["two"]))


@check
def a_token_tells_who_one_is(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    made = cluster.core.create_namespaced_service_account_token("robot", namespace, request)
    equal((made.spec.expiration_seconds, made.status.expiration_timestamp is not None), (3600, True))
    robot = cluster.as_bearer(made.status.token)
    review = client.AuthenticationV1Api(robot).create_self_subject_review({})
    user = f"system:serviceaccount:{namespace}:robot"
    equal(review.status.user_info.username, user)
    with refused(403, "Forbidden", f'User "{user}" cannot list resource "secrets" in API group "" in the namespace'):
        client.CoreV1Api(robot).list_namespaced_secret(namespace)
    told = client.AuthenticationV1Api().create_token_review({"spec": {"token": made.status.token}})
    equal((told.status.authenticated, told.status.user.username), (True, user))
    told = client.AuthenticationV1Api().create_token_review({"spec": {"token": "another"}})
    equal(told.status.authenticated, None)
    with refused(422, "Invalid", "may not specify a duration less than 10 minutes"):
        request.spec.expiration_seconds = 60
        cluster.core.create_namespaced_service_account_token("robot", namespace, request)


@check
def a_certificate_is_approved(cluster):
    api = client.CertificatesV1Api()
    (body,) = [document for document in documents() if document["kind"] == "CertificateSigningRequest"]
    body["metadata"] = {"generateName": "python-"}
    made = api.create_certificate_signing_request(body)
    equal((made.spec.username, made.status.conditions), ("kubernetes-admin", None))
    condition = {"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}
    made.status.conditions = [client.V1CertificateSigningRequestCondition(**condition)]
    name = made.metadata.name
    approved = api.replace_certificate_signing_request_approval(name, made)
    equal([found.type for found in approved.status.conditions], ["Approved"])
    approved.status.conditions = []
    with refused(422, "Invalid", "condition"):
        api.replace_certificate_signing_request_approval(name, approved)


@check
def a_container_is_added_to_a_pod_that_runs(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_pod(namespace, pod("one", node="somewhere"))
    container = {"name": "look", "image": "registry.example/look:1", "targetContainerName": "c"}
    body = {"spec": {"ephemeralContainers": [container]}}
    changed = cluster.core.patch_namespaced_pod_ephemeralcontainers("one", namespace, body)
    equal([found.name for found in changed.spec.ephemeral_containers], ["look"])
    with refused(422, "Invalid", "existing ephemeral containers"):
        body = {"spec": {"ephemeralContainers": [{"name": "look", "image": "registry.example/look:2"}]}}
        cluster.core.patch_namespaced_pod_ephemeralcontainers("one", namespace, body)
    body = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "10m"}}}]}}
    with refused(422, "Invalid"):
        cluster.core.patch_namespaced_pod("one", namespace, body)
