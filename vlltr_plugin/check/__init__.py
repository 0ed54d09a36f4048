"""`vlltr-plugin check`: what would go wrong in a run that takes days, found before it starts; nothing is written."""
