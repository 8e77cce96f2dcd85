"""Typed models of the two kinds, and the files generated from them: CRDs and reference."""
