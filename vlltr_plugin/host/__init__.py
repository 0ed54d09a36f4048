"""The adapter to VL-LTR: what the inserted lines of the host's `main` call. Imports the core, never the host."""
