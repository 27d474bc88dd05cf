"""The official Python client against a running server: a line for every check, and status 1 if one of them failed.

    python3 tests/python/client KUBECONFIG [--gone VERSION]

With --gone only one thing is checked: that the server, started anew, says of a version of before that it is gone.
"""

import argparse
import sys
import traceback

import concurrency
import deletions
import dynamic_client
import elections
import models
import patches
import permissions
import reads
import subresources
import watches
import writes
from cluster import Cluster

MODULES = [writes, patches, reads, watches, deletions, subresources, permissions]
MODULES += [dynamic_client, elections, concurrency, models]


def checks():
    """The checks of all modules, in the order in which they stand there."""
    for module in MODULES:
        for name, value in vars(module).items():
            if getattr(value, "is_check", False):
                yield name, value


def run(name, function, cluster):
    """Runs a check and says how it ended."""
    try:
        function(cluster)
    except Exception:
        print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok {name}", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kubeconfig")
    parser.add_argument("--gone", metavar="VERSION")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.kubeconfig)
    if arguments.gone:
        chosen = [("a version of before a restart is gone", lambda it: watches.version_is_gone(it, arguments.gone))]
    else:
        chosen = list(checks())
    failed = [name for name, function in chosen if not run(name, function, cluster)]
    if failed:
        print(f"{len(failed)} of {len(chosen)} checks failed: {', '.join(failed)}")
        sys.exit(1)
    print(f"{len(chosen)} checks passed; version {cluster.version()}")


main()
