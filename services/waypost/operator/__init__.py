"""The operator: makes `WhatsAppNumber` and `BotSchedule` true at Meta and in the cluster, and keeps them true.

`plan.py` decides (pure), `reconcile.py` does, `handlers.py` wakes. What reconciling needs of a cluster is
`cluster.Cluster`, so that the same code runs against the Kubernetes API and against the files of `waypost dev`.
"""
