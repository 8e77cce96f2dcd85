"""The actions a schedule can do, one module each."""
