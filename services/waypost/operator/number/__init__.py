"""Reconciles `WhatsAppNumber` objects. `cluster_facts` and `meta_view` observe, `plan` and `status` decide (pure),
`execution` acts, and `reconcile` runs these steps in turn.
"""
