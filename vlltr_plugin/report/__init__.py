"""Reading runs and showing them: compare, inspect, evaluate. Imports neither the host nor the command line."""
