"""The same work per event in other frameworks, each as its own tutorial writes it: one process, one file each.

``python -m benchmarks.peers.NAME BROKER TOPIC EVENTS``; the alerts go to ``TOPIC.peer-alerts``. Quix Streams and bytewax need
other versions of our libraries, so they have an environment of their own, which ``make bench`` makes from ``requirements.txt``.
None of these programs imports the service.
"""
