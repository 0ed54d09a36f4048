"""Results as JSON lines, printed and kept."""

import json


def write_record(record, out=None):
    """Prints a record, its numbers to four digits, and adds it to a file if one is named."""
    line = json.dumps(rounded(record))
    print(line, flush=True)
    if out:
        with open(out, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def rounded(value):
    """Numbers to four digits, also those in dicts."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
