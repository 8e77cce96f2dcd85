"""The webhook: a signed delivery from Meta becomes committed events, and only then a 200."""
