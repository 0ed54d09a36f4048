"""VL-LTR: what the inserted lines of its `main` call, its logs, its evaluation and its checks."""
