"""VL-LTR: what the inserted lines of its `main` call, its logs, its model, and what `check` looks at there."""
