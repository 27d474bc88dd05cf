"""Many at once: the client's asyncio half, threads that write one object and try again, and appliers that share one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from kubernetes import aio, utils
from kubernetes.client.exceptions import ApiException
from kubernetes.utils.retry import retry_on_conflict

from cluster import ANSWER_TIMEOUT, check, equal, managers, names

WRITERS = 8
# Times that a writer tries again; each time at least one of the writers succeeds.
STEPS = WRITERS + 1


@check
def asynchronous_clients_write_apply_and_watch(cluster):
    namespace = cluster.namespace()
    asyncio.run(asyncio.wait_for(write_apply_and_watch(cluster, namespace), ANSWER_TIMEOUT))
    equal(names(cluster.core.list_namespaced_config_map(namespace)), [f"c{number}" for number in range(WRITERS)])


async def write_apply_and_watch(cluster, namespace):
    """Creates and applies many configuration maps at once, and sees them all."""
    await aio.config.load_kube_config(config_file=cluster.kubeconfig)
    async with aio.client.ApiClient() as api_client:
        core = aio.client.CoreV1Api(api_client)
        version = (await core.list_namespaced_config_map(namespace)).metadata.resource_version

        async def write(number):
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}, "data": {"a": "1"}}
            await core.create_namespaced_config_map(namespace, body)
            body["data"] = {"b": "2"}
            options = {"field_manager": "applier", "_content_type": "application/apply-patch+yaml"}
            return await core.patch_namespaced_config_map(f"c{number}", namespace, body, **options)

        applied = await asyncio.gather(*(write(number) for number in range(WRITERS)))
        equal([item.data for item in applied], [{"a": "1", "b": "2"}] * WRITERS)
        seen = {}
        async with aio.watch.Watch() as watching:
            stream = watching.stream(core.list_namespaced_config_map, namespace, resource_version=version)
            async for event in stream:
                seen.setdefault(event["object"].metadata.name, []).append(event["type"])
                if sum(len(types) for types in seen.values()) == 2 * WRITERS:
                    break
        equal(seen, {f"c{number}": ["ADDED", "MODIFIED"] for number in range(WRITERS)})


@check
def nobody_s_change_is_lost_among_many(cluster):
    namespace = cluster.namespace()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})

    def write(number):
        def attempt():
            found = cluster.core.read_namespaced_config_map("one", namespace)
            found.data = {**(found.data or {}), f"k{number}": "v"}
            return cluster.core.replace_namespaced_config_map("one", namespace, found)

        backoff = utils.retry.Backoff(steps=STEPS, duration=0.0, factor=1.0, jitter=0.0)
        retry_on_conflict(attempt, backoff)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    found = cluster.core.read_namespaced_config_map("one", namespace)
    equal(found.data, {f"k{number}": "v" for number in range(WRITERS)})


@check
def appliers_of_one_object_never_conflict_over_fields_of_their_own(cluster):
    namespace = cluster.namespace()

    def apply(number, values):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": values}
        options = {"field_manager": f"m{number}", "_content_type": "application/apply-patch+yaml"}
        try:
            cluster.core.patch_namespaced_config_map("one", namespace, body, **options)
        except ApiException as exception:
            raise AssertionError(exception.body) from exception

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda number: apply(number, {f"k{number}": "1", "shared": "v"}), range(WRITERS)))
        list(pool.map(lambda number: apply(number, {f"k{number}": "2"}), range(WRITERS)))
    found = cluster.core.read_namespaced_config_map("one", namespace)
    equal(found.data, {f"k{number}": "2" for number in range(WRITERS)})
    equal(sorted(managers(found)), [(f"m{number}", "Apply") for number in range(WRITERS)])
