"""VL-LTR: `attach` for the lines inserted into its `main`, its logs, its evaluation and its checks."""
