"""`make bench`: compares Waypost with the programs that one would run without it. The figures are ratios.

Both sides are measured in the same run on the same machine.

stage ─▶ processes (`waypost webhook`, `waypost worker`, the peers) on the run's own PostgreSQL and Redis
row   ─▶ A B A B …, each side checked against its ledger ─▶ results.jsonl ─▶ README.md
"""
