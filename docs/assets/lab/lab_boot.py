"""What every interpreter of the lab does before its role begins; baked into the snapshot."""

import json
import os
import random
import sys

import lab_client  # noqa: F401  (only to be in the snapshot)
import lab_lazy
import lab_loop
import lab_outbox
import lab_server  # noqa: F401  (only to be in the snapshot)
import lab_sockets
import lab_threads

loop = lab_loop.install()
lab_threads.install()
lab_sockets.install()


def adopt(emit, bridge, pid, parent_pid, env):
    """Connect a fresh interpreter to JavaScript and give it its identity.

    All interpreters come from one image: without a new seed they would draw the same numbers.
    """
    lab_lazy.attach(bridge.lazy)
    lab_outbox.attach(emit)
    lab_threads.attach(bridge)
    lab_sockets.attach(bridge)
    loop.attach(bridge)
    loop.after_iteration = lab_outbox.flush
    os.getpid = lambda: pid
    os.getppid = lambda: parent_pid
    os.environ.update(json.loads(env))
    random.seed()
    sys.stdout, sys.stderr = lab_outbox.LineWriter("stdout"), lab_outbox.LineWriter("stderr")
