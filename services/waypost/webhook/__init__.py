"""The webhook: stores the events of a signed delivery from Meta and answers 200 only once they are committed."""
