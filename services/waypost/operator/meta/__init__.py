"""How the operator calls Meta: measured calls within an hourly budget."""
