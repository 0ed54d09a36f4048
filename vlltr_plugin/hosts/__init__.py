"""What is known of each code base that the plug-in can be put into: one folder a host, one recipe in `patches/`."""
