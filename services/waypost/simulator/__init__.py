"""A Graph API of one's own: strict as Meta about what it accepts, signed deliveries, statuses, faults on demand."""
