"""Everything that Meta delivers: a signed delivery is split into events, and an event is parsed into a typed record."""
