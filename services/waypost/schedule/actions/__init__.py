"""The actions of a schedule. There is one module per action, and `table` lists them all.

A module contains the action's model (the fields of `spec.action.NAME`), the needs of its pod, and the
function that runs the action. The operator imports these modules too but has no database. Code that needs a
database is therefore imported only when the action runs.
"""
