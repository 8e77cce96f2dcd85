"""The two kinds as typed models, and what is generated from them: CRDs and reference."""
