"""The report: what a measurement found, as one self-contained page and as JSON."""
