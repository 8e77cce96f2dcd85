"""A `WhatsAppNumber` made true: `observe.py` looks, `plan.py` and `judgement.py` decide (pure), `reconcile.py` does."""
