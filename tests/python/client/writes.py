"""Objects are created, read and replaced; what is refused says why in a Status that clients parse."""

import ssl

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from cluster import check, contains, deployment, equal, names, refused


@check
def the_server_is_verified_and_asks_who_one_is(cluster):
    configuration = client.Configuration.get_default_copy()
    equal(configuration.verify_ssl, True)
    configuration.cert_file = configuration.key_file = None
    with refused(401, "Unauthorized"):
        client.CoreV1Api(client.ApiClient(configuration)).list_namespace()
    configuration.retries = False
    configuration.ssl_ca_cert = ssl.get_default_verify_paths().cafile
    try:
        client.CoreV1Api(client.ApiClient(configuration)).list_namespace()
    except ApiException as error:
        contains(error.reason, "certificate verify failed")
    else:
        raise AssertionError("an authority that did not sign is trusted")


@check
def versions_and_groups_are_told(cluster):
    version = client.VersionApi().get_code()
    equal((version.major, version.minor), ("1", "36"))
    groups = {group.name: group.preferred_version.version for group in client.ApisApi().get_api_versions().groups}
    equal((groups["apps"], groups["autoscaling"]), ("v1", "v2"))
    equal(client.CoreApi().get_api_versions().versions, ["v1"])
    found = {resource.name: resource.short_names for resource in client.AppsV1Api().get_api_resources().resources}
    equal((found["deployments"], "deployments/scale" in found), (["deploy"], True))
    contains(client.WellKnownApi().get_service_account_issuer_open_id_configuration(), "jwks_uri")


@check
def objects_are_created_read_and_replaced(cluster):
    namespace = cluster.namespace()
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one"), data={"a": "1"}, binary_data={"b": "AAE="})
    made = cluster.core.create_namespaced_config_map(namespace, body, field_manager="maker")
    equal((made.data, made.binary_data, made.metadata.namespace), ({"a": "1"}, {"b": "AAE="}, namespace))
    equal([entry.manager for entry in made.metadata.managed_fields], ["maker"])
    equal(cluster.core.read_namespaced_config_map("one", namespace), made)
    made.data["a"] = "2"
    changed = cluster.core.replace_namespaced_config_map("one", namespace, made)
    equal((changed.data, changed.metadata.uid), ({"a": "2"}, made.metadata.uid))
    with refused(409, "Conflict", "the object has been modified; please apply your changes to the latest version"):
        cluster.core.replace_namespaced_config_map("one", namespace, made)
    again = cluster.core.replace_namespaced_config_map("one", namespace, changed)
    equal(again.metadata.resource_version, changed.metadata.resource_version)


@check
def names_are_generated(cluster):
    namespace = cluster.namespace()
    body = client.V1Secret(metadata=client.V1ObjectMeta(generate_name="key-"), string_data={"a": "b"})
    made = [cluster.core.create_namespaced_secret(namespace, body) for _ in range(2)]
    equal([secret.metadata.name[:4] for secret in made], ["key-", "key-"])
    equal((made[0].data, made[0].string_data, made[0].type), ({"a": "Yg=="}, None, "Opaque"))
    equal(sorted(names(cluster.core.list_namespaced_secret(namespace))), sorted(it.metadata.name for it in made))


@check
def what_is_refused_says_why(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    with refused(409, "AlreadyExists", 'configmaps "one" already exists') as refusal:
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    equal(refusal.status["details"], {"name": "one", "kind": "configmaps"})
    with refused(404, "NotFound", 'deployments.apps "absent" not found') as refusal:
        cluster.apps.read_namespaced_deployment("absent", namespace)
    equal(refusal.status["details"], {"name": "absent", "group": "apps", "kind": "deployments"})
    equal(type(refusal.exception), client.exceptions.NotFoundException)
    wrong = deployment("Wrong")
    wrong["spec"]["template"]["spec"]["containers"] = []
    wrong["spec"]["replicas"] = -1
    with refused(422, "Invalid", 'Deployment.apps "Wrong" is invalid: [') as refusal:
        cluster.apps.create_namespaced_deployment(namespace, wrong)
    expected = {
        ("metadata.name", "FieldValueInvalid"),
        ("spec.replicas", "FieldValueInvalid"),
        ("spec.template.labels", "FieldValueInvalid"),
        ("spec.template.spec.containers", "FieldValueRequired"),
        ("spec.template.labels", "FieldValueInvalid"),
        ("spec.selector", "FieldValueInvalid"),
    }
    found = {(field, reason) for field, reason, _ in refusal.causes()}
    equal(sorted(found - expected), [])
    equal({"metadata.name", "spec.replicas", "spec.template.spec.containers"} <= {field for field, _ in found}, True)
    with refused(404, "NotFound", 'namespaces "absent" not found'):
        cluster.core.create_namespaced_config_map("absent", {"metadata": {"name": "one"}})


@check
def unknown_fields_are_warned_of_or_refused(cluster):
    namespace = cluster.namespace()
    body = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}, "colour": "red"}
    create = cluster.custom.create_namespaced_custom_object_with_http_info

    def created(validation):
        options = {"field_validation": validation, "_return_http_data_only": False}
        return create("coordination.k8s.io", "v1", namespace, "leases", body, **options)

    with refused(400, "BadRequest", 'strict decoding error: unknown field "colour"'):
        created("Strict")
    _, code, headers = created("Warn")
    equal((code, headers.get("Warning")), (201, '299 - "unknown field \\"colour\\""'))
    body["metadata"]["name"] = "two"
    _, code, headers = created("Ignore")
    equal((code, headers.get("Warning")), (201, None))
    with refused(422, "Invalid", "fieldValidation"):
        created("Sometimes")


@check
def what_is_tried_is_not_kept(cluster):
    namespace = cluster.namespace()
    made = cluster.apps.create_namespaced_deployment(namespace, deployment("one"), dry_run="All")
    equal((made.spec.strategy.type, made.metadata.uid is not None), ("RollingUpdate", True))
    with refused(404, "NotFound"):
        cluster.apps.read_namespaced_deployment("one", namespace)
    with refused(422, "Invalid") as refusal:
        cluster.apps.create_namespaced_deployment(namespace, deployment("one"), dry_run="Some")
    equal(refusal.causes()[0][:2], ("dryRun", "FieldValueNotSupported"))


@check
def jobs_and_cron_jobs_are_made_from_typed_models(cluster):
    namespace = cluster.namespace()
    container = client.V1Container(name="c", image="registry.example/c:1", command=["true"])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
    spec = client.V1JobSpec(template=template, backoff_limit=4)
    job = client.V1Job(api_version="batch/v1", kind="Job", metadata=client.V1ObjectMeta(name="one"), spec=spec)
    made = cluster.batch.create_namespaced_job(namespace, job)
    equal((made.spec.completions, made.spec.parallelism, made.spec.backoff_limit), (1, 1, 4))
    equal(made.spec.selector.match_labels, {"batch.kubernetes.io/controller-uid": made.metadata.uid})
    cron = client.V1CronJob(
        metadata=client.V1ObjectMeta(name="one"),
        spec=client.V1CronJobSpec(schedule="*/5 * * * *", job_template=client.V1JobTemplateSpec(spec=spec)),
    )
    made = cluster.batch.create_namespaced_cron_job(namespace, cron)
    equal((made.spec.concurrency_policy, made.spec.suspend), ("Allow", False))
    cron.metadata.name, cron.spec.schedule = "two", "at noon"
    with refused(422, "Invalid") as refusal:
        cluster.batch.create_namespaced_cron_job(namespace, cron)
    equal(refusal.causes()[0][:2], ("spec.schedule", "FieldValueInvalid"))
