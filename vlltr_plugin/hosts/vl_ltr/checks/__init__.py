"""What `vlltr-plugin check` looks at in a VL-LTR checkout."""
