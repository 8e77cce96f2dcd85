"""The webhook. It stores the events of a signed delivery from Meta and answers 200 only after they are committed."""
