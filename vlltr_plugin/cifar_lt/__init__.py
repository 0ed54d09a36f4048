"""CIFAR-LT: the experiments of the paper's Tables 1 to 3 with the plug-in's own core, outside any host."""
