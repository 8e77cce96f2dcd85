"""Runs the turns of plugins in child processes, so that a plugin can delay and fail only its own number.

Each worker starts one `zygote`. The zygote is a small process that has imported everything that each plugin
needs. It forks the hosts. A `Host` object is the worker's side of one host. It sends one turn at a time over
a socket and kills the process at the deadline. `Hosts` shares the processes between numbers.

Hosts isolate time, memory and crashes. They do not isolate secrets, because a plugin runs as the worker's
user.
"""
