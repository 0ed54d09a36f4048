"""The code bases that the plug-in goes into, a folder for each."""
