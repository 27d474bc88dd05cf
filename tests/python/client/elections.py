"""The client's leader election, with both of its locks. No time passes: each candidate is asked to try."""

from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from cluster import check, equal

LEASE_SECONDS = 600


def candidate(lock, namespace, name, lease_seconds=LEASE_SECONDS):
    """Somebody who wants to lead."""
    config = Config(
        lock("leader", namespace, name),
        lease_duration=lease_seconds,
        renew_deadline=lease_seconds - 1,
        retry_period=1,
        onstarted_leading=lambda: None,
        onstopped_leading=lambda: None,
    )
    return LeaderElection(config)


def holder(lock, namespace):
    """Who leads."""
    found, record = lock("leader", namespace, "nobody").get("leader", namespace)
    equal(found, True)
    return record.holder_identity


def elect(cluster, lock):
    """One leads and renews; another waits, and follows when it has given up."""
    namespace = cluster.namespace()
    first, second = candidate(lock, namespace, "first"), candidate(lock, namespace, "second")
    equal(first.try_acquire_or_renew(), True)
    equal(second.try_acquire_or_renew(), False)
    equal(first.try_acquire_or_renew(), True)
    equal((second.try_acquire_or_renew(), holder(lock, namespace)), (False, "first"))
    # The lease of the first is seen as old by whoever saw it long ago.
    second.observed_time_milliseconds -= 2 * LEASE_SECONDS * 1000
    equal((second.try_acquire_or_renew(), holder(lock, namespace)), (True, "second"))
    equal(first.try_acquire_or_renew(), False)


@check
def a_lease_elects(cluster):
    elect(cluster, LeaseLock)


@check
def a_configuration_map_elects(cluster):
    elect(cluster, ConfigMapLock)
