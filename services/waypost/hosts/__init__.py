"""Runs the turns of plugins in child processes, so that a plugin can delay and fail only its own number.

A worker starts one `zygote`, a small process that has imported what every plugin needs, and which forks hosts. A `Host`
is the worker's end: it sends one turn at a time over a socket and kills the process at the deadline. `Hosts` shares the
processes between numbers.

Hosts isolate time, memory and crashes. They do not isolate secrets: a plugin runs as the worker's user.
"""
