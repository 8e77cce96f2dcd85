"""The operator: brings `WhatsAppNumber` and `BotSchedule` objects to their desired state, at Meta and in the cluster,
and keeps them there.

In the packages `number` and `schedule`, `plan.py` decides (pure) and `reconcile.py` acts. `engine/handlers.py` passes
on the events that cause a reconcile. Reconcilers reach the cluster only through the interface `cluster.Cluster`, so the
same code runs against the Kubernetes API and against the files of `waypost dev`.
"""
