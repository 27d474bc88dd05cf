"""A cluster as the official Python client sees it, and what the checks share."""

import json
from contextlib import contextmanager

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

# How long one answer may take before a check fails, in seconds. Nothing is measured by it.
ANSWER_TIMEOUT = 60


def check(function):
    """Marks a function of one cluster as a check."""
    function.is_check = True
    return function


class Refusal:
    """What a server refused, once it has."""

    def __init__(self):
        self.exception = None
        self.status = None

    def causes(self):
        """The fields, reasons and messages of the details."""
        causes = (self.status.get("details") or {}).get("causes") or []
        return [(cause.get("field"), cause.get("reason"), cause.get("message")) for cause in causes]


@contextmanager
def refused(code, reason, message=""):
    """Expects that a request is refused, and that its Status says why."""
    refusal = Refusal()
    try:
        yield refusal
    except ApiException as exception:
        refusal.exception = exception
        refusal.status = json.loads(exception.body)
        status = refusal.status
        found = (exception.status, status.get("code"), status.get("reason"), status.get("kind"), status.get("status"))
        equal(found, (code, code, reason, "Status", "Failure"))
        contains(status["message"], message)
        return
    raise AssertionError(f"not refused: {code} {reason} {message}")


def equal(found, expected):
    """Fails unless both are the same."""
    if found != expected:
        raise AssertionError(f"found    {found!r}\nexpected {expected!r}")


def contains(text, part):
    """Fails unless one text is part of the other."""
    if part not in text:
        raise AssertionError(f"no {part!r} in {text!r}")


def names(listed):
    """The names of a list's items."""
    return [item.metadata.name for item in listed.items]


def managers(item, subresource=None):
    """Who manages an object: the manager and how it writes, in the order of the entries."""
    entries = item.metadata.managed_fields or []
    return [(entry.manager, entry.operation) for entry in entries if entry.subresource == subresource]


def deployment(name, replicas=2, **containers):
    """A deployment with a container for each name and image."""
    containers = containers or {"web": "registry.example/web:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": key, "image": image} for key, image in containers.items()]},
            },
        },
    }


def pod(name, node=None, **labels):
    """A pod of one container."""
    spec = {"containers": [{"name": "c", "image": "registry.example/c:1"}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


class Cluster:
    """The APIs of a cluster, and namespaces that nobody else uses."""

    def __init__(self, kubeconfig):
        self.kubeconfig = kubeconfig
        config.load_kube_config(config_file=kubeconfig)
        self.client = client.ApiClient()
        self.core = client.CoreV1Api()
        self.apps = client.AppsV1Api()
        self.batch = client.BatchV1Api()
        self.rbac = client.RbacAuthorizationV1Api()
        self.policy = client.PolicyV1Api()
        self.custom = client.CustomObjectsApi()
        self.namespaces = 0
        self._dynamic = None

    @property
    def dynamic(self):
        """The client that discovers what there is."""
        self._dynamic = self._dynamic or DynamicClient(self.client)
        return self._dynamic

    def namespace(self):
        """Makes a namespace with the service account that pods need."""
        self.namespaces += 1
        name = f"python-{self.namespaces}"
        self.core.create_namespace({"metadata": {"name": name}})
        try:
            self.core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
        except ApiException as exception:
            # A controller may be quicker.
            equal(exception.status, 409)
        return name

    def version(self):
        """The version of the newest configuration map."""
        return self.core.list_config_map_for_all_namespaces(limit=1).metadata.resource_version

    def as_bearer(self, token):
        """The same server with a token and without the certificate."""
        configuration = client.Configuration.get_default_copy()
        configuration.cert_file = configuration.key_file = None
        configuration.api_key = {"BearerToken": f"Bearer {token}"}
        return client.ApiClient(configuration)

    def impersonating(self, user, *groups):
        """The same server as somebody else."""
        other = client.ApiClient()
        other.set_default_header("Impersonate-User", user)
        if groups:
            other.set_default_header("Impersonate-Group", ",".join(groups))
        return other
