"""`vlltr-plugin check`: finds faults of a run before it starts; writes nothing."""
