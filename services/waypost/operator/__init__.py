"""The operator brings `WhatsAppNumber` and `BotSchedule` objects to their desired state and keeps them there.

This state exists at Meta and in the cluster. In the packages `number` and `schedule`, `plan.py` decides
(without side effects) and `reconcile.py` acts. `engine/handlers.py` passes on the events that cause a
reconcile. Reconcilers reach the cluster only through the interface `cluster.Cluster`. The same code therefore
runs against the Kubernetes API and against the files of `waypost dev`.
"""
