"""What a run of a schedule can do: one module per action, all of them listed in `table`.

A module holds the action's model (the fields of `spec.action.NAME`), what its pod needs, and how it runs. The operator
imports these modules too, and it has no database: whatever needs one is imported where it runs.
"""
