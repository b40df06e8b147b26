"""A Ray cluster on this machine, in a process of its own: Ray forks, which a process that has run JAX should not.

A head without cores and one node are started and the address is printed. After a line on stdin another node joins and
the first is killed (SIGKILL). At the end of stdin all of it ends.
"""

import sys

from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    try:
        first = cluster.add_node(num_cpus=1, **SMALL)
        print(f"address {cluster.address}", flush=True)
        if sys.stdin.readline():
            cluster.add_node(num_cpus=1, **SMALL)
            cluster.remove_node(first, allow_graceful=False)
            print("lost", flush=True)
            sys.stdin.read()
    finally:
        cluster.shutdown()
