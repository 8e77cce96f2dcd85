"""Reconciles `WhatsAppNumber` objects.

`cluster_facts` and `meta_view` observe. `plan` and `status` decide, without side effects. `execution` acts.
`reconcile` runs these steps in turn.
"""
