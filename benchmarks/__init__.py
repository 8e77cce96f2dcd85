"""`make bench`: what Waypost does, as ratios to what one would otherwise run, both sides in one run on one machine.

stage ─▶ processes (`waypost webhook`, `waypost worker`, the peers) on PostgreSQL and Redis of the run's own
row   ─▶ A B A B …, each side checked against its ledger ─▶ results.jsonl ─▶ README.md
"""
