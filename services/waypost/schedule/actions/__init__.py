"""The actions of a schedule: one module per action, all of them listed in `table`.

A module contains the action's model (the fields of `spec.action.NAME`), what its pod needs, and the function that runs
it. The operator imports these modules too and has no database, so code that needs one is imported when it runs.
"""
