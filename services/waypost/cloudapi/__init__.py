"""Everything that Meta defines: the deliveries it sends, the messages it accepts, and all HTTP calls to its Graph
API."""
