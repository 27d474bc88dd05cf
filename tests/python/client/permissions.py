"""Who may do what: RBAC objects, reviews of access, impersonation, and that nobody gives away what they do not have."""

from kubernetes import client

from cluster import check, equal, refused


def role(name, *verbs):
    """A role that allows verbs on configuration maps."""
    rule = client.V1PolicyRule(api_groups=[""], resources=["configmaps"], verbs=list(verbs))
    return client.V1Role(metadata=client.V1ObjectMeta(name=name), rules=[rule])


def binding(name, user):
    """Gives a user the role of the same name."""
    group = "rbac.authorization.k8s.io"
    return client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name=name),
        role_ref=client.V1RoleRef(api_group=group, kind="Role", name=name),
        subjects=[client.RbacV1Subject(api_group=group, kind="User", name=user)],
    )


@check
def a_role_gives_what_it_says(cluster):
    namespace = cluster.namespace()
    ana = client.CoreV1Api(cluster.impersonating("ana"))
    message = 'configmaps is forbidden: User "ana" cannot list resource "configmaps" in API group "" in the namespace'
    with refused(403, "Forbidden", message) as refusal:
        ana.list_namespaced_config_map(namespace)
    equal(refusal.status["details"], {"kind": "configmaps"})
    cluster.rbac.create_namespaced_role(namespace, role("reader", "get", "list"))
    made = cluster.rbac.create_namespaced_role_binding(namespace, binding("reader", "ana"))
    equal((made.role_ref.kind, made.subjects[0].name), ("Role", "ana"))
    equal(ana.list_namespaced_config_map(namespace).items, [])
    with refused(403, "Forbidden", 'cannot create resource "configmaps"'):
        ana.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    made.role_ref.name = "other"
    with refused(422, "Invalid", "cannot change roleRef"):
        cluster.rbac.replace_namespaced_role_binding("reader", namespace, made)


@check
def nobody_gives_away_what_they_do_not_have(cluster):
    namespace = cluster.namespace()
    rule = client.V1PolicyRule(
        api_groups=["rbac.authorization.k8s.io"], resources=["roles", "rolebindings"], verbs=["create", "get"]
    )
    giver = client.V1Role(metadata=client.V1ObjectMeta(name="giver"), rules=[rule])
    cluster.rbac.create_namespaced_role(namespace, giver)
    cluster.rbac.create_namespaced_role_binding(namespace, binding("giver", "ben"))
    cluster.rbac.create_namespaced_role(namespace, role("reader", "get"))
    ben = client.RbacAuthorizationV1Api(cluster.impersonating("ben"))
    with refused(403, "Forbidden", "is attempting to grant RBAC permissions not currently held"):
        ben.create_namespaced_role(namespace, role("writer", "update"))
    with refused(403, "Forbidden", "is attempting to grant RBAC permissions not currently held"):
        ben.create_namespaced_role_binding(namespace, binding("reader", "ben"))


@check
def access_is_reviewed(cluster):
    namespace = cluster.namespace()
    cluster.rbac.create_namespaced_role(namespace, role("reader", "get"))
    cluster.rbac.create_namespaced_role_binding(namespace, binding("reader", "eve"))
    api = client.AuthorizationV1Api()

    def attributes(verb):
        return client.V1ResourceAttributes(namespace=namespace, verb=verb, resource="configmaps")

    spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes("delete"))
    own = client.V1SelfSubjectAccessReview(spec=spec)
    equal(api.create_self_subject_access_review(own).status.allowed, True)
    for verb, allowed in [("get", True), ("delete", False)]:
        spec = client.V1SubjectAccessReviewSpec(resource_attributes=attributes(verb), user="eve")
        equal(api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec)).status.allowed, allowed)
        local = client.V1LocalSubjectAccessReview(metadata=client.V1ObjectMeta(namespace=namespace), spec=spec)
        equal(api.create_namespaced_local_subject_access_review(namespace, local).status.allowed, allowed)
        reviewing = client.AuthorizationV1Api(cluster.impersonating("eve"))
        own.spec.resource_attributes = attributes(verb)
        equal(reviewing.create_self_subject_access_review(own).status.allowed, allowed)
    path = client.V1NonResourceAttributes(path="/metrics", verb="get")
    spec = client.V1SubjectAccessReviewSpec(non_resource_attributes=path, user="eve")
    equal(api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec)).status.allowed, False)
    rules = client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace=namespace))
    told = client.AuthorizationV1Api(cluster.impersonating("eve")).create_self_subject_rules_review(rules).status
    equal((["get"], ["configmaps"]) in [(rule.verbs, rule.resources) for rule in told.resource_rules], True)
    equal(told.incomplete, False)
    with refused(422, "Invalid"):
        api.create_subject_access_review({"spec": {"user": "eve"}})
