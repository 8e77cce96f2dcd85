"""Typed models of the two kinds, and the files that are generated from them: the CRDs and the reference."""
