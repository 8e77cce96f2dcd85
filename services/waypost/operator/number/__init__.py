"""Reconciles `WhatsAppNumber` objects: `cluster_facts` and `meta_view` observe, `plan` and `status` decide (pure),
`execution` acts, `reconcile` runs them in turn.
"""
